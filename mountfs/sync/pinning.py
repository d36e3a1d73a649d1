"""Content that stays in the cache because somebody said so, and content that is brought before it is read."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from mountfs.model.errors import FileNotFound, InvalidArgument, MountfsError, NoRoom
from mountfs.model.ids import ROOT_INO, Ino
from mountfs.rules.happenings import Kind
from mountfs.sync.content import FileContent
from mountfs.sync.refresher import Refresher
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

FILES_AT_ONCE: Final = 8
TELL_EVERY_S: Final = 0.25
FAILURES_TOLD: Final = 20
RETRY_S: Final = 60.0
"""After so long what could not be brought of the pinned content is tried again."""


@dataclass(slots=True)
class Bringing:
    """How far it is with what is to be brought. `done_bytes` counts whole files and parts of those under way;
    `failed` has path and reason of the first of those that could not be brought."""

    files: int = 0
    size_bytes: int = 0
    done_files: int = 0
    done_bytes: int = 0
    failed_files: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)


class Pins:
    """What is pinned is a file, or a folder with all that is or comes below it. The journal has it by inode
    number, so it follows renames, and goes with its entry.

    Eviction asks `kept`; what others change below a pin is brought again in the background.
    """

    def __init__(self, tree: Tree, content: FileContent, refresher: Refresher, *, limit_bytes: int) -> None:
        self._tree = tree
        self._content = content
        self._refresher = refresher
        self._limit_bytes = limit_bytes
        self._tops: dict[Ino, bytes] = {}
        content.upkeep.kept = self.kept
        content.upkeep.is_kept = self.covers

    async def load(self) -> None:
        """Take up what an earlier run pinned; pins of entries that are gone go, too."""
        for ino, path in await self._tree.journal.pins():
            self._tops[ino] = path
            await self._find_top(ino)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bring what is missing of the pinned content, at the start and as others change it."""
        listener = self._tree.happenings.listen(kinds=(Kind.CREATED, Kind.CHANGED, Kind.MOVED))
        news = trio.Event()
        listener.wake = lambda: news.set()
        task_status.started()
        wait_s = 0.0
        while True:
            with trio.move_on_after(wait_s):
                await news.wait()
            changed = news.is_set()
            news = trio.Event()
            concerns_all = not changed or bool(listener.take_dropped())
            paths = set()
            while (happening := listener.take()) is not None:
                paths.add(happening.path)
            failed = await self._bring_pinned(None if concerns_all else paths)
            wait_s = RETRY_S if failed else float("inf")

    async def _bring_pinned(self, changed: set[bytes] | None) -> bool:
        """Bring what is missing, of these paths only where they are told; return whether some failed."""
        failed = False
        for ino in list(self._tops):
            top = await self._find_top(ino)
            if top is None:
                continue
            path = top.path()
            if changed is None or any(_is_at_or_below(each, path) for each in changed):
                try:
                    brought = await self._bring(top, lambda bringing: None)
                except MountfsError as error:
                    log.info("bringing what is pinned at %r: %s", path, error.message)
                    failed = True
                else:
                    failed |= bool(brought.failed_files)
        return failed

    # What is pinned.

    def paths(self) -> list[bytes]:
        """Return where the pins are, as far as memory tells, in order."""
        return sorted(
            inode.path() if (inode := self._tree.inodes.get(ino)) is not None else path
            for ino, path in self._tops.items()
        )

    def covers(self, inode: Inode) -> bool:
        """Tell whether the entry, or a folder above it, is pinned."""
        return bool(self._tops) and any(each.ino in self._tops for each in _upwards(inode))

    async def kept(self) -> set[Ino]:
        """Return the files of pins as the journal has them: those that are not in memory."""
        return (
            {ino for ino, _ in await self._tree.journal.files_below(list(self._tops))}
            if self._tops
            else set()
        )

    async def find(self, path: bytes) -> Inode:
        """Return the entry at a path, also where nobody was here before. Raises FileNotFound and what the
        remote says."""
        inode = self._tree.get(ROOT_INO)
        for name in filter(None, path.split(b"/")):
            if inode.is_directory:
                await self._refresher.ensure_fresh(inode)
            child = inode.children.get(name)
            if child is None:
                raise FileNotFound(f"{path.decode(errors='backslashreplace')} is not in the mount")
            inode = child
        return inode

    async def pin(self, top: Inode, tell: Callable[[Bringing], None]) -> Bringing:
        """Keep it from now on, and bring what is missing; what cannot be brought is tried again later.

        Raises NoRoom, with nothing changed, where the cache would not hold all that is pinned.
        """
        wanted = await self._files(top)
        together = dict(wanted)
        for ino in list(self._tops):
            pinned = await self._find_top(ino)
            together |= await self._files(pinned) if pinned is not None else {}
        total = sum(together.values())
        if total > self._limit_bytes:
            raise NoRoom(
                f"all that is pinned would be {total} bytes, and the cache takes {self._limit_bytes}",
                hint="raise cache_size in the configuration, or unpin something",
            )
        self._tops[top.ino] = top.path()
        self._tree.journal.record_pin(top.ino, top.path())
        await self._tree.journal.committed()
        return await self._bring(top, tell, wanted)

    async def unpin(self, top: Inode) -> None:
        """Let it be evicted like everything else. Raises InvalidArgument where it is not pinned itself."""
        if top.ino not in self._tops:
            above = next((each for each in _upwards(top) if each.ino in self._tops), None)
            told = f"; it is kept with {above.path().decode(errors='backslashreplace')}" if above else ""
            raise InvalidArgument(
                f"{top.path().decode(errors='backslashreplace')} is not pinned itself{told}"
            )
        del self._tops[top.ino]
        self._tree.journal.erase_pin(top.ino)
        await self._tree.journal.committed()
        self._content.upkeep.note_disuse()

    async def prefetch(self, top: Inode, tell: Callable[[Bringing], None]) -> Bringing:
        """Bring what is missing, once. Raises NoRoom where the cache would not hold it."""
        wanted = await self._files(top)
        total = sum(wanted.values())
        if total > self._limit_bytes:
            raise NoRoom(
                f"this is {total} bytes, and the cache takes {self._limit_bytes}",
                hint="raise cache_size in the configuration, or name less",
            )
        return await self._bring(top, tell, wanted)

    async def _find_top(self, ino: Ino) -> Inode | None:
        try:
            inode = self._tree.inodes.get(ino) or await self._tree.bring(ino)
        except FileNotFound:
            inode = None
        if inode is None or not inode.is_linked:
            self._tops.pop(ino, None)
            self._tree.journal.erase_pin(ino)
            return None
        return inode

    # Bringing.

    async def _files(self, top: Inode) -> dict[Ino, int]:
        """Return the size of every file at or below it, by number: there may be more than memory holds."""
        found: dict[Ino, int] = {}
        waiting = [top]
        while waiting:
            inode = waiting.pop()
            if inode.is_file:
                found[inode.ino] = inode.size
            if not inode.is_directory:
                continue
            with self._tree.uses.keeping(inode):
                await self._refresher.ensure_fresh(inode)
                found |= {child.ino: child.size for child in inode.children.values() if child.is_file}
                waiting += [child for child in inode.children.values() if child.is_directory]
        return found

    async def _bring(
        self, top: Inode, tell: Callable[[Bringing], None], wanted: dict[Ino, int] | None = None
    ) -> Bringing:
        wanted = await self._files(top) if wanted is None else wanted
        bringing = Bringing(files=len(wanted), size_bytes=sum(wanted.values()))
        under_way: set[Inode] = set()
        waiting = iter(wanted)
        async with _telling(bringing, under_way, tell), trio.open_nursery() as workers:
            for _ in range(FILES_AT_ONCE):
                workers.start_soon(self._bring_each, waiting, bringing, under_way)
        # What is here is to count as here after a crash as well.
        await self._content.upkeep.save_index()
        tell(bringing)
        return bringing

    async def _bring_each(self, waiting: Iterator[Ino], bringing: Bringing, under_way: set[Inode]) -> None:
        for ino in waiting:
            try:
                inode = self._tree.inodes.get(ino) or await self._tree.bring(ino)
            except FileNotFound:
                continue  # removed meanwhile
            under_way.add(inode)
            try:
                await self._content.bring_whole(inode)
            except MountfsError as error:
                bringing.failed_files += 1
                if len(bringing.failed) < FAILURES_TOLD:
                    bringing.failed.append((inode.path(), error.message))
            else:
                bringing.done_files += 1
                bringing.done_bytes += inode.size
            finally:
                under_way.discard(inode)


@asynccontextmanager
async def _telling(
    bringing: Bringing, under_way: set[Inode], tell: Callable[[Bringing], None]
) -> AsyncIterator[None]:
    """Within, tell again and again how far it is."""

    async def run() -> None:
        while True:
            parts = sum(end - start for inode in under_way for start, end in inode.present or ())
            tell(
                Bringing(
                    files=bringing.files,
                    size_bytes=bringing.size_bytes,
                    done_files=bringing.done_files,
                    done_bytes=bringing.done_bytes + parts,
                    failed_files=bringing.failed_files,
                )
            )
            await trio.sleep(TELL_EVERY_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield
        nursery.cancel_scope.cancel()


def _upwards(inode: Inode) -> Iterator[Inode]:
    here: Inode | None = inode
    while here is not None:
        yield here
        here = here.parent


def _is_at_or_below(path: bytes, top: bytes) -> bool:
    return not top or path == top or path.startswith(top + b"/")
