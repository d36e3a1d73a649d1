"""The lock operations of the mounted workspace: for entries that are there, what `locks/` says."""

from collections.abc import Callable

from mountfs.locks.file_locks import FileLocks
from mountfs.model.errors import FileNotFound
from mountfs.model.filesystem import ByteSpan, Handle, LockKind, LockOwner, LockWait, RecordLock
from mountfs.model.ids import Ino
from mountfs.tree.tree import Tree


class LockOperations:
    """A part of `model.filesystem.Filesystem`."""

    def __init__(self, tree: Tree, locks: FileLocks) -> None:
        self._tree = tree
        self._locks = locks

    def flock(
        self,
        ino: Ino,
        handle: Handle,
        owner: LockOwner,
        kind: LockKind | None,
        *,
        wait: bool,
        granted: Callable[[], None],
    ) -> LockWait | None:
        self._check_lockable(ino)
        return self._locks.flock(ino, handle, owner, kind, wait=wait, granted=granted)

    def drop_flock(self, ino: Ino, owner: LockOwner) -> None:
        self._locks.drop_flock(ino, owner)

    def lock_record(
        self,
        ino: Ino,
        handle: Handle,
        owner: LockOwner,
        lock: RecordLock,
        *,
        wait: bool,
        granted: Callable[[], None],
    ) -> LockWait | None:
        self._check_lockable(ino)
        return self._locks.lock_record(ino, handle, owner, lock, wait=wait, granted=granted)

    def unlock_record(self, ino: Ino, owner: LockOwner, span: ByteSpan) -> LockWait | None:
        return self._locks.unlock_record(ino, owner, span)

    def conflicting_record(self, ino: Ino, owner: LockOwner, lock: RecordLock) -> RecordLock | None:
        return self._locks.conflicting_record(ino, owner, lock)

    def drop_records(self, ino: Ino, owner: LockOwner) -> None:
        self._locks.drop_records(ino, owner)

    def drop_records_of_handle(self, ino: Ino, handle: Handle) -> None:
        self._locks.drop_records_of_handle(ino, handle)

    def _check_lockable(self, ino: Ino) -> None:
        if ino not in self._tree.inodes:
            raise FileNotFound()
