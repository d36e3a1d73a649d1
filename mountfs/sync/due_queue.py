"""Entries that wait for their time to be sent."""

import heapq
import math
from collections.abc import Callable
from typing import Final

import trio

from mountfs.model.ids import Ino
from mountfs.tree.inode import Inode

PASSED_MOST: Final = 1000
"""So many entries that are not wanted are looked at, so that a choice costs little in a long queue."""


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

    def take_also(self, is_wanted: Callable[[Inode], bool], most: int) -> list[Inode]:
        """Take out up to `most` of the entries that are due by now and wanted, those due first."""
        taken: list[Inode] = []
        passed: list[tuple[float, int, Ino]] = []
        now = trio.current_time()
        while len(taken) < most and len(passed) < PASSED_MOST:
            due, inode = self._first()
            if inode is None or due > now:
                break
            item = heapq.heappop(self._heap)
            if is_wanted(inode):
                del self._due[inode.ino], self._inodes[inode.ino]
                taken.append(inode)
            else:
                passed.append(item)
        for item in passed:
            heapq.heappush(self._heap, item)
        return taken

    def _first(self) -> tuple[float, Inode | None]:
        while self._heap:
            due, _, ino = self._heap[0]
            if self._due.get(ino) == due:
                return due, self._inodes[ino]
            heapq.heappop(self._heap)
        return math.inf, None
