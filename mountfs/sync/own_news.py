"""What the feed tells of files that programs here lock: most of it is this mount's own doing."""

import logging
from typing import Final

import trio

from mountfs.model.errors import MountfsError, RemoteUnavailable
from mountfs.model.ids import NodeId
from mountfs.sync.connection import Connection
from mountfs.sync.refresher import Refresher

log = logging.getLogger(__name__)

DELAY_S: Final = 1.0
"""So long such news gathers. Whoever takes the lock does not wait for that: it is all asked for then."""


class OwnNews:
    """Each lock, version and unlock of ours comes back as news: it is asked for once, for all of them."""

    def __init__(self, refresher: Refresher, connection: Connection) -> None:
        self._refresher = refresher
        self._connection = connection
        self._nodes: set[NodeId] = set()
        self._arrived = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask for what gathered, each time when it is due, until cancelled."""
        task_status.started()
        while True:
            await self._arrived.wait()
            await trio.sleep(DELAY_S)
            await self._connection.wait_worth_trying()
            try:
                await self.look_at(frozenset())
            except MountfsError as error:
                self._refresher.feed_is_lost()
                if isinstance(error, RemoteUnavailable):
                    self._connection.note_failure(error)
                else:
                    log.warning("what locked files became: %s", error.message)

    @property
    def gathered(self) -> frozenset[NodeId]:
        """What the next look asks for in any case."""
        return frozenset(self._nodes)

    def gather(self, nodes: frozenset[NodeId]) -> None:
        if nodes:
            self._nodes |= nodes
            self._arrived.set()

    async def look_at(self, nodes: frozenset[NodeId]) -> None:
        """Ask for these, and for what gathered. Raises what the remote says; then nothing is forgotten."""
        gathered, self._nodes = self._nodes, set()
        self._arrived = trio.Event()
        try:
            await self._refresher.look_at(gathered | nodes)
        except BaseException:
            self.gather(frozenset(gathered))
            raise
