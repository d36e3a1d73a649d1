"""Routes that give bytes: `read` with ranges, and the token flow."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from mountfs.server import opaque_ids
from mountfs.server.behaviour import Behaviour
from mountfs.server.blobs import BlobStore
from mountfs.server.contents import get_version, segments_between
from mountfs.server.endpoint import Call, answer
from mountfs.server.envelope import ApiError, invalid_field, not_found
from mountfs.server.nodes import get_node, mimetype_of
from mountfs.server.schema import MAX_DIGITS
from mountfs.server.workspaces import Workspace

_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Piece:
    """Some bytes of one blob."""

    blob: str
    start: int
    size: int


@dataclass(frozen=True)
class Plan:
    """Which bytes to send, and how to announce them."""

    mimetype: str
    total: int
    begin: int
    end: int
    partial: bool
    pieces: list[Piece]
    first: bytes  # the content of a body of one piece, read along with the rows

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        headers = {"accept-ranges": "bytes", "content-length": str(self.end - self.begin)}
        if self.partial:
            headers["content-range"] = f"bytes {self.begin}-{self.end - 1}/{self.total}"
        return headers


async def read(call: Call) -> Response:
    """`GET S/{node}/read/`: the current or a named version, whole or a range.

    A download token may stand for the bearer.
    """
    node_id, token = call.node_id(), call.query.get("token", "")
    version_id = _asked_version(call)
    if token:
        workspace = call.services.workspaces.find(call.path("workspace"))
        version_id = call.services.download_tokens.check(token, node_id) or version_id
    else:
        workspace = call.workspace(write=False)
    behaviour = call.services.options.behaviour
    byte_range = call.request.headers.get("range", "") if behaviour.ranges else ""
    blobs = call.services.blobs
    if not token and behaviour.read_redirect != "none":
        return await _redirect(call, workspace, node_id, version_id)
    plan = await call.services.database.read(
        lambda connection: _plan(connection, blobs, workspace, (node_id, version_id), byte_range, behaviour)
    )
    status = 206 if plan.partial else 200
    if len(plan.pieces) <= 1 or call.request.method == "HEAD":
        return Response(plan.first, status, headers=_headers(plan, behaviour), media_type=plan.mimetype)
    return StreamingResponse(
        _send(blobs, plan.pieces), status, headers=_headers(plan, behaviour), media_type=plan.mimetype
    )


def _headers(plan: Plan, behaviour: Behaviour) -> dict[str, str]:
    headers = plan.headers()
    if not behaviour.ranges:
        del headers["accept-ranges"]
    return headers


async def _redirect(call: Call, workspace: Workspace, node_id: str, version_id: str) -> Response:
    """307 to an address with a token in it, on this host or on another name of it."""
    await call.services.database.read(
        lambda connection: _check_version(connection, workspace, node_id, version_id)
    )
    token = call.services.download_tokens.issue(node_id, version_id)
    url = call.request.url.include_query_params(token=token)
    if call.services.options.behaviour.read_redirect == "other":
        url = url.replace(hostname="localhost" if url.hostname != "localhost" else "127.0.0.1")
    return Response(status_code=307, headers={"location": str(url)})


async def request_read(call: Call) -> Response:
    """`GET S/{node}/requestread/`: a token that reads the file without a bearer."""
    workspace, node_id, version_id = call.workspace(write=False), call.node_id(), _asked_version(call)

    await call.services.database.read(
        lambda connection: _check_version(connection, workspace, node_id, version_id)
    )
    return answer({"token": call.services.download_tokens.issue(node_id, version_id)})


def _check_version(connection: Connection, workspace: Workspace, node_id: str, version_id: str) -> None:
    node = get_node(connection, workspace, node_id)
    get_version(connection, node_id, version_id or node.version_id)


def _asked_version(call: Call) -> str:
    text = call.query.get("version_id", "")
    if not text:
        return ""
    bare = opaque_ids.canonical(text)
    if bare is None:
        raise not_found("malformed version id", reason="unknown_version")
    return bare


def _plan(
    connection: Connection,
    blobs: BlobStore,
    workspace: Workspace,
    wanted: tuple[str, str],
    byte_range: str,
    behaviour: Behaviour,
) -> Plan:
    node = get_node(connection, workspace, wanted[0])
    if node.type != "file" and not (node.type == "note" and behaviour.note_reads):
        raise invalid_field("node", "only files can be read")
    if flags := behaviour.flags_of(node.name):
        raise ApiError(403, 1680, f"the content is not served: {flags[0]}")
    content_id, total = node.content_id, node.size
    if wanted[1] and wanted[1] != node.version_id:
        if behaviour.old_versions == "pruned":
            raise not_found("this version is not kept any more", reason="unknown_version")
        version = get_version(connection, node.id, wanted[1])
        content_id, total = version.content_id, version.size
    found = parse_range(byte_range, total)
    begin, end = found or (0, total)
    pieces: list[Piece] = []
    for segment in segments_between(connection, content_id, begin, end):
        low, high = max(begin, segment.start), min(end, segment.start + segment.size)
        pieces.extend(
            Piece(segment.blob, start - segment.start, min(_PIECE, high - start))
            for start in range(low, high, _PIECE)
        )
    first = blobs.read_blocking(pieces[0].blob, pieces[0].start, pieces[0].size) if len(pieces) == 1 else b""
    return Plan(mimetype_of(node.name), total, begin, end, found is not None, pieces, first)


def parse_range(header: str, total: int) -> tuple[int, int] | None:
    """Half-open range of a `Range` header; None when there is none to honour; 416 when it lies outside."""
    unit, _, spec = header.partition("=")
    first, dash, last = (text.strip() for text in spec.partition("-"))
    if (
        unit.strip().lower() != "bytes"
        or not dash
        or not all(t.isascii() and (t.isdigit() or not t) for t in (first, last))
    ):
        return None
    if not first and not last:
        return None
    low, high = (_position(text) for text in (first, last))
    begin = low if first else max(0, total - high)
    end = min(high + 1, total) if first and last else total
    if first and last and high < low:
        return None
    if begin >= total:
        raise ApiError(
            416, 1605, "the range lies outside the file", None, {"content-range": f"bytes */{total}"}
        )
    return begin, end


def _position(digits: str) -> int:
    """The number; a larger one for what is behind the end of any file."""
    return int(digits or "0") if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


async def _send(blobs: BlobStore, pieces: list[Piece]) -> AsyncIterator[bytes]:
    """The pieces in order; while one is sent the next one is read."""
    loop = asyncio.get_running_loop()
    coming = None
    for piece in pieces:
        following = loop.run_in_executor(
            blobs.threads, blobs.read_blocking, piece.blob, piece.start, piece.size
        )
        if coming is not None:
            yield await coming
        coming = following
    if coming is not None:
        yield await coming
