"""Waits that end when the program which waits is killed or gets a signal.

The kernel's side says which request a task serves (`serving`) and when its program was interrupted; the
waits for the network, wherever they are, go through `interruptible`. All of it is called on the event loop's
thread.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from mountfs.model.errors import Interrupted


class Scope(Protocol):
    """What can be cancelled: a `trio.CancelScope`."""

    @property
    def cancelled_caught(self) -> bool: ...

    def cancel(self) -> None: ...


_S = TypeVar("_S", bound=Scope)


class InterruptibleWaits:
    """The waits of requests that are being served, by the number of the request: one at a time for each."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, Callable[[], None]]] = {}

    def interrupt(self, request: int) -> None:
        """End the wait of this request, where it waits."""
        if request in self._waiting:
            _program, end = self._waiting[request]
            end()

    def program_of(self, request: int) -> int | None:
        """Return the thread that waits for this request, None where the request waits for nothing."""
        waiting = self._waiting.get(request)
        return waiting[0] if waiting is not None else None

    @contextmanager
    def waiting(self, request: int, program: int, end: Callable[[], None]) -> Iterator[None]:
        self._waiting[request] = program, end
        try:
            yield
        finally:
            self._waiting.pop(request, None)


serving: ContextVar[tuple[InterruptibleWaits, int, int] | None] = ContextVar("serving", default=None)
"""The request that this task serves, and the thread that waits for it."""


@contextmanager
def interruptible(scope: AbstractContextManager[_S]) -> Iterator[_S]:
    """Enter the scope; a signal to the program that waits cancels it. Raises Interrupted then."""
    request = serving.get()
    if request is None:
        with scope as entered:
            yield entered
        return
    waits, number, program = request
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        entered.cancel()

    with scope as entered, waits.waiting(number, program, interrupt):
        yield entered
    if interrupted and entered.cancelled_caught:
        raise Interrupted
