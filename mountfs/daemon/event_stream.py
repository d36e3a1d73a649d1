"""`.mountfs/events`: what happens on the mount as JSON lines, for each reader from its open on."""

import json
import os
from datetime import UTC, datetime
from typing import Final

import trio

from mountfs.daemon.running import shown
from mountfs.model.errors import FileInUse, WouldBlock
from mountfs.model.interruption import interruptible, serving
from mountfs.model.virtual import PLAIN, VirtualContent
from mountfs.rules.happenings import Happening, Happenings, Listener

MOST_READERS: Final = 24
"""A reader that waits occupies one of the 99 handlers of pyfuse3, which everything else needs as well."""

DEAF_WAIT_S: Final = 5.0
"""Where the kernel's side does not hear of signals, a read ends after this with an empty line: a program
that is killed would wait for its answer otherwise."""


class EventStream:
    """The file. Implements `VirtualFile`."""

    look = PLAIN

    def __init__(self, happenings: Happenings) -> None:
        self._happenings = happenings
        self._listeners: set[Listener] = set()
        self._ended = False

    async def open(self, flags: int) -> VirtualContent:
        """Raises FileInUse where there are too many readers."""
        if len(self._listeners) >= MOST_READERS:
            raise FileInUse(f"{MOST_READERS} programs read the events already")
        listener = self._happenings.listen()
        self._listeners.add(listener)
        if self._ended:
            listener.end()
        return _Reading(self, listener, waits=not flags & os.O_NONBLOCK)

    def closed(self, listener: Listener) -> None:
        listener.leave()
        self._listeners.discard(listener)

    def end(self) -> None:
        """Every reader comes to the end of the file, so that the mount is not kept busy by them."""
        self._ended = True
        for listener in self._listeners:
            listener.end()


class _Reading:
    """One open stream: lines come whole, unless one is longer than what the program reads at a time."""

    is_stream = True

    def __init__(self, stream: EventStream, listener: Listener, *, waits: bool) -> None:
        self._stream = stream
        self._listener = listener
        self._waits = waits
        self._is_read = False
        self._left = _line({"event": "listening"}, datetime.now(UTC).timestamp())
        self._news = trio.Event()
        listener.wake = lambda: self._news.set()

    async def read(self, offset: int, size: int) -> bytes:
        """Wait until there is something. Raises Interrupted; WouldBlock where the file was opened with
        O_NONBLOCK, and where another thread waits for the same descriptor already."""
        if self._is_read:
            raise WouldBlock
        self._is_read = True
        try:
            return await self._next(size)
        finally:
            self._is_read = False

    async def _next(self, size: int) -> bytes:
        while not (lines := self._take(size)):
            if self._listener.ended:
                return b""
            if not self._waits:
                raise WouldBlock
            if not await self._wait():
                return b"\n"
        return lines

    async def _wait(self) -> bool:
        """Return whether something came."""
        self._news = trio.Event()
        patience_s = float("inf") if serving.get() is not None else DEAF_WAIT_S
        with interruptible(trio.move_on_after(patience_s)) as scope:
            await self._news.wait()
        return not scope.cancelled_caught

    def _take(self, size: int) -> bytes:
        lines = self._left
        self._left = b""
        while len(lines) < size:
            dropped = self._listener.take_dropped()
            if dropped:
                lines += _line({"event": "dropped", "count": dropped}, datetime.now(UTC).timestamp())
            happening = self._listener.take()
            if happening is None:
                break
            line = event_line(happening)
            if lines and len(lines) + len(line) > size:
                self._left = line
                break
            lines += line
        self._left = lines[size:] + self._left
        return lines[:size]

    def close(self) -> None:
        self._stream.closed(self._listener)


def event_line(happening: Happening) -> bytes:
    """Return the line that readers get, and hooks."""
    details = {
        name: shown(value) if isinstance(value, bytes) else value for name, value in happening.details.items()
    }
    fields = {"event": happening.kind.value, "path": shown(happening.path), **details}
    return _line(fields, happening.at)


def _line(fields: dict[str, str | int], at: float) -> bytes:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": when, **fields}).encode() + b"\n"
