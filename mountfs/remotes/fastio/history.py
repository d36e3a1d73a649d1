"""Versions, trash, events and search of one workspace."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from mountfs.model.errors import AccessDenied, NodeNotFound, ProtocolViolation, RequestRefused
from mountfs.model.history import Hit, Hits, RemoteEvent, SearchIn, Trashed, Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.remotes.fastio import wire, wire_history
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.request import Ask, Repeat, path_of
from mountfs.remotes.fastio.tree import Tree

EVENTS_PAGE: Final = 250
LATELY_NS: Final = 300 * 10**9
"""For so long a listing may lack what was made, with some time for clocks that differ."""
RECENT: Final = MappingProxyType({"page_size": "100", "output": "standard"})
HITS_PAGE: Final = 500
SEARCH_PLACES: Final = {SearchIn.NAMES: "filename", SearchIn.CONTENT: "content", SearchIn.BOTH: "both"}


class FastioHistory(Tree):
    """Implements `mountfs.model.history.History`."""

    async def versions(self, node: NodeId) -> list[Version]:
        payload = await self._http.payload(Ask("GET", self._node_path(node, "versions")))
        return wire_history.versions(payload)

    async def restore_version(self, node: NodeId, version: VersionId) -> RemoteNode:
        ask = self._change(node, "restore-version", {"version_id": version})
        return wire.changed_node(await self._changed(node, ask)) or await self._after(ask, node)

    async def trashed(self) -> list[Trashed]:
        found: dict[NodeId, Trashed] = {}
        query = {"page_size": str(self._http.settings.page_size), "output": "standard"}
        path = self._node_path("trash", "list")
        cursors: set[str] = set()
        while True:
            payload = await self._http.payload(Ask("GET", path, query))
            found.update((row.id, row) for row in wire_history.trashed(payload))
            cursor = wire.next_cursor(payload)
            if cursor is None:
                return list(found.values())
            if cursor in cursors:
                raise ProtocolViolation(f"GET {path}: the listing turns in circles")
            cursors.add(cursor)
            query["cursor"] = cursor

    async def purge(self, node: NodeId) -> None:
        # There is no way back: this one call looks first, whatever the service would refuse.
        told = (await self.nodes([node])).get(node)
        if told is None:
            raise NodeNotFound(f"{node}: no such node")
        if not told.trashed:
            raise NodeNotFound(f"{told.name!r} is not in the trash")
        await self._http.payload(Ask("DELETE", self._node_path(node, "purge"), repeat=Repeat.UNSENT))

    async def search(self, words: str, *, among: SearchIn, limit: int) -> Hits:
        hits: dict[NodeId, Hit] = {}
        total, complete = None, True
        while len(hits) < limit:
            query = {
                "search": words,
                "search_in": SEARCH_PLACES[among],
                "limit": str(min(HITS_PAGE, limit - len(hits))),
                "offset": str(len(hits)),
            }
            payload = await self._http.payload(Ask("GET", self._node_path("search"), query))
            page, total, more, complete = wire_history.hits(payload)
            fresh = {hit.node: hit for hit in page if hit.node not in hits}
            hits |= fresh
            if not more or not fresh:
                break
        return Hits(tuple(hits.values()), total, complete)

    async def changed_lately(self) -> frozenset[NodeId]:
        """As the port says: by the events of the workspace, or the nodes that changed last where this
        credential may not read events. `LATELY_NS` counts by the clock of this host."""
        if self._capabilities.get(Capability.LISTS_AT_ONCE):
            return frozenset()
        since_ns = time.time_ns() - LATELY_NS
        if self._capabilities.get(Capability.EVENTS) is not False:
            try:
                told = await self.events(since_ns=since_ns, limit=EVENTS_PAGE)
            except (AccessDenied, NodeNotFound, RequestRefused):
                self._capabilities.found(Capability.EVENTS, False)
            else:
                self._capabilities.found(Capability.EVENTS, True)
                return frozenset(event.node for event in told if event.node is not None)
        page = wire.page(await self._http.payload(Ask("GET", self._node_path("recent"), RECENT)))
        return frozenset(node.id for node in page.nodes if node.modified_ns >= since_ns)

    async def events(
        self, *, node: NodeId | None = None, since_ns: int = 0, limit: int = EVENTS_PAGE
    ) -> Sequence[RemoteEvent]:
        query = {"workspace_id": self._workspace_id, "subcategory": "storage"}
        if node is not None:
            query["object_id"] = node
        if since_ns:
            query["created-min"] = f"{datetime.fromtimestamp(since_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
        found: dict[str, RemoteEvent] = {}
        while len(found) < limit:
            query["limit"] = str(min(EVENTS_PAGE, limit - len(found)))
            payload = await self._http.payload(Ask("GET", path_of("events", "search"), query))
            page, cursor, more = wire_history.events(payload)
            fresh = {event.id: event for event in page if event.id not in found}
            found |= fresh
            if not more or not fresh:
                break
            query |= _continued(cursor, len(found))
        return sorted(found.values(), key=lambda event: (event.at_ns, event.id.rjust(20)))


def _continued(cursor: str | None, seen: int) -> dict[str, Any]:
    return {"cursor": cursor} if cursor else {"offset": str(seen)}
