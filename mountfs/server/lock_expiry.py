"""When to look which locks have ended: not at each that is taken."""

import asyncio
import math


class LockExpiry:
    """The next look at which locks have ended: locks that end later than that need none before."""

    def __init__(self) -> None:
        self._sooner = asyncio.Event()
        self._next_us: float = math.inf

    def may_come_at(self, moment_us: int) -> None:
        """A lock may end then, by the clock of locks, if not later."""
        if moment_us < self._next_us:
            self._sooner.set()

    def begin(self) -> None:
        """From now on each new lock counts as one that the look does not know."""
        self._sooner.clear()
        self._next_us = math.inf

    async def wait_sooner(self, next_us: int | None) -> None:
        """Return when a lock may have been made since `begin` that ends before `next_us`, the first that the
        look found; None where it found none."""
        self._next_us = math.inf if next_us is None else next_us
        await self._sooner.wait()
