"""Changing the content of a node only where it still has the version that the change is based on.

Newer services compare and swap themselves. Whether this one does is found out once a day, by a change that
changes nothing and names a version that the node cannot have; where it does not, the version is looked at
before and after, and what was overwritten by a lost race becomes the present version again.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from mountfs.rules.creation import placed_on

log = logging.getLogger(__name__)

PRECONDITION: Final = "if_version_id"
CONFLICT: Final = 409
REFUSED_FROM: Final = 400

Fields = Mapping[str, str]
FindOurs = Callable[[Sequence[Version]], VersionId | None]


class Guard(Tree):
    async def _update_from(
        self,
        node: NodeId,
        base: VersionId,
        fields: Fields,
        send: Callable[[Ask], Awaitable[RemoteNode | None]],
        *,
        sha256: str | None,
    ) -> RemoteNode:
        """Let `send` make this change, to content of this hash, if the node is at `base`; return the
        node with version and sha256, as it is then: others may have changed it once more.

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
        told = await send(ask)
        after = await self._complete(ask, node, told)
        made = None if told is None else told.version
        await self._undo_if_overwritten(before, after, lambda versions: _ours(versions, base, made, sha256))
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

    async def _undo_if_overwritten(self, before: RemoteNode, after: RemoteNode, find_ours: FindOurs) -> None:
        """Raise VersionMismatch where somebody's version came between the two; it is the present one then,
        unless others have made one since."""
        if after.version == before.version:
            return
        lost, is_present = await self._between(before, after, find_ours)
        if lost is None:
            return
        message = f"{after.id}: others changed it at the same time"
        if not is_present:
            raise VersionMismatch(message, current=after.version)
        log.warning("%s: a version of others was overwritten, and is brought back", after.id)
        ask = self._change(after.id, "restore-version", {"version_id": lost.id})
        restored = wire.changed_node(await self._changed(after.id, ask)) or await self._after(ask, after.id)
        raise VersionMismatch(message, current=restored.version)

    async def _between(
        self, before: RemoteNode, after: RemoteNode, find_ours: FindOurs
    ) -> tuple[Version | None, bool]:
        """Return the version right before ours, unless it has the content that ours is based on; and whether
        ours is the present one."""
        try:
            payload = await self._http.payload(Ask("GET", self._node_path(after.id, "versions")))
            versions = wire_history.versions(payload)
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            log.warning("%s: what was overwritten cannot be looked at: %s", after.id, error.message)
            return None, True
        ids = [version.id for version in versions]
        ours = find_ours(versions) or after.version
        if ours not in ids:
            return None, True
        earlier = versions[ids.index(ours) + 1 :]
        if not earlier or earlier[0].id == before.version:
            return None, True
        same = earlier[0].sha256 is not None and earlier[0].sha256 == before.sha256
        return None if same else earlier[0], ids.index(ours) == 0


def _ours(
    versions: Sequence[Version], base: VersionId, made: VersionId | None, sha256: str | None
) -> VersionId | None:
    """Return the version that a change made: as its answer told, else by its content; None where neither
    tells, and it is taken to be the present one."""
    if made is not None or sha256 is None:
        return made
    ours = placed_on(versions, base, sha256)
    return None if ours is None else ours.id


def is_complete(placed: RemoteNode) -> bool:
    return placed.version is not None and placed.sha256 is not None
