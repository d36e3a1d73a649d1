"""What is held back while the workspace has no room: one change at a time tries, instead of all of them."""

import trio

from mountfs.model.errors import QuotaExceeded
from mountfs.model.ids import Ino
from mountfs.tree.inode import Inode


class QuotaHold:
    """Knows the last refusal for want of room or credits until something was taken again.

    Content is not sent meanwhile only to be refused: of all that waits, one entry in `probe_s` is sent. What
    is smaller than all that was refused may still fit, and is sent.
    """

    def __init__(self, probe_s: float) -> None:
        self._probe_s = probe_s
        self._error: QuotaExceeded | None = None
        self._next_probe_at = 0.0
        self._refused_bytes = 0
        """The size of the smallest that was refused."""
        self._waiting: dict[Ino, Inode] = {}

    def refusal(self, inode: Inode) -> QuotaExceeded | None:
        """Return why the content of this entry is not to be sent now, None where it may be."""
        if self._error is None or not (inode.is_file_there and inode.content_dirty):
            return None
        if inode.size < self._refused_bytes:
            return None
        now = trio.current_time()
        if now >= self._next_probe_at:
            self._next_probe_at = now + self._probe_s
            return None
        return self._error

    def note(self, inode: Inode, error: QuotaExceeded) -> None:
        """The entry was refused, by the workspace or by `refusal`."""
        if self._error is None:
            self._next_probe_at = trio.current_time() + self._probe_s
            self._refused_bytes = inode.size
        self._error = error
        self._refused_bytes = min(self._refused_bytes, inode.size)
        self._waiting[inode.ino] = inode

    def sent(self, inode: Inode) -> list[Inode]:
        """The content of the entry was taken: return what may fit now as well."""
        return self.lift() if inode.size >= self._refused_bytes else []

    def lift(self) -> list[Inode]:
        """There is room again, or somebody says so: return what was refused for want of it."""
        self._error = None
        waiting, self._waiting = self._waiting, {}
        return [inode for inode in waiting.values() if inode.pending is not None]
