"""What the feed tells that most probably is this mount's own doing: it is asked for later, and together."""

import logging
from collections.abc import Mapping
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
    """Each lock, version and unlock of ours comes back as news: it is asked for once, for all of them. Not at
    all, where whoever did it has asked what came of it since."""

    def __init__(self, refresher: Refresher, connection: Connection, *, delay_s: float = DELAY_S) -> None:
        self._refresher = refresher
        self._connection = connection
        self._delay_s = delay_s
        self._told_at: dict[NodeId, float] = {}
        """When (trio's clock) the feed told of each last."""
        self._arrived = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask for what gathered, each time when it is due, until cancelled."""
        task_status.started()
        while True:
            await self._arrived.wait()
            await trio.sleep(self._delay_s)
            await self._connection.wait_worth_trying()
            try:
                await self._look()
            except MountfsError as error:
                self._refresher.feed_is_lost()
                if isinstance(error, RemoteUnavailable):
                    self._connection.note_failure(error)
                else:
                    log.warning("what became of our own changes: %s", error.message)

    @property
    def gathered(self) -> frozenset[NodeId]:
        """What the next look asks for in any case."""
        return self._to_be_asked(self._told_at)

    def gather(self, nodes: frozenset[NodeId]) -> None:
        """The feed has told of these."""
        if nodes:
            self._told_at |= dict.fromkeys(nodes, trio.current_time())
            self._arrived.set()

    async def look_at(self, nodes: frozenset[NodeId]) -> None:
        """Ask for these, and for what gathered. Raises what the remote says; then nothing is forgotten."""
        told_at, self._told_at = self._told_at, {}
        if self._arrived.is_set():
            # `run` may wait for the other one.
            self._arrived = trio.Event()
        try:
            await self._refresher.look_at(self._to_be_asked(told_at) | nodes)
        except BaseException:
            self._told_at = told_at | self._told_at
            self.gather(frozenset(nodes))
            raise

    async def _look(self) -> None:
        """Ask for what gathered, but for what somebody is asking for just now; that counts later."""
        later = {node: at for node, at in self._told_at.items() if self._refresher.is_confirming(node)}
        self._told_at = {node: at for node, at in self._told_at.items() if node not in later}
        try:
            await self.look_at(frozenset())
        finally:
            self._told_at = later | self._told_at
            if self._told_at:
                self._arrived.set()

    def _to_be_asked(self, told_at: Mapping[NodeId, float]) -> frozenset[NodeId]:
        asked_since = self._refresher.was_asked_since
        return frozenset(node for node, at in told_at.items() if not asked_since(node, at))
