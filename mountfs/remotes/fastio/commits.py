"""Placing assembled content: as the next version of a node, guarded by its base, or as a file of a folder."""

import json

from mountfs.model.errors import LeaseHeld, NodeNotFound, RequestRefused, UploadFailed
from mountfs.model.ids import NodeId, UploadId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import UploadStatus
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.error_map import UnexplainedConflict
from mountfs.remotes.fastio.guard import PRECONDITION, Guard, is_complete
from mountfs.remotes.fastio.request import Ask
from mountfs.remotes.fastio.uploads import STATE_WAIT_MAX_S, Uploads


class _UnknownContent(Exception):
    """The service has no content of this hash."""


class Commits(Guard, Uploads):
    async def commit(
        self, node: NodeId, upload: UploadId, base: VersionId, *, sha256: str | None = None
    ) -> RemoteNode:
        fields = {"from": _source(upload)}
        return await self._update_from(
            node, base, fields, lambda ask: self._place(ask, node, upload), sha256=sha256
        )

    async def commit_known(self, node: NodeId, sha256: str, base: VersionId) -> RemoteNode | None:
        """As the port says. What the service answers to a hash that it does not know is not published: any
        refusal that is not about the node or its version is taken for that."""
        source = json.dumps({"type": "hash", "hash": {"hash": sha256, "hash_type": "sha256"}})

        async def place(ask: Ask) -> RemoteNode | None:
            try:
                return wire.changed_node(await self._changed(node, ask))
            except (NodeNotFound, RequestRefused) as refused:
                await self._one(node)
                if PRECONDITION in getattr(refused, "fields", ()):
                    raise
                raise _UnknownContent from refused

        try:
            return await self._update_from(node, base, {"from": source}, place, sha256=sha256)
        except _UnknownContent:
            return None

    async def add_file(self, parent: NodeId, name: str, upload: UploadId) -> RemoteNode:
        fields = {"name": wire.sendable_name(name), "from": _source(upload)}
        ask = self._change(parent, "addfile", fields)
        placed = await self._place(ask, parent, upload)
        if placed is None:
            placed = await self._found_after(ask, parent, name)
        return placed if is_complete(placed) else await self._after(ask, placed.id)

    async def _place(self, ask: Ask, onto: NodeId, upload: UploadId) -> RemoteNode | None:
        """Return the node as the answer tells it, if it does."""
        try:
            return await self._place_assembled(ask, onto, upload)
        except (NodeNotFound, RequestRefused, LeaseHeld, UnexplainedConflict, UploadFailed):
            if not self._promptness.is_presumed(upload):
                raise
            # The refusal may be about that, and may have been out of date by the time it came.
            await self._wait_assembled(upload)
            return await self._place_assembled(ask, onto, upload)
        finally:
            self._promptness.settle(upload)

    async def _place_assembled(self, ask: Ask, onto: NodeId, upload: UploadId) -> RemoteNode | None:
        try:
            return wire.changed_node(await self._changed(onto, ask))
        except (NodeNotFound, RequestRefused):
            # The refusal may be about either of the two: whichever is gone says so itself.
            await self._one(onto)
            await self.upload_state(upload)
            raise

    async def _wait_assembled(self, upload: UploadId) -> None:
        """Raises UploadFailed, UploadVanished."""
        state = await self.upload_state(upload)
        self._promptness.refused(assembled=state.status is UploadStatus.ASSEMBLED)
        while state.status in (UploadStatus.RECEIVING, UploadStatus.WORKING):
            state = await self.upload_state(upload, wait_s=STATE_WAIT_MAX_S)
        if state.status is UploadStatus.FAILED:
            raise UploadFailed(f"the service could not take the upload: {state.message or 'no reason given'}")


def _source(upload: UploadId) -> str:
    return json.dumps({"type": "upload", "upload": {"id": upload}})
