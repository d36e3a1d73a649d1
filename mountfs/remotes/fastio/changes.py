"""Following what others change, by a long poll."""

from math import ceil
from typing import Final

from mountfs.model.errors import NodeNotFound, RequestRefused
from mountfs.model.ids import ChangeCursor
from mountfs.model.remote import Changes
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.error_map import accepted
from mountfs.remotes.fastio.request import Ask, Repeat, path_of
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

POLL_WAIT_MAX_S: Final = 95
GATEWAY_TIMEOUT: Final = 504


class ChangePoll(WorkspaceCalls):
    async def changes(self, cursor: ChangeCursor | None, *, wait_s: float = 0) -> Changes:
        """As the port says. A poll that a proxy cuts off is an answer without news."""
        if cursor is None:
            return Changes(await self._present_cursor(), frozenset())
        ask = self._poll(cursor, min(POLL_WAIT_MAX_S, ceil(wait_s)))
        answer = await self._http.call(ask)
        if answer.status == GATEWAY_TIMEOUT:
            return Changes(cursor, frozenset())
        try:
            payload = accepted(answer, ask)
        except (NodeNotFound, RequestRefused):
            # It knows this cursor no more.
            return Changes(await self._present_cursor(), frozenset(), everything=True)
        nodes, everything = wire.changed_nodes(payload)
        return Changes(wire.change_cursor(payload), nodes, everything)

    async def _present_cursor(self) -> ChangeCursor:
        return wire.change_cursor(await self._http.payload(Ask("GET", self._poll_path())))

    def _poll(self, cursor: ChangeCursor, wait_s: int) -> Ask:
        query = {"lastactivity": cursor, "updated": "1"}
        if wait_s <= 0:
            return Ask("GET", self._poll_path(), query)
        query["wait"] = str(wait_s)
        # A poll that breaks means that news may be late: whoever trusts the feed must know at once.
        return Ask(
            "GET",
            self._poll_path(),
            query,
            wait_s=wait_s,
            final=frozenset({GATEWAY_TIMEOUT}),
            repeat=Repeat.NEVER,
        )

    def _poll_path(self) -> str:
        return path_of("activity", "poll", self._workspace_id)
