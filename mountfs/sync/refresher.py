"""Comparing what the tree believes with what the remote says: folder by folder, node by node."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

import trio

from mountfs.model.errors import (
    ContentUnavailable,
    Interrupted,
    MountfsError,
    NodeNotFound,
    RemoteError,
    RemoteUnavailable,
)
from mountfs.model.ids import Ino, NodeId
from mountfs.model.interruption import interruptible
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote
from mountfs.rules.told_early import ToldEarly
from mountfs.sync.comparison import Comparison
from mountfs.sync.connection import Connection
from mountfs.sync.lookup import NodeLookup
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

RECHECK_S: Final = 5.0
"""For how long a listing is trusted while the change feed is down."""

CHECK_S: Final = 10.0
"""How long a program waits to hear what the remote has of a file, before it gets what is known."""

ROWS_AT_ONCE: Final = 500
"""So many rows are merged before other work gets its turn."""


MADE_MOST: Final = 1000
MADE_S: Final = 10.0
"""How many of the nodes made here are remembered before those go that were made so long ago."""

OWN_FOLDERS_MOST: Final = 10_000
"""How many folders made here are remembered that nobody has used since."""


class Refresher:
    """`live_since`: from when on (trio's clock) the feed has told every change, None while it is down."""

    def __init__(self, tree: Tree, remote: Remote, changes: RemoteChanges, connection: Connection) -> None:
        self._tree = tree
        self._remote = remote
        self._changes = changes
        self._connection = connection
        self._comparing: dict[Ino, Comparison] = {}
        self._asking: list[float] = []
        """When the calls under way began whose answers are to be merged."""
        self._merged = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._hidden: dict[tuple[NodeId, str], set[NodeId]] = {}
        """By folder and name: nodes whose name another one has here, too."""
        self._told_early = ToldEarly()
        self.lookup = NodeLookup(remote)
        self.live_since: float | None = None
        self._made: dict[NodeId, float] = {}
        """Nodes that were made by this mount lately, and when (trio's clock) was asked what the tree has; the
        youngest last."""
        self._confirming: set[NodeId] = set()
        self._own_folders: set[Ino] = set()
        """Folders that this mount has made on the remote and not compared since."""
        self._distrusted_at = -inf
        self.when_feed_lost: Callable[[], None] = lambda: None
        """Called when what the kernel was told to trust for long can be trusted no more."""
        connection.when_lost = self.distrust

    def feed_is_live(self, since: float) -> None:
        """The feed has told every change from this time on (trio's clock)."""
        self.live_since = since

    def feed_is_lost(self) -> None:
        """Changes may be told late: what is known is to be compared again before long."""
        if self.live_since is not None:
            self.live_since = None
            self.when_feed_lost()

    def distrust(self) -> None:
        """Changes were missed: what was compared before this counts for nothing."""
        self.feed_is_lost()
        self._distrusted_at = trio.current_time()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the listings under way until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def wait_merged(self) -> None:
        """Return when no answer of the remote is awaited that is to be merged, or being merged."""
        while self._asking:
            await self._merged.wait()

    def is_fresh(self, folder: Inode) -> bool:
        """Tell whether the children of this directory need no comparing."""
        if folder.node is None or not folder.is_linked:
            return True
        if not folder.listed or folder.listed_at < self._distrusted_at:
            return False
        if self.live_since is not None:
            return folder.listed_at >= self.live_since
        return trio.current_time() - folder.listed_at < RECHECK_S

    async def ensure_fresh(self, folder: Inode) -> None:
        """Make the children of a directory known and true.

        Stale knowledge is served where the remote refuses, or does not answer in time. Where there is none,
        waits for as long as more of it comes; raises RemoteUnavailable, ContentUnavailable, or what the
        remote says.
        """
        if not folder.loaded:
            await self._tree.ensure_loaded(folder)
        if self.is_fresh(folder):
            return
        if folder.listed and not self._connection.online:
            return
        comparison = self._comparing.get(folder.ino) or self._begin(folder)
        try:
            # Whoever comes later waits only as long as the first: a remote that hangs costs the programs
            # of a mount this time once, not each of their calls.
            is_done = await comparison.wait_patiently(while_it_comes=not folder.listed)
            if not is_done and not folder.listed:
                # It goes on, and may be there at a later try.
                raise ContentUnavailable(f"{folder.path()!r}: the workspace did not list it in time")
        except RemoteError as error:
            # Also where the remote refuses, as with a token that has expired: that is no absence.
            if isinstance(error, RemoteUnavailable):
                self._connection.note_failure(error)
            else:
                self._connection.note_refusal(error)
            if not folder.listed:
                raise

    async def ensure_usable(self, folder: Inode) -> None:
        """Like `ensure_fresh`, but do not wait for the first listing of a folder that was made here: what it
        tells is merged, like news, when it comes.
        """
        if not (folder.loaded and folder.listed and folder.ino in self._own_folders):
            await self.ensure_fresh(folder)
        elif not self.is_fresh(folder) and self._connection.online and folder.ino not in self._comparing:
            self._begin(folder)

    async def compare(self, folder: Inode) -> None:
        """List the folder on the remote and merge what it says; the listing begins after this call.

        Many callers share one. Raises what the remote says. Cancelling gives up only the wait.
        """
        asked = trio.current_time()
        comparison = self._comparing.get(folder.ino)
        while comparison is not None and comparison.began < asked:
            await comparison.done.wait()
            comparison = self._comparing.get(folder.ino)
        await (comparison or self._begin(folder)).wait()

    def _begin(self, folder: Inode) -> Comparison:
        assert self._nursery is not None, "Refresher.run must be running"
        comparison = self._comparing[folder.ino] = Comparison()
        self._nursery.start_soon(self._run_comparison, folder, comparison)
        return comparison

    async def _run_comparison(self, folder: Inode, comparison: Comparison) -> None:
        try:
            with self._tree.uses.keeping(folder):
                try:
                    await self._compare(folder, comparison.came)
                except RemoteUnavailable as error:
                    log.info("comparing %r again: %s", folder.path(), error.message)
                    await self._compare(folder, comparison.came)
        except MountfsError as error:
            comparison.error = error
        finally:
            self._own_folders.discard(folder.ino)
            del self._comparing[folder.ino]
            comparison.done.set()

    async def _compare(self, folder: Inode, came: Callable[[], None]) -> None:
        await self._tree.ensure_loaded(folder)
        began = trio.current_time()
        node = folder.node
        if node is None:
            return
        with self._asked() as asked:
            try:
                rows = await self._remote.list_folder(node, came)
            except NodeNotFound as error:
                await self.look_at([node])
                if folder.node == node and folder.is_linked:
                    # Told to be there after all: its children are not known to be gone.
                    raise RemoteUnavailable(f"{error.message}; but it is there") from error
                return
            self._connection.note_success()
            doubtful = await self._merge_rows(folder, rows, asked, came)
        listed = {row.id for row in rows}
        unlisted = [
            child.node
            for child in folder.children.values()
            if child.base is not None
            and child.base.parent == node
            and child.base.node not in listed
            and child.touched_at < began
            and child.node is not None
        ]
        doubtful += unlisted
        doubtful += self._told_early.missing(node, listed, trio.current_time())
        await self.look_at(doubtful)
        if any(self._is_known_in(node, missing) for missing in unlisted):
            self._remote.listing_lacked()
        folder.listed = True
        folder.listed_at = began
        self._tree.save(folder)

    def _is_known_in(self, folder: NodeId, node: NodeId) -> bool:
        known = self._tree.by_node.get(node)
        return known is not None and known.base is not None and known.base.parent == folder

    async def _merge_rows(
        self, folder: Inode, rows: list[RemoteNode], asked: float, came: Callable[[], None]
    ) -> list[NodeId]:
        """Merge what rows alone can tell; return the nodes of which more must be known."""
        doubtful: list[NodeId] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            portion = rows[start : start + ROWS_AT_ONCE]
            doubtful += await self._merge_portion(folder, portion, asked)
            came()
            await trio.lowlevel.checkpoint()
        return doubtful

    async def _merge_portion(self, folder: Inode, rows: list[RemoteNode], asked: float) -> list[NodeId]:
        merged = {row.id for row in await self._merge_new(folder, rows, asked)}
        doubtful: list[NodeId] = []
        for row in rows:
            if row.id in merged:
                continue
            known = self._tree.by_node.get(row.id)
            if known is None:
                await self._adopt(row, asked)
            elif not _agrees(known, row):
                doubtful.append(row.id)
        return doubtful

    async def _merge_new(self, folder: Inode, rows: list[RemoteNode], asked: float) -> list[RemoteNode]:
        """Merge those that nothing is known of, as far as nothing is in their way; return them."""
        new = [row for row in rows if row.id not in self._tree.by_node]
        if new and self._tree.knows_more_nodes:
            # What is new in this folder may have been moved here from one that is not in memory.
            await self._tree.find_nodes([row.id for row in new])
        free = [
            row
            for row in new
            if row.id not in self._tree.by_node
            and row.parent == folder.node
            and not row.trashed
            and not self._is_overtaken(row.id, asked)
        ]
        blocked = self._changes.apply_together(free)
        return [row for row in free if row not in blocked] if blocked else free

    @contextmanager
    def _asked(self) -> Iterator[float]:
        """Remember, while the remote is asked and its answer merged, which nodes went meanwhile."""
        began = trio.current_time()
        if not self._asking:
            self._merged = trio.Event()
        self._asking.append(began)
        try:
            yield began
        finally:
            self._asking.remove(began)
            if not self._asking:
                self._merged.set()
            self._tree.forget_gone(before=min(self._asking, default=inf))

    def _is_overtaken(self, node: NodeId, asked: float) -> bool:
        """Tell whether something that is younger than the question was merged before its answer."""
        known = self._tree.by_node.get(node)
        merged_at = self._tree.gone_at.get(node, -inf) if known is None else known.touched_at
        return merged_at >= asked

    def is_being_made(self, node: NodeId) -> bool:
        """Tell whether an unknown node may be one that this mount creates just now."""
        return bool(self._tree.unanswered) and node not in self._tree.by_node

    @contextmanager
    def confirming(self, node: NodeId) -> Iterator[None]:
        """Within, what became of a node that this mount has made is asked for and recorded."""
        self._confirming.add(node)
        try:
            yield
        finally:
            self._confirming.discard(node)

    def is_confirming(self, node: NodeId) -> bool:
        return node in self._confirming

    def note_folder_made(self, folder: Inode) -> None:
        """The remote has a folder that was made here: others can have put there only what is newer."""
        if len(self._own_folders) >= OWN_FOLDERS_MOST:
            self._own_folders.clear()  # their first listings are waited for, as of any other
        self._own_folders.add(folder.ino)

    def note_made(self, node: NodeId, asked: float) -> None:
        """This mount has made the node, and then asked for it, at that time, what the tree has of it."""
        self._made.pop(node, None)
        self._made[node] = asked
        least = trio.current_time() - MADE_S
        while len(self._made) > MADE_MOST and self._made[oldest := next(iter(self._made))] < least:
            del self._made[oldest]

    def was_asked_since(self, node: NodeId, at: float) -> bool:
        """Tell whether what the tree has of a node that was made here was asked for at that time or later."""
        return self._made.get(node, -inf) >= at

    async def look_at(self, nodes: Iterable[NodeId]) -> set[NodeId]:
        """Ask for the nodes by id and merge what the remote says; absent means deleted. Return those that it
        shows as locked."""
        wanted, locked = list(dict.fromkeys(nodes)), set[NodeId]()
        while wanted:
            with self._asked() as asked:
                answers = await self.lookup.nodes(wanted)
                self._connection.note_success()
                present = {node: answer for node, answer in answers.items() if not answer.trashed}
                locked |= {node for node, answer in present.items() if answer.locked}
                overtaken = [
                    node for node in wanted if node not in present and not await self._remove(node, asked)
                ]
                for node in wanted:
                    if node in present:
                        await self._tree.find_node(node)
                        if self._is_overtaken(node, asked):
                            # Asked for again with the others: many are overtaken by a batch at once.
                            overtaken.append(node)
                        else:
                            await self._adopt(present[node], asked)
            wanted = overtaken or list(self._no_longer_hidden())
        return locked

    async def _remove(self, node: NodeId, asked: float) -> bool:
        """Merge that the node is gone; return False, with nothing done, where that answer is overtaken."""
        inode = await self._tree.find_node(node)
        if inode is not None:
            await self._tree.load_below(inode)
        if self._is_overtaken(node, asked):
            return self._tree.by_node.get(node) is None
        self._tree.note_gone(node)
        if inode is not None and inode.node == node and not inode.is_root:
            self._changes.remove(inode)
        return True

    async def _adopt(self, node: RemoteNode, asked: float) -> None:
        """Merge an answer to what was asked at that time (trio's clock); first what is in its way, and in the
        way of that."""
        if node.trashed:
            if not await self._remove(node.id, asked):
                await self.look_at([node.id])
            return
        chain, seen = [(node, asked)], {node.id}
        await self._load_parent(node)
        while chain:
            merging, since = chain[-1]
            if self._is_overtaken(merging.id, since):
                chain.pop()
                await self.look_at([merging.id])
                continue
            in_the_way = self._changes.apply(merging)
            if in_the_way is None:
                chain.pop()
                if merging.id not in self._tree.by_node:
                    self._told_early.note(merging.id, merging.parent, trio.current_time())
            elif any(waiting.id == in_the_way for waiting, _ in chain):
                # They trade names: one has to let go of its own before any can take another.
                self._changes.vacate(in_the_way)
            elif in_the_way in seen:
                self._hide(merging)
                return
            else:
                seen.add(in_the_way)
                now = trio.current_time()
                answer = await self.lookup.node(in_the_way)
                if answer is None or answer.trashed:
                    await self._remove(in_the_way, now)
                else:
                    await self._load_parent(answer)
                    chain.append((answer, now))

    def _hide(self, node: RemoteNode) -> None:
        hidden = self._hidden.setdefault((node.parent, node.name), set())
        if node.id not in hidden:
            log.warning("the remote has two nodes named %r in one folder: one is hidden", node.name)
        hidden.add(node.id)

    def _no_longer_hidden(self) -> set[NodeId]:
        """Return, once, the nodes whose names nobody else has any more."""
        free = [place for place in self._hidden if not self._is_taken(*place)]
        return {node for place in free for node in self._hidden.pop(place)}

    def _is_taken(self, parent: NodeId, name: str) -> bool:
        folder = self._tree.by_node.get(parent)
        return folder is not None and any(
            child.base is not None and (child.base.parent, child.base.name) == (parent, name)
            for child in folder.children.values()
        )

    async def _load_parent(self, node: RemoteNode) -> None:
        """Have the folder of the node ready for it, where that is known, or has to be."""
        parent = await self._tree.find_node(node.parent)
        if parent is None and self._has_changes(node.id):
            # What is here and not sent yet must not get out of sight: the way to it is made known first.
            await self._make_known(node.parent)
            return
        if parent is None or not parent.is_directory or not parent.is_linked:
            known = self._tree.by_node.get(node.id)
            if known is not None:
                # It may get out of sight, with all below it.
                await self._tree.load_below(known)
            return
        # An entry that comes from elsewhere must not get a name that only the journal knows to be taken.
        if parent.listed or node.id in self._tree.by_node:
            await self._tree.ensure_loaded(parent)

    async def _make_known(self, folder: NodeId) -> None:
        """Merge this folder and those that it lies in, as far as they are not known; the uppermost first."""
        way: dict[NodeId, tuple[RemoteNode, float]] = {}
        known: Inode | None = None
        # Step by step: paths may be deeper than calls may be nested.
        while known is None and folder not in way:
            asked = trio.current_time()
            answer = await self.lookup.node(folder)
            if answer is None or answer.trashed:
                break
            way[folder] = answer, asked
            folder = answer.parent
            known = await self._tree.find_node(folder)
        if known is not None and known.is_directory and known.is_linked:
            await self._tree.ensure_loaded(known)
        for answer, asked in reversed(way.values()):
            await self._adopt(answer, asked)

    def _has_changes(self, node: NodeId) -> bool:
        known = self._tree.by_node.get(node)
        return known is not None and any(child.pending is not None for child in self._tree.walk(known))

    async def check_file(self, inode: Inode) -> None:
        """Ask the remote about one file and merge the answer. Raises what the remote says."""
        node = inode.node
        if node is None:
            return
        await self.look_at([node])

    async def check_file_if_possible(self, inode: Inode) -> bool:
        """Like `check_file`, bounded, and content with what is known where the remote does not answer: then
        return False."""
        if not self._connection.online:
            return False
        try:
            with interruptible(trio.move_on_after(CHECK_S)) as patience:
                await self.check_file(inode)
        except Interrupted:
            raise
        except MountfsError as error:
            log.warning("%r could not be checked: %s", inode.path(), error.message)
            return False
        return not patience.cancelled_caught


def _agrees(known: Inode, row: RemoteNode) -> bool:
    base = known.base
    assert base is not None
    if (base.parent, base.name) != (row.parent, row.name):
        return False
    return known.is_directory or (base.version, base.text) == (row.version, row.text)
