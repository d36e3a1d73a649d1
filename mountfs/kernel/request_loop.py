"""A faster wait for pyfuse3: look whether a request is there before going to sleep for one.

More than half of pyfuse3's time per request goes into its lock and its sleep. Needs the C extension, whose
read does not block, looks for a while, and answers what needs no waiting.
"""

import math
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast

import pyfuse3
import trio

from mountfs.kernel import _extras

BURST: Final = 32
"""After so many requests without a rest, the other tasks of the daemon get their turn."""

LOOK_NS: Final = 80_000 if len(os.sched_getaffinity(0)) > 1 else 0
"""How long a look takes at most, while looks find something: what a program needs from one answer to its next
request. With a single processor that program could not run meanwhile."""


class EagerRequests:
    """Takes the place of pyfuse3's wait, until `restore`."""

    def __init__(self) -> None:
        # pyfuse3 offers no other place for this; its stubs do not tell of the function.
        self._original = cast("Callable[[], Awaitable[bool]]", pyfuse3._wait_fuse_readable)  # type: ignore[attr-defined] # as above
        self._taken = 0
        self._last = -math.inf
        self._held: trio.Event | None = None
        _extras.set_pace(LOOK_NS, BURST)
        pyfuse3._wait_fuse_readable = self._wait  # type: ignore[attr-defined] # as above

    @property
    def idle_s(self) -> float:
        """How long no request came."""
        return time.monotonic() - self._last

    def rest(self) -> None:
        """Let every scheduled task begin before the next request is read."""
        self._taken = BURST

    def hold(self) -> None:
        """Read no request any more until `go_on`: they wait in the kernel."""
        self._held = self._held or trio.Event()

    def go_on(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.set()

    def restore(self) -> None:
        pyfuse3._wait_fuse_readable = self._original  # type: ignore[attr-defined] # as above

    async def _wait(self) -> bool:
        readable = await self._wait_readable()
        while readable and self._held is not None:
            await self._held.wait()
        return readable

    async def _wait_readable(self) -> bool:
        read, found_none = _extras.take_count()
        if read:
            self._taken += read
            self._last = time.monotonic()
        if self._taken >= BURST:
            self._taken = 0
            await trio.lowlevel.checkpoint()
        if not found_none:
            return True
        self._taken = 0
        return await self._original()
