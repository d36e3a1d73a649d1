"""An event loop in a thread of its own, for what comes to it step by step from a test that has none."""

import queue
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import trio

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """Runs until `close`; what is called raises here what it raises there."""

    def __init__(self) -> None:
        self._ends = trio.Event()
        tokens: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, tokens), name="loop", daemon=True)
        self._thread.start()
        self._token = tokens.get()

    async def _serve(self, tokens: "queue.SimpleQueue[trio.lowlevel.TrioToken]") -> None:
        tokens.put(trio.lowlevel.current_trio_token())
        await self._ends.wait()

    def run(self, function: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        return trio.from_thread.run(lambda: function(*arguments, **named), trio_token=self._token)

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call it in one stretch of the loop."""
        return trio.from_thread.run_sync(lambda: function(*arguments, **named), trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._ends.set, trio_token=self._token)
        self._thread.join()
