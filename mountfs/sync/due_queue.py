"""Entries that wait for their time to be sent."""

import heapq
import math

import trio

from mountfs.model.ids import Ino
from mountfs.tree.inode import Inode


class DueQueue:
    """Each entry is in it at most once, with the time (trio's clock) from which on it may be taken."""

    def __init__(self) -> None:
        self._due: dict[Ino, float] = {}
        self._heap: list[tuple[float, int, Ino]] = []
        self._inodes: dict[Ino, Inode] = {}
        self._turn = trio.Lock()
        self._awaited = -math.inf
        self._earlier = trio.Event()

    def put(self, inode: Inode, due: float) -> None:
        """Add the entry, or change its time."""
        if self._due.get(inode.ino) == due:
            return
        self._due[inode.ino] = due
        self._inodes[inode.ino] = inode
        heapq.heappush(self._heap, (due, inode.pending or 0, inode.ino))
        if due < self._awaited:
            self._earlier.set()

    def due(self, inode: Inode) -> float | None:
        return self._due.get(inode.ino)

    async def take(self) -> Inode:
        """Wait for the entry that is due first and take it out."""
        # Of all who want one only the first waits for the time: what comes later wakes nobody in vain.
        async with self._turn:
            while True:
                due, inode = self._first()
                if inode is not None and due <= trio.current_time():
                    heapq.heappop(self._heap)
                    del self._due[inode.ino], self._inodes[inode.ino]
                    return inode
                await self._wait_until(due)

    async def _wait_until(self, due: float) -> None:
        self._awaited, self._earlier = due, trio.Event()
        try:
            with trio.move_on_at(due):
                await self._earlier.wait()
        finally:
            self._awaited = -math.inf

    def _first(self) -> tuple[float, Inode | None]:
        while self._heap:
            due, _, ino = self._heap[0]
            if self._due.get(ino) == due:
                return due, self._inodes[ino]
            heapq.heappop(self._heap)
        return math.inf, None
