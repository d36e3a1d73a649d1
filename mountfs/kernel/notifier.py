"""Tells the kernel what to forget, from a thread of its own: a notice can block in the kernel until a request
about the same directory has been answered, so no handler and no lock may ever wait for one."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

import trio

from mountfs.kernel import notice_channel
from mountfs.kernel.notice_channel import NoticeChannel
from mountfs.model.ids import Ino

_log = logging.getLogger(__name__)

DRAIN_LIMIT_S: Final = 5.0
"""How long `drained` and `hold` wait for notices that the kernel holds up."""

UNKNOWN_AGAIN_S: Final = 0.2
"""How much later the kernel is told again of an inode that it did not have: a program may have had the answer
that the notice made stale, and not run yet to make the inode of it."""

UNKNOWN_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class _AttributesChanged:
    ino: Ino

    def send(self, channel: NoticeChannel) -> None:
        channel.attributes_changed(self.ino)


@dataclass(frozen=True, slots=True)
class _ContentChanged:
    ino: Ino

    def send(self, channel: NoticeChannel) -> None:
        channel.content_changed(self.ino)


@dataclass(frozen=True, slots=True)
class _EntryChanged:
    parent: Ino
    name: bytes

    def send(self, channel: NoticeChannel) -> None:
        channel.entry_changed(self.parent, self.name)


@dataclass(frozen=True, slots=True)
class _EverythingChanged:
    def send(self, channel: NoticeChannel) -> None:
        channel.everything_changed()


@dataclass(frozen=True, slots=True)
class _FolderChanged:
    """For `_EntryChanged`, without the directory's lock: all names expire, not this one alone."""

    ino: Ino

    def send(self, channel: NoticeChannel) -> None:
        channel.everything_changed()
        channel.attributes_changed(self.ino)


@dataclass(frozen=True, slots=True)
class _Again:
    """For the second and last time."""

    notice: _AttributesChanged | _ContentChanged

    def send(self, channel: NoticeChannel) -> None:
        self.notice.send(channel)


@dataclass(frozen=True, slots=True, eq=False)
class _Barrier:
    """Not a notice: tells a waiter that all before it is done."""

    reached: Callable[[], None]

    def send(self, channel: NoticeChannel) -> None:
        self.reached()


_Notice = (
    _AttributesChanged
    | _ContentChanged
    | _EntryChanged
    | _FolderChanged
    | _EverythingChanged
    | _Again
    | _Barrier
)


class Notifier:
    """The `KernelNotifier` of a mount. Between `arm` and `disarm` it sends; outside, notices are dropped,
    since the kernel holds nothing of ours then. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: dict[_Notice, None] = {}  # in order; equal notices that wait are one
        self._armed = False
        self._sending = False
        self._held = False
        self._thread: threading.Thread | None = None
        self._can_expire_everything = False
        self._busy: Container[Ino] = ()
        self._unknown: deque[tuple[float, _Again]] = deque(maxlen=UNKNOWN_MOST)
        """What the kernel did not have, and when to tell it again: the thread's own."""

    def attributes_changed(self, ino: Ino) -> None:
        self._enqueue(_AttributesChanged(ino))

    def content_changed(self, ino: Ino) -> None:
        self._enqueue(_ContentChanged(ino))

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        self._enqueue(_EntryChanged(parent, name))

    @property
    def can_expire_everything(self) -> bool:
        return self._can_expire_everything

    def everything_changed(self) -> None:
        if self._can_expire_everything:
            self._enqueue(_EverythingChanged())

    async def drained(self) -> bool:
        """Return true when all that was told before has been sent, false after `DRAIN_LIMIT_S`."""
        await trio.lowlevel.checkpoint()
        if self._has_sent_all():
            return True
        reached = trio.Event()
        token = trio.lowlevel.current_trio_token()
        with trio.move_on_after(DRAIN_LIMIT_S) as limit:
            if self._enqueue(_Barrier(lambda: token.run_sync_soon(reached.set))):
                await reached.wait()
        if limit.cancelled_caught:
            _log.warning("the kernel holds up notices; going on without waiting for them")
        return not limit.cancelled_caught

    def arm(self, device: int | None, busy: Container[Ino] = ()) -> None:
        """Start sending; call it when the mount is there. `device`: the descriptor of its connection, None
        where it is not known. `busy`: directories that a program has locked while it waits for us."""
        self._busy = busy
        channel = notice_channel.opened(device)
        self._can_expire_everything = device is not None and _takes(channel, _EverythingChanged())
        with self._condition:
            self._armed = True
        # A daemon thread, so that one that hangs in the kernel does not keep the interpreter from ending.
        self._thread = threading.Thread(
            target=self._send_all, args=[channel], name="kernel-notifier", daemon=True
        )
        self._thread.start()

    async def hold(self) -> bool:
        """Keep what is told until `go_on`. Return whether none is under way; one that the kernel holds up for
        `DRAIN_LIMIT_S` is."""
        with self._condition:
            self._held = True
        return await trio.to_thread.run_sync(self._is_idle_soon)

    def go_on(self) -> None:
        with self._condition:
            self._held = False
            self._condition.notify_all()

    def _is_idle_soon(self) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: not self._sending, DRAIN_LIMIT_S)

    def disarm(self) -> None:
        """Drop what waits, and send nothing any more; at most the notice under way ends later."""
        with self._condition:
            self._armed = False
            dropped, self._queue = self._queue, {}
            self._condition.notify_all()
        for notice in dropped:
            if isinstance(notice, _Barrier):
                notice.reached()

    def is_idle_within(self, limit_s: float) -> bool:
        """After `disarm`: wait for the notice under way. False: it still hangs in the kernel."""
        if self._thread is not None:
            self._thread.join(limit_s)
        return self._thread is None or not self._thread.is_alive()

    def _has_sent_all(self) -> bool:
        with self._condition:
            return not (self._queue or self._sending)

    def _enqueue(self, notice: _Notice) -> bool:
        with self._condition:
            if self._armed:
                self._queue.setdefault(notice)
                self._condition.notify_all()
            return self._armed

    def _next(self) -> _Notice | None:
        with self._condition:
            self._sending = False
            if self._held:
                self._condition.notify_all()
            while not self._condition.wait_for(
                lambda: (self._queue and not self._held) or not self._armed, self._until_unknown_s()
            ):
                self._queue_unknown()
            if not self._armed:
                return None
            notice = next(iter(self._queue))
            del self._queue[notice]
            self._sending = True
            return notice

    def _until_unknown_s(self) -> float | None:
        return max(0.0, self._unknown[0][0] - time.monotonic()) if self._unknown else None

    def _queue_unknown(self) -> None:
        while self._unknown and self._unknown[0][0] <= time.monotonic():
            self._queue.setdefault(self._unknown.popleft()[1])

    def _send_all(self, channel: NoticeChannel) -> None:
        while notice := self._next():
            try:
                self._unhindered(notice).send(channel)
            except FileNotFoundError:
                # The kernel has nothing of it, or not yet.
                if isinstance(notice, _AttributesChanged | _ContentChanged):
                    self._unknown.append((time.monotonic() + UNKNOWN_AGAIN_S, _Again(notice)))
            except (OSError, trio.RunFinishedError) as error:
                _log.warning("could not tell the kernel %s: %s", notice, error)
        channel.close()

    def _unhindered(self, notice: _Notice) -> _Notice:
        """Return what tells at least the same, and waits for no program that is known to wait for us."""
        if isinstance(notice, _EntryChanged) and self._can_expire_everything and notice.parent in self._busy:
            return _FolderChanged(notice.parent)
        return notice


def _takes(channel: NoticeChannel, notice: _EverythingChanged) -> bool:
    try:
        notice.send(channel)
    except OSError:
        return False
    return True
