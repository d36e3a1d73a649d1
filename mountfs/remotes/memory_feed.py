"""What changed in a workspace in memory, and who waits for it."""

import trio

from mountfs.model.ids import ChangeCursor, NodeId
from mountfs.model.remote import Changes


class MemoryFeed:
    """Base of `MemoryWorkspace`."""

    def __init__(self) -> None:
        self._changed: list[NodeId] = []
        self._forgotten = 0
        self._news = trio.Event()

    def cursor(self) -> ChangeCursor:
        return ChangeCursor(str(self._forgotten + len(self._changed)))

    def changes_since(self, cursor: ChangeCursor) -> Changes:
        position = int(cursor) - self._forgotten if cursor.isdecimal() else -1
        if not 0 <= position <= len(self._changed):
            return Changes(self.cursor(), frozenset(), everything=True)
        return Changes(self.cursor(), frozenset(self._changed[position:]))

    def forget_changes(self) -> None:
        """Make every cursor given out before unknown."""
        self._forgotten += len(self._changed) + 1
        self._changed.clear()
        self._wake()

    async def wait_news(self) -> None:
        """Return at the next change or step of an upload. Cancelling leaves no trace."""
        await self._news.wait()

    def _tell(self, node: NodeId) -> None:
        self._changed.append(node)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
