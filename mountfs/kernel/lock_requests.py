"""Requests for flock and record locks, answered when the lock is there. Needs the C extension.

Order: a request is told in the moment it is read, and so is a close and the end of an open file description.
The file system hears `drop_flock`, `drop_records` and `drop_records_of_handle` at once and the others at the
next turn of the loop, so a lock tried after a close always comes behind the unlocking that the close brings.
"""

import fcntl
from collections.abc import Awaitable, Callable

from mountfs.kernel import _extras, translate
from mountfs.kernel.deferred_requests import SUCCESS, Answer, DeferredRequests
from mountfs.model.filesystem import Filesystem, Handle, LockOwner, RecordLock
from mountfs.model.ids import Ino


class LockRequests:
    """Make it before `pyfuse3.init`."""

    def __init__(self, filesystem: Filesystem, requests: DeferredRequests) -> None:
        self._filesystem = filesystem
        self._requests = requests
        self.waiting = 0
        """How many requests have no answer yet."""
        _extras.install_locks(
            self._flock_arrived,
            self._record_test_arrived,
            self._record_lock_arrived,
            self._flushed,
            self._released,
        )

    def _begin(self, request: int, name: str, lock: Callable[[], Awaitable[None]]) -> None:
        async def answer() -> Answer:
            self.waiting += 1
            try:
                await lock()
            finally:
                self.waiting -= 1
            return SUCCESS

        self._requests.begin(request, name, answer)

    def _flock_arrived(self, request: int, ino: int, handle: int, owner: int, operation: int) -> None:
        async def flock() -> None:
            kind, wait = translate.lock_request(operation)
            await self._filesystem.flock(Ino(ino), Handle(handle), LockOwner(owner), kind, wait=wait)

        self._begin(request, "flock", flock)

    def _record_lock_arrived(
        self,
        request: int,
        ino: int,
        handle: int,
        owner: int,
        kind: int,
        start: int,
        size: int,
        pid: int,
        wait: int,
    ) -> None:
        async def lock() -> None:
            span = translate.lock_span(start, size)
            if kind == fcntl.F_UNLCK:
                await self._filesystem.unlock_record(Ino(ino), LockOwner(owner), span)
                return
            wanted = RecordLock(translate.record_kind(kind), span, pid)
            await self._filesystem.lock_record(
                Ino(ino), Handle(handle), LockOwner(owner), wanted, wait=bool(wait)
            )

        self._begin(request, "fcntl lock", lock)

    def _record_test_arrived(
        self, request: int, ino: int, owner: int, kind: int, start: int, size: int, pid: int
    ) -> None:
        async def test() -> Answer:
            wanted = RecordLock(translate.record_kind(kind), translate.lock_span(start, size), pid)
            found = self._filesystem.conflicting_record(Ino(ino), LockOwner(owner), wanted)
            described = translate.flock_fields(found) if found else (fcntl.F_UNLCK, start, size, 0)
            return lambda number: _extras.reply_lock(number, *described)

        self._requests.begin(request, "fcntl lock test", test)

    def _flushed(self, ino: int, handle: int, owner: int) -> None:
        self._filesystem.drop_records(Ino(ino), LockOwner(owner))

    def _released(self, ino: int, handle: int, flock_owner: int) -> None:
        if flock_owner:
            self._filesystem.drop_flock(Ino(ino), LockOwner(flock_owner))
        self._filesystem.drop_records_of_handle(Ino(ino), Handle(handle))
