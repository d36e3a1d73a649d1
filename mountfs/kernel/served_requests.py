"""Signals to programs whose requests wait for something else than a lock. Needs the C extension.

The kernel tells once, and of any signal; then it waits for the answer whatever comes, so a killed program
would stay. Which signals are there is therefore looked at here, again and again while the request waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Final

import trio

from mountfs.kernel import _extras
from mountfs.model.interruption import InterruptibleWaits, serving

LOOK_S: Final = 0.05
"""How soon a signal ends a wait that another signal did not end."""

REMEMBER_S: Final = 1.0
"""How long an interrupt is remembered of a request that does not wait for the network, or not yet."""

HARMLESS: Final = (
    *(Signals.SIGCHLD, Signals.SIGCONT, Signals.SIGURG, Signals.SIGWINCH),
    *(Signals.SIGIO, Signals.SIGPROF, Signals.SIGVTALRM),
)
"""No program expects these to end a call on a file; the runtime of Go sends SIGURG all the time."""

STANDARD_MASK: Final = (1 << 31) - 1
"""Real-time signals are harmless as well: runtimes use them among their threads."""

ENDING_MASK: Final = STANDARD_MASK & ~sum(1 << (number - 1) for number in HARMLESS)


class ServedRequests:
    """Ends the waits of `mountfs.model.interruption` when a signal asks for it."""

    def __init__(self) -> None:
        self._waits = InterruptibleWaits()
        self._interrupted: dict[int, float] = {}
        """When, by request, of those to be looked at."""
        self._arrived = trio.Event()

    def note_served(self) -> None:
        """Called as the first thing by a handler: what it waits for is now waited for by its program."""
        request, program = _extras.served_request()
        serving.set((self._waits, request, program))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The request that was read last is begun within, by tasks of its own: like handlers, they wait for
        its program."""
        before = serving.set((self._waits, *_extras.served_request()))
        try:
            yield
        finally:
            serving.reset(before)

    def note_interrupted(self) -> None:
        """The kernel told of interrupts."""
        now = trio.current_time()
        for request in _extras.interrupted_served():
            self._interrupted[request] = now
        if self._interrupted:
            self._arrived.set()

    async def run(self) -> None:
        """Look at the programs of interrupted requests until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            while self._interrupted:
                self._look()
                await trio.sleep(LOOK_S)

    def _look(self) -> None:
        for request, at in list(self._interrupted.items()):
            program = self._waits.program_of(request)
            if program is None:
                if trio.current_time() - at > REMEMBER_S:
                    del self._interrupted[request]
            elif wants_to_end(program):
                self._waits.interrupt(request)
                del self._interrupted[request]


def wants_to_end(program: int) -> bool:
    """Tell whether the thread has a signal that is to end its wait, or cannot be asked any more."""
    try:
        status = Path(f"/proc/{program}/status").read_text()
    except OSError:
        return True
    masks = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith(("Sig", "Shd")))
    pending = int(masks["SigPnd"], 16) | int(masks["ShdPnd"], 16)
    return bool(pending & ~int(masks["SigBlk"], 16) & ENDING_MASK)
