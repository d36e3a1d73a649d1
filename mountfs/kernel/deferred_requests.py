"""Requests that are answered later: each one is a task of ours, not one of pyfuse3's handlers.

pyfuse3 runs at most 99 handlers; a hundred waiting locks or copies must not stop the mount. Needs the C
extension: import this module only where `extension.AVAILABLE`.
"""

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from mountfs.kernel import _extras
from mountfs.kernel.errno_map import errno_for
from mountfs.model.errors import MountfsError

_log = logging.getLogger(__name__)

Answer = Callable[[int], object]
"""Answers the request of this number."""

Rest = Callable[[], Awaitable[None]] | None
"""What is to be awaited before a request is answered; None: nothing."""


def failed(code: int) -> Answer:
    """Answer with an errno; 0 is success."""
    return lambda request: _extras.reply(request, code)


SUCCESS = failed(0)


class DeferredRequests:
    """Owns every deferred request between its arrival and its one answer.

    Have `run` started before `pyfuse3.main`.
    """

    def __init__(self, *, on_arrival: Callable[[], None], on_interrupt: Callable[[], None]) -> None:
        """`on_arrival` is called for each request, after its task was scheduled; `on_interrupt` when the
        kernel told of interrupts, whatever requests they are of."""
        self._on_arrival = on_arrival
        self._on_interrupt = on_interrupt
        self._waiting: dict[int, trio.CancelScope | None] = {}
        """Those that are not answered yet, with what an interrupt cancels; None: waits end by signals."""
        self._lasting: set[int] = set()
        """Those of them that must not be begun again by another process."""
        self._settled = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None

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

    def begin(self, request: int, name: str, work: Callable[[], Awaitable[Answer]]) -> None:
        """Answer the request with what `work` returns, or with the errno of what it raises. Signals end what
        it waits for where `ServedRequests.serving` is around this call, as in pyfuse3's handlers."""
        if self._is_serving(request):
            self._lasting.add(request)
            self._spawn(request, name, work, None)

    def begin_at_once(
        self, request: int, name: str, work: Callable[[Callable[[], None]], Rest], *, repeatable: bool
    ) -> None:
        """Call `work` now, and answer now where it returns None, or raises. Else the request is answered when
        what it returned is done; or earlier: as soon as `work` calls what it is given. EINTR where the caller
        got a signal, whichever, by which what was returned is cancelled. `repeatable`: while it waits it may
        be cancelled and begun anew, as if it came now."""
        if not self._is_serving(request):
            return
        try:
            rest = work(partial(self._succeed, request))
        except Exception as error:
            _failure(name, error)(request)
            return
        if rest is None:
            SUCCESS(request)
        else:
            if not repeatable:
                self._lasting.add(request)
            self._spawn(request, name, partial(_awaited, rest), trio.CancelScope())

    async def wait_settled(self) -> None:
        """Return when all that wait could be begun anew by another process."""
        await trio.lowlevel.checkpoint()
        while self._lasting:
            await self._settled.park()

    @property
    def is_settled(self) -> bool:
        return not self._lasting

    def _is_serving(self, request: int) -> bool:
        if self._nursery is None or self._nursery.cancel_scope.cancel_called:
            _extras.reply(request, errno.EIO)
            return False
        return True

    def _spawn(
        self,
        request: int,
        name: str,
        work: Callable[[], Awaitable[Answer]],
        interrupted: trio.CancelScope | None,
    ) -> None:
        assert self._nursery is not None
        self._waiting[request] = interrupted
        self._nursery.start_soon(partial(self._answer, request, name, work))
        self._on_arrival()

    async def _answer(self, request: int, name: str, work: Callable[[], Awaitable[Answer]]) -> None:
        answer = failed(errno.EIO)
        try:
            with self._waiting.get(request) or trio.CancelScope() as scope:
                answer = await _outcome(name, work)
            if scope.cancelled_caught:
                answer = failed(errno.EINTR)
        finally:
            if self._leave(request):
                answer(request)
            self._lasting.discard(request)
            if not self._lasting:
                self._settled.unpark_all()

    def _succeed(self, request: int) -> None:
        """Answer a request that waits. From here on no interrupt is for it."""
        if self._leave(request):
            SUCCESS(request)

    def _leave(self, request: int) -> bool:
        """The request is to be answered; say whether it was not before."""
        waits = request in self._waiting
        self._waiting.pop(request, None)
        return waits

    async def _watch_interrupts(self) -> None:
        event = _extras.interrupt_event()
        while True:
            await trio.lowlevel.wait_readable(event)
            os.eventfd_read(event)
            self._on_interrupt()
            for request in _extras.interrupted():
                if scope := self._waiting.get(request):
                    scope.cancel()


async def _outcome(name: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
    try:
        return await work()
    except Exception as error:
        return _failure(name, error)


async def _awaited(rest: Callable[[], Awaitable[None]]) -> Answer:
    await rest()
    return SUCCESS


def _failure(name: str, error: Exception) -> Answer:
    """To be called where the error is handled."""
    if isinstance(error, MountfsError):
        return failed(errno_for(error))
    _log.exception("%s failed unexpectedly; the program gets EIO", name)
    return failed(errno.EIO)
