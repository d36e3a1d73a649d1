"""One comparison of a folder with what the remote lists of it, and those who wait for it."""

from typing import Final

import trio

from mountfs.model.errors import MountfsError
from mountfs.model.interruption import interruptible

PATIENCE_S: Final = 10.0
"""How long a program waits for a listing before it gets the last known one; where there is none, how long for
the next part of it before it gets an error."""


class Comparison:
    """One listing under way."""

    def __init__(self) -> None:
        self.began = self._came_at = trio.current_time()
        self.done = trio.Event()
        self.error: MountfsError | None = None

    def came(self) -> None:
        """A part of it is here."""
        self._came_at = trio.current_time()

    async def wait(self) -> None:
        await self.done.wait()
        if self.error is not None:
            raise self.error

    async def wait_patiently(self, *, while_it_comes: bool) -> bool:
        """Like `wait`, but return False where it is not done `PATIENCE_S` after it began, or with
        `while_it_comes` after its last part came."""
        while not self.done.is_set():
            until = (self._came_at if while_it_comes else self.began) + PATIENCE_S
            if trio.current_time() >= until:
                return False
            with interruptible(trio.move_on_at(until)):
                await self.done.wait()
        await self.wait()
        return True
