"""Answers flock requests later: each one is a task of ours, not one of pyfuse3's handlers.

pyfuse3 runs at most 99 handlers; a hundred waiting locks must not stop the mount. Needs the C extension:
import this module only where `extension.AVAILABLE`.

Order: a request is told in the moment it is read, and so is the end of an open file description. The
file system hears `drop_flock` at once and `flock` at the next turn of the loop, so a lock tried after
a close always comes behind the unlocking that the close brings.
"""

import errno
import logging
import os
from collections.abc import Callable

import trio

from mountfs.kernel import _extras, translate
from mountfs.kernel.errno_map import errno_for
from mountfs.model.errors import MountfsError
from mountfs.model.filesystem import Filesystem, LockOwner
from mountfs.model.ids import Ino

_log = logging.getLogger(__name__)


class LockRequests:
    """Owns every flock request between its arrival and its one answer.

    Make it before `pyfuse3.init`, and have `run` started before `pyfuse3.main`.
    """

    def __init__(self, filesystem: Filesystem, *, on_arrival: Callable[[], None]) -> None:
        """`on_arrival` is called for each request, after its task was scheduled."""
        self._filesystem = filesystem
        self._on_arrival = on_arrival
        self._waiting: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._interrupt_event = _extras.install(self._arrived, self._released)

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then all requests that still wait, and later ones, are answered with EIO.

        Not with EINTR: where no signal is pending, the kernel makes of that an errno of its own, 512.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._watch_interrupts)
                task_status.started()
        finally:
            self._nursery = None

    def _arrived(self, request: int, ino: int, handle: int, owner: int, operation: int) -> None:
        if self._nursery is None or self._nursery.cancel_scope.cancel_called:
            _extras.reply(request, errno.EIO)
            return
        self._waiting[request] = trio.CancelScope()
        self._nursery.start_soon(self._answer, request, Ino(ino), LockOwner(owner), operation)
        self._on_arrival()

    def _released(self, ino: int, owner: int) -> None:
        self._filesystem.drop_flock(Ino(ino), LockOwner(owner))

    async def _answer(self, request: int, ino: Ino, owner: LockOwner, operation: int) -> None:
        outcome = errno.EIO
        try:
            with self._waiting[request] as scope:
                outcome = await self._outcome(ino, owner, operation)
            if scope.cancelled_caught:
                outcome = errno.EINTR
        finally:
            del self._waiting[request]
            _extras.reply(request, outcome)

    async def _outcome(self, ino: Ino, owner: LockOwner, operation: int) -> int:
        try:
            kind, wait = translate.lock_request(operation)
            await self._filesystem.flock(ino, owner, kind, wait=wait)
        except MountfsError as error:
            return errno_for(error)
        except Exception:
            _log.exception("flock failed unexpectedly; the program gets EIO")
            return errno.EIO
        return 0

    async def _watch_interrupts(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._interrupt_event)
            os.eventfd_read(self._interrupt_event)
            for request in _extras.interrupted():
                if scope := self._waiting.get(request):
                    scope.cancel()
