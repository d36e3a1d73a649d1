"""Many small files in one call, each of which may be refused on its own."""

import json
from collections.abc import Sequence
from types import MappingProxyType

from mountfs.model.content_source import BytesSource
from mountfs.model.errors import OutcomeUnknown, ProtocolViolation, RemoteError
from mountfs.model.ids import NodeId, UploadId
from mountfs.model.remote import BatchFile, UploadState, UploadStatus
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.error_map import Refusal, error_of
from mountfs.remotes.fastio.request import Ask, FilePart, Repeat, multipart, path_of
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

ROW_STATUS = 406
"""The rows of an answer have no HTTP status; this one means a refusal of what was sent."""


class Batches(WorkspaceCalls):
    async def upload_batch(
        self, parent: NodeId, files: Sequence[BatchFile]
    ) -> Sequence[UploadState | RemoteError]:
        fields = {
            "instance_id": self._workspace_id,
            "folder_id": parent,
            "manifest": json.dumps([_row(index, file) for index, file in enumerate(files)]),
        }
        parts = [
            FilePart(f"file_{index}", file.name, BytesSource(file.content))
            for index, file in enumerate(files)
        ]
        body = multipart(fields, *parts)
        ask = Ask("POST", path_of("upload", "batch"), body=body, repeat=Repeat.UNSENT)
        try:
            payload = await self._http.payload(ask)
            rows = {wire.whole(row.get("index")): row for row in wire.items(payload.get("results"))}
        except ProtocolViolation as error:
            raise OutcomeUnknown(f"{error.message}; the files may have been stored") from error
        return [result_of(rows.get(index), ask, file) for index, file in enumerate(files)]


def _row(index: int, file: BatchFile) -> dict[str, str | int]:
    name = wire.sendable_name(file.name)
    return {"index": index, "filename": name, "hash": file.sha256, "hash_algo": "sha256"}


def result_of(row: wire.Wire | None, ask: Ask, file: BatchFile) -> UploadState | RemoteError:
    if row is not None and row.get("status") == "error":
        text = str(row.get("error_message") or "no explanation")
        return error_of(Refusal(ROW_STATUS, wire.whole(row.get("error_code")), text, {}, []), ask)
    try:
        if row is not None and row.get("status") == "ok":
            return _stored(row)
    except ProtocolViolation as error:
        return OutcomeUnknown(f"{ask}: {file.name!r}: {error.message}")
    return OutcomeUnknown(f"{ask}: the answer does not tell what became of {file.name!r}")


def _stored(row: wire.Wire) -> UploadState:
    """Without a node the service is still at placing it."""
    told = row.get("node_id")
    node = NodeId(wire.canonical(told)) if told else None
    status = UploadStatus.STORED if node else UploadStatus.WORKING
    return UploadState(UploadId(wire.canonical(row.get("upload_id"))), status, "", MappingProxyType({}), node)
