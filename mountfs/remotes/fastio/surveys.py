"""A second source of what changed: the organisation's change feed where it can be read, else the nodes that
changed last. What the long poll loses shows in it."""

from typing import Final

from mountfs.model.errors import (
    AccessDenied,
    NodeNotFound,
    ProtocolViolation,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.ids import ChangeCursor, NodeId
from mountfs.model.remote import Changes
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.request import Ask, path_of
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

FEED: Final = "feed "
RECENT: Final = "recent "
FEED_ROWS: Final = 1000
FEED_PAGES_MOST: Final = 20
RECENT_ROWS: Final = 100
RECENT_PAGES_MOST: Final = 20

NOT_READABLE: Final = (AccessDenied, NodeNotFound, ProtocolViolation, RequestRefused)
"""How a service says that this credential reads no feed, or that there is none."""


class Surveys(WorkspaceCalls):
    _organisation: str | None = None

    def ask_again(self) -> None:
        self._http.ask_again()

    async def survey(self, cursor: ChangeCursor | None) -> Changes:
        """As the port says; which source it is, is found out at the first call and remembered."""
        if cursor is None and self._capabilities.get(Capability.CHANGE_FEED) is not False:
            try:
                begin = of_feed(await self._feed_page(None))
            except NOT_READABLE as error:
                if not isinstance(error, RemoteUnavailable):  # a page of somebody on the way tells nothing
                    self._capabilities.found(Capability.CHANGE_FEED, False)
            else:
                self._capabilities.found(Capability.CHANGE_FEED, True)
                return Changes(begin, frozenset())
        if cursor is None or cursor.startswith(RECENT):
            return await self._recent(cursor)
        try:
            return await self._feed(cursor.removeprefix(FEED))
        except RequestRefused:
            # The cursor has expired.
            return Changes(of_feed(await self._feed_page(None)), frozenset(), everything=True)

    async def _feed(self, cursor: str) -> Changes:
        nodes: set[NodeId] = set()
        for _ in range(FEED_PAGES_MOST):
            page = await self._feed_page(cursor)
            nodes.update(wire.fed_nodes(page, self._workspace_id))
            following = str(page.get("cursor") or cursor)
            # Rows that are not visible yet leave the cursor where it is: the next survey has them.
            if following == cursor or not wire.truth(page.get("has_more")):
                return Changes(ChangeCursor(FEED + following), frozenset(nodes))
            cursor = following
        return Changes(of_feed(await self._feed_page(None)), frozenset(), everything=True)

    async def _feed_page(self, cursor: str | None) -> wire.Wire:
        query = {"limit": str(FEED_ROWS), **({"cursor": cursor} if cursor is not None else {})}
        path = path_of("org", await self._organisation_id(), "events", "changes")
        return await self._http.payload(Ask("GET", path, query))

    async def _organisation_id(self) -> str:
        if self._organisation is None:
            told = await self._http.payload(Ask("GET", path_of("workspace", self._workspace_id, "details")))
            self._organisation = wire.organisation_id(told)
        return self._organisation

    async def _recent(self, cursor: ChangeCursor | None) -> Changes:
        """Go back until a whole page is older: moves do not change the time by which a row is known to be."""
        since_ns = int(cursor.removeprefix(RECENT)) if cursor is not None else None
        newest_ns, nodes = since_ns or 0, set[NodeId]()
        query = {"page_size": str(RECENT_ROWS), "output": "standard"}
        for _ in range(RECENT_PAGES_MOST):
            page = wire.page(await self._http.payload(Ask("GET", self._recent_path(), query)))
            newest_ns = max([newest_ns, *(node.modified_ns for node in page.nodes)])
            if since_ns is None:
                return Changes(ChangeCursor(f"{RECENT}{newest_ns}"), frozenset())
            nodes.update(node.id for node in page.nodes)
            is_older = all(node.modified_ns < since_ns for node in page.nodes)
            if page.next_cursor is None or is_older:
                return Changes(ChangeCursor(f"{RECENT}{newest_ns}"), frozenset(nodes))
            query["cursor"] = page.next_cursor
        return Changes(ChangeCursor(f"{RECENT}{newest_ns}"), frozenset(), everything=True)

    def _recent_path(self) -> str:
        return path_of("workspace", self._workspace_id, "storage", "recent")


def of_feed(page: wire.Wire) -> ChangeCursor:
    cursor = page.get("cursor")
    if not isinstance(cursor, str | int) or cursor == "":
        raise ProtocolViolation("the answer of the change feed has no cursor")
    return ChangeCursor(f"{FEED}{cursor}")
