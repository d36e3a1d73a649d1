"""Following what changes on the remote."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from mountfs.model.errors import MountfsError, RemoteUnavailable
from mountfs.model.ids import ChangeCursor, NodeId
from mountfs.model.remote import Remote
from mountfs.sync.connection import Connection
from mountfs.sync.own_news import OwnNews
from mountfs.sync.refresher import Refresher
from mountfs.sync.side_by_side import side_by_side

log = logging.getLogger(__name__)

OWN_PAUSE_S: Final = 0.2
"""How long to wait with the next poll after one that told only of files that are locked here."""

POLL_S: Final = 60.0
"""How long one poll waits for news; reference/fastio-api 7.1 allows up to 95."""


class Follower:
    """Keeps the tree up to date, and tells the Refresher how far it can be trusted.

    `noticed` is told of every node that changed, before the tree knows how. `locked_here` tells of a node
    whether programs of this mount lock it or did so just now, `kept_here` whether a lease of this mount keeps
    it as it is known here, `in_a_hurry` whether some of them wait for another host; `hurry`
    has to be called when they begin to.
    """

    def __init__(
        self,
        remote: Remote,
        refresher: Refresher,
        connection: Connection,
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
        self._cursor: ChangeCursor | None = None
        self._pause = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._own.run)
            nursery.start_soon(self._keep_following)
            task_status.started()

    async def _keep_following(self) -> None:
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
                self._refresher.feed_is_live(began if resumed else trio.current_time())
            news = await self._advance(wait_s=POLL_S)
            if news and all(map(self._locked_here, news)) and not self._in_a_hurry():
                with trio.CancelScope() as self._pause:
                    await trio.sleep(OWN_PAUSE_S)

    def hurry(self) -> None:
        """Ask at once for the news that tell when another host gives a lock back."""
        self._pause.cancel()

    async def _advance(self, *, wait_s: float) -> frozenset[NodeId]:
        """Merge what changed, and return it."""
        news = await self._remote.changes(self._cursor, wait_s=wait_s)
        self._connection.note_success()
        await self._merge(news.nodes, everything=news.everything)
        self._cursor = news.cursor
        return news.nodes

    async def _merge(self, nodes: frozenset[NodeId], *, everything: bool) -> None:
        if everything:
            log.info("the change feed has a gap: every folder is compared again at its next use")
            self._refresher.distrust()
        for node in nodes:
            self._noticed(node)
        own = frozenset(filter(self._locked_here, nodes))
        self._own.gather(own)
        await self._refresher.look_at(nodes - own)

    async def catch_up(self, node: NodeId | None = None) -> None:
        """Return when all that the remote had confirmed before the call is merged, and `node` in any case.

        Raises what the remote says.
        """
        told: frozenset[NodeId] = frozenset()
        asked = self._own.gathered | (frozenset() if node is None else frozenset({node}))

        async def ask_feed() -> None:
            nonlocal told
            if self._cursor is not None:
                news = await self._remote.changes(self._cursor)
                if news.everything:
                    self._refresher.distrust()
                told = news.nodes

        # Beside each other: what the node is, and which others changed, both from after the call.
        await side_by_side(ask_feed, partial(self._own.look_at, asked))
        # Nobody changes what is locked here: most such news is of our own locks and versions.
        kept = frozenset(filter(self._kept_here, told - asked))
        self._own.gather(kept)
        await self._refresher.look_at(told - asked - kept)
