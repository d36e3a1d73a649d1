"""Following what changes on the remote."""

import logging
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

import trio

from mountfs.model.errors import MountfsError, RemoteError, RemoteUnavailable
from mountfs.model.ids import ChangeCursor, NodeId
from mountfs.model.remote import Remote
from mountfs.rules.twice_told import Source, TwiceTold
from mountfs.sync.connection import Connection
from mountfs.sync.folder_walk import FolderWalk
from mountfs.sync.own_news import DELAY_S, OwnNews
from mountfs.sync.push_channel import PushChannel
from mountfs.sync.reconciler import Reconciler
from mountfs.sync.refresher import Refresher
from mountfs.sync.side_by_side import side_by_side

log = logging.getLogger(__name__)

OWN_PAUSE_S: Final = 0.2
"""How long to wait with the next poll after one that told only of files that are locked here."""

PUSHED_PAUSE_S: Final = 1.0
"""The same where a channel tells at once of all but what it loses."""

MADE_DELAY_S: Final = 1.0
"""How long the news of a node waits that nothing here knows, while files are created on the remote: by then
it has mostly turned out to be one of them."""

SURVEY_S: Final = 600.0
"""How often another source is asked for what the feed may have lost."""

SURVEYED_MOST: Final = 500
"""So many nodes are asked for by their ids; for more of them it is cheaper to compare the folders in use."""

RECONCILE_S: Final = 3600.0
"""How often what is in memory is compared with the list of the whole workspace, whatever the sources tell."""

COMPARE_S: Final = 24 * 3600.0
"""How often every folder is compared again: that list does not tell all. Where there is none, each time
that it is wanted."""

POLL_S: Final = 60.0
"""How long one poll waits for news; reference/fastio-api 7.1 allows up to 95."""


class Follower:
    """Keeps the tree up to date, and tells the Refresher how far it can be trusted.

    `noticed` is told of every node that changed, before the tree knows how. `locked_here` tells of a node
    whether programs of this mount lock it or did so just now, `kept_here` whether a lease of this mount keeps
    it as it is known here, `in_a_hurry` whether some of them wait for another host; `hurry`
    has to be called when they begin to. What `reconciler` finds out is asked for when it is due;
    where it cannot tell, `walk` begins.

    Changes are told twice where the remote pushes them: by the channel at once, which may lose some, and by
    the feed, which loses none as far as a cursor goes. Whatever comes second is asked for a little later,
    with all that came second meanwhile.
    """

    def __init__(
        self,
        remote: Remote,
        refresher: Refresher,
        connection: Connection,
        reconciler: Reconciler,
        walk: FolderWalk,
        *,
        noticed: Callable[[NodeId], None],
        locked_here: Callable[[NodeId], bool],
        kept_here: Callable[[NodeId], bool],
        in_a_hurry: Callable[[], bool],
    ) -> None:
        self._remote = remote
        self._refresher = refresher
        self._connection = connection
        self._noticed = noticed
        self._locked_here = locked_here
        self._kept_here = kept_here
        self._in_a_hurry = in_a_hurry
        self._own = OwnNews(refresher, connection)
        self._made = OwnNews(refresher, connection, delay_s=MADE_DELAY_S)
        self._reconciler = reconciler
        self._walk = walk
        self._channel = PushChannel(remote, connection, told=self._hear)
        self._heard: set[NodeId] = set()
        self._hearing = trio.Event()
        self._twice_told = TwiceTold(DELAY_S)
        self._cursor: ChangeCursor | None = None
        self._is_blind_to_before = True
        self._pause = trio.CancelScope()
        self._survey_cursor: ChangeCursor | None = None
        self._survey_at = -inf
        self._reconcile_at = inf
        self._compare_at = inf

    @property
    def is_pushed_to(self) -> bool:
        """Whether changes are told as they happen."""
        return self._channel.is_open

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._own.run)
            await nursery.start(self._made.run)
            nursery.start_soon(self._keep_following)
            nursery.start_soon(self._keep_asking)
            nursery.start_soon(self._channel.run)
            nursery.start_soon(self._walk.run)
            task_status.started()

    async def _keep_following(self) -> None:
        self._reconcile_at = trio.current_time() + RECONCILE_S
        self._compare_at = trio.current_time() + COMPARE_S
        while True:
            await self._connection.wait_worth_trying()
            try:
                await self._follow()
            except MountfsError as error:
                # Nothing was missed as long as the remote still knows the cursor, but until it says so
                # again nothing can be trusted for long.
                self._refresher.feed_is_lost()
                if isinstance(error, RemoteUnavailable):
                    self._connection.note_failure(error)
                else:
                    self._connection.note_refusal(error)
                    await trio.sleep(POLL_S / 10)

    async def _follow(self) -> None:
        while True:
            if self._refresher.live_since is None:
                # What was compared before this call may have changed unseen; where there was no cursor, also
                # what was compared during it.
                began, resumed = trio.current_time(), self._cursor is not None
                await self._advance(wait_s=0)
                if resumed:
                    await self._survey()
                if self._is_blind_to_before:
                    await self._look_back()
                self._refresher.feed_is_live(began if resumed else trio.current_time())
            if trio.current_time() >= self._reconcile_at:
                await self._reconcile()
                continue
            if trio.current_time() >= self._survey_at:
                await self._survey()
                continue
            news = await self._advance(wait_s=POLL_S)
            if news and all(map(self._locked_here, news)) and not self._is_awaited:
                with trio.CancelScope() as self._pause:
                    await trio.sleep(PUSHED_PAUSE_S if self.is_pushed_to else OWN_PAUSE_S)

    @property
    def _is_awaited(self) -> bool:
        """Whether the poll has to tell when another host gives a lock back: a channel tells it sooner."""
        return self._in_a_hurry() and not self.is_pushed_to

    def hurry(self) -> None:
        """Ask for the news that tell when another host gives a lock back, at once where nothing else does."""
        if self._is_awaited:
            self._pause.cancel()

    async def _advance(self, *, wait_s: float) -> frozenset[NodeId]:
        """Merge what changed, and return it."""
        news = await self._remote.changes(self._cursor, wait_s=wait_s)
        self._connection.note_success()
        await self._merge(news.nodes, everything=news.everything)
        self._cursor = news.cursor
        return news.nodes

    async def _look_back(self) -> None:
        """Look at what changed before there was a cursor: listings that lag do not show it yet, and nothing
        will tell of it."""
        try:
            nodes = await self._remote.changed_lately()
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            log.info("nothing tells of what was before: %s", error.message)
            nodes = frozenset()
        await self._refresher.look_at(nodes)
        self._is_blind_to_before = False

    async def _survey(self) -> None:
        """Look for what the feed did not tell. A source that refuses is asked again at the next survey."""
        self._survey_at = trio.current_time() + SURVEY_S
        resumed = self._survey_cursor is not None
        try:
            told = await self._remote.survey(self._survey_cursor)
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            log.info("no other source tells of changes: %s", error.message)
            return
        # Which of them the feed told already cannot be known: what it told may have changed once more.
        too_many = len(told.nodes) > SURVEYED_MOST
        nodes = frozenset() if too_many else told.nodes
        await self._merge(nodes, everything=(told.everything or too_many) and resumed)
        self._survey_cursor = told.cursor

    async def _reconcile(self) -> None:
        """Find out what no source told, or have every folder compared: one by one, or at its next use."""
        now = trio.current_time()
        self._reconcile_at = now + RECONCILE_S
        if now < self._compare_at and await self._reconciler.reconcile():
            return
        self._compare_at = now + COMPARE_S
        self._refresher.distrust()
        self._walk.begin()

    def _hear(self, nodes: frozenset[NodeId]) -> None:
        """Take what the channel tells; the news is asked for beside the listening."""
        self._heard |= self._first_told(nodes, Source.CHANNEL)
        self._hearing.set()

    async def _keep_asking(self) -> None:
        while True:
            await self._hearing.wait()
            self._hearing = trio.Event()
            heard, self._heard = self._heard, set()
            try:
                await self._refresher.look_at(heard)
            except MountfsError as error:
                # What the feed tells of it may count as a repetition.
                log.info("what is said to have changed is not known yet: %s", error.message)
                self._own.gather(frozenset(heard))
                if isinstance(error, RemoteUnavailable):
                    self._connection.note_failure(error)

    def _first_told(self, nodes: frozenset[NodeId], source: Source) -> frozenset[NodeId]:
        """Tell whoever waits for news of these; return those to ask for now. The others gather."""
        for node in nodes:
            self._noticed(node)
        locked = frozenset(filter(self._locked_here, nodes))
        made = frozenset(filter(self._refresher.is_being_made, nodes - locked))
        self._made.gather(made)
        self._refresher.lookup.heard(made)
        repeated = self._twice_told.repeated(nodes, source, trio.current_time())
        later = locked | (repeated - made)
        self._own.gather(later)
        return nodes - later - made

    async def _merge(self, nodes: frozenset[NodeId], *, everything: bool) -> None:
        if everything:
            log.info("the change feed has a gap: every folder is compared again at its next use")
            self._refresher.distrust()
            self._is_blind_to_before = True
        await self._refresher.look_at(self._first_told(nodes, Source.FEED))

    async def catch_up(self, node: NodeId | None = None) -> None:
        """Return when all that the remote had confirmed before the call is merged, and `node` in any case.

        Raises what the remote says.
        """
        told: frozenset[NodeId] = frozenset()
        # What the poll under way gathers from now on is told again.
        cursor = self._cursor
        asked = self._own.gathered | self._made.gathered
        if node is not None:
            asked |= {node}

        async def ask_feed() -> None:
            nonlocal told
            if cursor is not None:
                news = await self._remote.changes(cursor)
                if news.everything:
                    self._refresher.distrust()
                told = news.nodes

        # Beside each other: what the node is, and which others changed, both from after the call.
        await side_by_side(ask_feed, partial(self._own.look_at, asked))
        # Nobody changes what is locked here: most such news is of our own locks and versions.
        kept = frozenset(filter(self._kept_here, told - asked))
        self._own.gather(kept)
        await self._refresher.look_at(told - asked - kept)
