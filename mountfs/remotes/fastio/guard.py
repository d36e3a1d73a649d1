"""Changing the content of a node only where it still has the version that the change is based on.

Newer services compare and swap themselves. Whether this one does is found out once a day, by a change that
changes nothing and names a version that the node cannot have; where it does not, the version is looked at
before and after, and what was overwritten by a lost race becomes the present version again.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from mountfs.model.errors import LeaseHeld, RemoteError, RemoteUnavailable, RequestRefused, VersionMismatch
from mountfs.model.history import Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.remotes.fastio import wire, wire_history
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.error_map import UnexplainedConflict, accepted, error_of, refusal
from mountfs.remotes.fastio.request import Ask
from mountfs.remotes.fastio.tree import Tree

log = logging.getLogger(__name__)

PRECONDITION: Final = "if_version_id"
CONFLICT: Final = 409
REFUSED_FROM: Final = 400

Fields = Mapping[str, str]


class Guard(Tree):
    async def _update_from(
        self,
        node: NodeId,
        base: VersionId,
        fields: Fields,
        send: Callable[[Ask], Awaitable[RemoteNode | None]],
    ) -> RemoteNode:
        """Let `send` make this change if the node is at `base`; return the node with version and sha256.

        Raises VersionMismatch, and what `send` raises.
        """
        if await self._compares(node):
            ask = self._change(node, "update", {**fields, PRECONDITION: base})
            try:
                return await self._complete(ask, node, await send(ask))
            except UnexplainedConflict as refused:
                here = await self._one(node)
                if here.version != base:
                    raise VersionMismatch(refused.message, current=here.version) from refused
                raise
            except RequestRefused:
                # It may be that very field, of which the service knew another day.
                self._capabilities.doubt(Capability.COMPARES_VERSIONS)
                if await self._compares(node):
                    raise
        before = await self._one(node)
        if before.version != base:
            raise VersionMismatch(f"{node}: it has another version by now", current=before.version)
        ask = self._change(node, "update", fields)
        after = await self._complete(ask, node, await send(ask))
        await self._undo_if_overwritten(before, after)
        return after

    async def _complete(self, ask: Ask, node: NodeId, told: RemoteNode | None) -> RemoteNode:
        return told if told is not None and is_complete(told) else await self._after(ask, node)

    async def _compares(self, node: NodeId) -> bool:
        async with self._probing:
            known = self._capabilities.get(Capability.COMPARES_VERSIONS)
            if known is None:
                known = await self._probe(node)
                self._capabilities.found(Capability.COMPARES_VERSIONS, known)
                if not known:
                    log.info("the service compares no versions: they are compared before and after a change")
        return known

    async def _probe(self, node: NodeId) -> bool:
        here = await self._one(node)
        # The id of a node is well-formed, and that of no version. The text stays what it is.
        fields = {"metadata_short": here.text or "null", PRECONDITION: node}
        ask = self._change(node, "update", fields)
        if node in self._held:
            ask = replace(ask, query={**ask.query, "lock_token": self._held[node]})
        answer = await self._http.call(ask)
        if answer.status < REFUSED_FROM:
            accepted(answer, ask)
            return False
        refused = refusal(answer.status, wire.json_object(answer.content) or {})
        error = error_of(refused, ask, answer.request_id)
        if isinstance(error, VersionMismatch):
            return True
        if answer.status == CONFLICT and not isinstance(error, LeaseHeld) and not here.locked:
            # It does not say what of, and nothing else is in the way.
            return True
        if isinstance(error, RequestRefused):
            return False
        raise error

    async def _undo_if_overwritten(self, before: RemoteNode, after: RemoteNode) -> None:
        """Raise VersionMismatch where somebody's version came between the two; it is the present one then."""
        if after.version == before.version:
            return
        lost = await self._between(before, after)
        if lost is None:
            return
        log.warning("%s: a version of others was overwritten, and is brought back", after.id)
        ask = self._change(after.id, "restore-version", {"version_id": lost.id})
        restored = wire.changed_node(await self._changed(after.id, ask)) or await self._after(ask, after.id)
        raise VersionMismatch(f"{after.id}: others changed it at the same time", current=restored.version)

    async def _between(self, before: RemoteNode, after: RemoteNode) -> Version | None:
        """Return the version right before ours, unless it has the content that ours is based on."""
        try:
            payload = await self._http.payload(Ask("GET", self._node_path(after.id, "versions")))
            versions = wire_history.versions(payload)
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            log.warning("%s: what was overwritten cannot be looked at: %s", after.id, error.message)
            return None
        ids = [version.id for version in versions]
        if after.version not in ids:
            return None
        earlier = versions[ids.index(after.version) + 1 :]
        if not earlier or earlier[0].id == before.version:
            return None
        same = earlier[0].sha256 is not None and earlier[0].sha256 == before.sha256
        return None if same else earlier[0]


def is_complete(placed: RemoteNode) -> bool:
    return placed.version is not None and placed.sha256 is not None
