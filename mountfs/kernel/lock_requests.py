"""Requests for flock and record locks, answered when the lock is there. Needs the C extension.

The file system hears of each in the moment it is read, in their order, closes and the ends of open file
descriptions too: so a lock tried after a close always comes behind the unlocking that the close brings. What
needs no waiting is answered at once, and a lock that is passed on in the moment in which it is given up.
"""

import fcntl
from collections.abc import Callable
from functools import partial

from mountfs.kernel import _extras, translate
from mountfs.kernel.deferred_requests import Answer, DeferredRequests, Rest
from mountfs.model.effect import asked_by
from mountfs.model.filesystem import Filesystem, Handle, LockOwner, LockWait, RecordLock
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

    def _begin(
        self, request: int, name: str, lock: Callable[[Callable[[], None]], Rest], *, unlocks: bool
    ) -> None:
        """Who waits for a lock may line up again; an unlock that waits is done already, and waits for the
        workspace to confirm what was written under the lock."""

        def begin(granted: Callable[[], None]) -> Rest:
            rest = lock(granted)
            return rest and partial(self._count_waiting, rest)

        _, program = _extras.served_request()
        with asked_by(program):
            self._requests.begin_at_once(request, name, begin, repeatable=not unlocks)

    async def _count_waiting(self, rest: LockWait) -> None:
        self.waiting += 1
        try:
            await rest()
        finally:
            self.waiting -= 1

    def _flock_arrived(self, request: int, ino: int, handle: int, owner: int, operation: int) -> None:
        def flock(granted: Callable[[], None]) -> Rest:
            kind, wait = translate.lock_request(operation)
            return self._filesystem.flock(
                Ino(ino), Handle(handle), LockOwner(owner), kind, wait=wait, granted=granted
            )

        self._begin(request, "flock", flock, unlocks=bool(operation & fcntl.LOCK_UN))

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
        def lock(granted: Callable[[], None]) -> Rest:
            span = translate.lock_span(start, size)
            if kind == fcntl.F_UNLCK:
                return self._filesystem.unlock_record(Ino(ino), LockOwner(owner), span)
            wanted = RecordLock(translate.record_kind(kind), span, pid)
            return self._filesystem.lock_record(
                Ino(ino), Handle(handle), LockOwner(owner), wanted, wait=bool(wait), granted=granted
            )

        self._begin(request, "fcntl lock", lock, unlocks=kind == fcntl.F_UNLCK)

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
