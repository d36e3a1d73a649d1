"""The tree of a workspace: listings, details, and the changes of names, places and content."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import trio

from mountfs.model.errors import (
    LeaseHeld,
    NameRefused,
    NameTaken,
    NodeNotFound,
    OutcomeUnknown,
    ProtocolViolation,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.details import DETAILS_MAX, details_of
from mountfs.remotes.fastio.error_map import UnexplainedConflict
from mountfs.remotes.fastio.request import Ask, Repeat, form
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

log = logging.getLogger(__name__)

PAGE_SIZES: Final = (100, 250, 500)
"""What the service offers."""

LISTING_ASKED_S: Final = 30.0
"""How long nobody asks again whether listings lag, where that was not told: of many files made in one
second, as when a tree is copied, the newest tell nothing of the others."""


class Tree(WorkspaceCalls):
    async def list_folder(self, folder: NodeId, came: Callable[[], None] = lambda: None) -> list[RemoteNode]:
        found: dict[NodeId, RemoteNode] = {}
        query = {"sort_by": "name", "page_size": str(self._http.settings.page_size), "output": "full"}
        path = self._node_path(folder, "list")
        cursors: set[str] = set()
        unknown: Counter[str] = Counter()
        while True:
            page = wire.page(await self._http.payload(Ask("GET", path, query)))
            found.update((node.id, node) for node in page.nodes if not node.trashed)
            unknown.update(page.unknown)
            came()
            if page.next_cursor is None:
                if unknown:
                    log.debug("GET %s: left out what this client cannot show: %s", path, dict(unknown))
                return list(found.values())
            if page.next_cursor in cursors:
                raise ProtocolViolation(f"GET {path}: the listing turns in circles")
            cursors.add(page.next_cursor)
            query["cursor"] = page.next_cursor

    async def newest(self, folder: NodeId, most: int) -> list[RemoteNode]:
        size = next((size for size in PAGE_SIZES if size >= most), PAGE_SIZES[-1])
        query = {"sort_by": "updated", "sort_dir": "desc", "page_size": str(size), "output": "full"}
        ask = Ask("GET", self._node_path(folder, "list"), query)
        return [node for node in wire.page(await self._http.payload(ask)).nodes if not node.trashed]

    async def lists_at_once(self, made: RemoteNode) -> bool:
        known = self._capabilities.get(Capability.LISTS_AT_ONCE)
        if known is not None:
            return known
        if trio.current_time() < self._listing_asked_from and not self._probing.locked():
            # Of the hundreds of a batch none waits for the others to find that out.
            return True
        async with self._probing:
            known = self._capabilities.get(Capability.LISTS_AT_ONCE)
            if known is None and trio.current_time() >= self._listing_asked_from:
                self._listing_asked_from = trio.current_time() + LISTING_ASKED_S
                known = await self._is_listed(made)
                if known is not None:
                    self._capabilities.found(Capability.LISTS_AT_ONCE, known)
        return known is not False

    def listings_lag(self) -> bool:
        return self._capabilities.get(Capability.LISTS_AT_ONCE) is False

    def listing_lacked(self) -> None:
        self._capabilities.found(Capability.LISTS_AT_ONCE, False)

    async def _is_listed(self, made: RemoteNode) -> bool | None:
        """Return None where the newest of the folder do not tell."""
        try:
            rows = await self.newest(made.parent, PAGE_SIZES[0])
        except RemoteUnavailable:
            raise
        except RemoteError:
            return None
        if any(row.id == made.id for row in rows):
            return True
        is_all = len(rows) < PAGE_SIZES[0]
        return False if is_all or any(row.modified_ns < made.modified_ns for row in rows) else None

    async def nodes(self, ids: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
        found: dict[NodeId, RemoteNode] = {}
        for group in _groups(ids):
            ask = Ask("GET", self._details_path(group), {"output": "full"})
            found |= details_of(await self._http.call(ask), ask, group)
        return found

    async def create_folder(self, parent: NodeId, name: str) -> RemoteNode:
        body = form({"name": wire.sendable_name(name)})
        ask = Ask("POST", self._node_path(parent, "createfolder"), body=body)
        try:
            made = wire.changed_node(await self._http.payload(ask))
        except (NameTaken, NameRefused, RequestRefused, UnexplainedConflict) as refused:
            # Not every service answers with the folder that is there.
            made = await self._child(parent, name)
            if made is None:
                raise
            if made.kind is not NodeKind.FOLDER:
                raise NameTaken(f"{name!r}: a {made.kind.value} in that folder has it") from refused
        if made is None:
            made = await self._found_after(ask, parent, name)
        if made.kind is not NodeKind.FOLDER:
            raise NameTaken(f"{ask}: a {made.kind.value} has the name {name!r}")
        return made

    async def rename(self, node: NodeId, name: str) -> RemoteNode:
        ask = self._change(node, "update", {"name": wire.sendable_name(name)})
        try:
            payload = await self._changed(node, ask)
        except (NameRefused, RequestRefused, OutcomeUnknown, UnexplainedConflict) as refused:
            # The older service breaks (HTTP 500) over a name in use, and some refuse it without saying why.
            here = await self._one(node)
            await self._raise_if_taken(here.parent, name, refused, but_for=node)
            raise
        return wire.changed_node(payload) or await self._after(ask, node)

    async def describe(self, node: NodeId, text: str) -> RemoteNode:
        # An empty value is no field to some versions of the service; this word clears it.
        ask = self._change(node, "update", {"metadata_short": text or "null"})
        payload = await self._changed(node, ask)
        return wire.changed_node(payload) or await self._after(ask, node)

    async def move(self, node: NodeId, parent: NodeId) -> RemoteNode:
        ask = self._change(node, "move", {"parent": parent})
        return wire.changed_node(await self._changed(node, ask)) or await self._after(ask, node)

    async def trash(self, node: NodeId) -> RemoteNode | None:
        try:
            payload = await self._changed(node, Ask("DELETE", self._node_path(node, "delete")))
        except (NodeNotFound, RequestRefused) as refused:
            told = await self.nodes([node])
            if node not in told or told[node].trashed:
                return None
            if isinstance(refused, NodeNotFound):
                raise RemoteUnavailable(f"{refused.message}; but it is there") from refused
            raise
        try:
            return wire.changed_node(payload)
        except ProtocolViolation:
            # It is deleted, whatever the answer tells beside that.
            return None

    async def restore(self, node: NodeId) -> RemoteNode:
        ask = self._change(node, "restore", {})
        return wire.changed_node(await self._http.payload(ask)) or await self._after(ask, node)

    def _details_path(self, group: Sequence[NodeId]) -> str:
        """Name one id twice: that asks for the layout of many, which tells absence from other refusals."""
        asked = group if len(group) > 1 else [*group, *group]
        return self._node_path(",".join(asked), "details")

    def _change(self, node: NodeId, action: str, fields: Mapping[str, str]) -> Ask:
        path = self._node_path(node, action)
        return Ask("POST", path, {"output": "full"}, body=form(fields), repeat=Repeat.UNSENT)

    async def _changed(self, node: NodeId, ask: Ask) -> dict[str, Any]:
        """Change the node, also where locks refuse changes and this client holds the lock.

        No route of a change is known to take a token, so none gets one until a first change was refused.
        Raises LeaseHeld also where the refusal does not say so, but the node is locked.
        """
        token = self._held.get(node)
        if token is None:
            return await self._payload_unless_locked(node, ask)
        if not self._locks_block:
            with suppress(LeaseHeld, UnexplainedConflict):
                return await self._http.payload(ask)
        with_token = replace(ask, query={**ask.query, "lock_token": token})
        payload = await self._payload_unless_locked(node, with_token)
        self._locks_block = True
        return payload

    async def _payload_unless_locked(self, node: NodeId, ask: Ask) -> dict[str, Any]:
        try:
            return await self._http.payload(ask)
        except UnexplainedConflict as refused:
            if (await self._one(node)).locked:
                raise LeaseHeld(f"{refused.message}; and it is locked") from refused
            raise

    async def _one(self, node: NodeId) -> RemoteNode:
        """Raises NodeNotFound, also for a node in the trash."""
        told = (await self.nodes([node])).get(node)
        if told is None or told.trashed:
            raise NodeNotFound(f"{node}: no such node")
        return told

    async def _after(self, ask: Ask, node: NodeId) -> RemoteNode:
        """Return the node after a change whose answer did not describe it."""
        try:
            return await self._one(node)
        except RemoteUnavailable as error:
            raise OutcomeUnknown(f"{ask}: done, but the outcome could not be read") from error

    async def _found_after(self, ask: Ask, parent: NodeId, name: str) -> RemoteNode:
        """Return the child after a change whose answer did not say which node it made."""
        try:
            child = await self._child(parent, name)
        except (NodeNotFound, RemoteUnavailable) as error:
            raise OutcomeUnknown(f"{ask}: done, but the outcome could not be read") from error
        if child is None:
            raise OutcomeUnknown(f"{ask}: done, but the folder does not show it")
        return child

    async def _child(self, parent: NodeId, name: str) -> RemoteNode | None:
        return next((child for child in await self.list_folder(parent) if child.name == name), None)

    async def _raise_if_taken(
        self, parent: NodeId, name: str, refused: Exception, *, but_for: NodeId | None = None
    ) -> None:
        """Raise NameTaken if a sibling has the name: the refusal alone does not tell that for sure."""
        for sibling in await self.list_folder(parent):
            if sibling.name == name and sibling.id != but_for:
                raise NameTaken(f"{name!r}: a {sibling.kind.value} in that folder has it") from refused


def _groups(ids: Sequence[NodeId]) -> Iterator[list[NodeId]]:
    """Split into groups that one call may ask for; the root goes alone, for it answers under another id."""
    unique = list(dict.fromkeys(ids))
    if ROOT_NODE in unique:
        yield [ROOT_NODE]
    others = [node for node in unique if node != ROOT_NODE]
    for start in range(0, len(others), DETAILS_MAX):
        yield others[start : start + DETAILS_MAX]
