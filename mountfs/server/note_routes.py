"""Routes of notes and links: nodes that are no files, and that only these routes make."""

import unicodedata

from sqlalchemy import Connection
from starlette.responses import Response

from mountfs.server import contents, placing
from mountfs.server.blobs import Blob
from mountfs.server.contents import NewContent
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call, is_true
from mountfs.server.envelope import JsonObject, invalid_field
from mountfs.server.names import check_name
from mountfs.server.nodes import get_live_node, get_node, node_json
from mountfs.server.placing import LockCheck

MAX_NOTE_BYTES = 100 * 1024
MAX_NOTE_NAME = 100


async def create_note(call: Call) -> Response:
    """`POST S/{parent}/createnote/`: `name` ends in .md, `content` is text of at most 100 KiB."""
    workspace, parent_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    name = _check_note_name(fields.get("name", ""))
    blob = await _stored(call, fields.get("content", ""))

    def create(tx: Transaction) -> JsonObject:
        node_id = placing.insert_note(tx, workspace, (parent_id, name), _content(blob))
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    return await _discarding(call, blob, create)


async def update_note(call: Call) -> Response:
    """`POST S/{node}/updatenote/`: `name`, `content`, guarded by `if_version_id`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    name = _check_note_name(fields["name"]) if "name" in fields else None
    if name is None and "content" not in fields:
        raise invalid_field("content", "name or content is required", kind="missing")
    blob = await _stored(call, fields["content"]) if "content" in fields else None
    lock = LockCheck(fields.get("lock_token"))

    def change(tx: Transaction) -> JsonObject:
        node = get_live_node(tx.connection, workspace, node_id)
        if node.type != "note":
            raise invalid_field("node", "not a note", code=153548)
        placing.check_version(tx, node, fields.get("if_version_id"))
        if blob is not None:
            placing.replace_content(tx, workspace, node, _content(blob), "", lock, name)
        elif name is not None:
            placing.rename(tx, workspace, node, name)
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    return await _discarding(call, blob, change)


async def read_note(call: Call) -> Response:
    """`GET S/{node}/readnote/`: the text and the node."""
    workspace, node_id = call.workspace(write=False), call.node_id()
    blobs = call.services.blobs

    def look(connection: Connection) -> JsonObject:
        node = get_node(connection, workspace, node_id)
        if node.type != "note":
            raise invalid_field("node", "not a note", code=153548)
        segments = contents.segments_between(connection, node.content_id, 0, node.size)
        text = b"".join(blobs.read_blocking(part.blob, 0, part.size) for part in segments)
        return {"content": text.decode("utf-8", "replace"), "note": node_json(node, "full")}

    return await call.read(look)


async def add_link(call: Call) -> Response:
    """`POST S/{parent}/addlink/`: a link to a share; there are no others."""
    workspace, parent_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    share = fields.get("share", "")
    if fields.get("type") != "share":
        raise invalid_field("type", "share is expected")
    if not share.isascii() or not share.isdigit() or len(share) != 19:
        raise invalid_field("share", "the id of a share is expected", kind="invalid" if share else "missing")
    name = check_name(fields.get("name") or f"Share {share}")
    force = is_true(fields, "force")

    def add(tx: Transaction) -> JsonObject:
        node_id = placing.insert_link(tx, workspace, (parent_id, name), share, force)
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    return await call.write(add)


async def _discarding(call: Call, blob: Blob | None, work: "placing.Change") -> Response:
    """Answer as `call.write`; the bytes of what is refused are removed."""
    try:
        return await call.write(work)
    except Exception:
        if blob is not None:
            await call.services.blobs.delete([blob.name])
        raise


async def _stored(call: Call, text: str) -> Blob:
    """The text as the service keeps it, without its control characters."""
    kept = "".join(part for part in text if part in "\n\t" or unicodedata.category(part) not in ("Cc", "Cs"))
    content = kept.encode()
    if len(content) > MAX_NOTE_BYTES:
        raise invalid_field("content", f"at most {MAX_NOTE_BYTES} bytes")
    writer = call.services.blobs.new_writer(with_sha256=True)
    writer.gather(content)
    return await writer.finish()


def _content(blob: Blob) -> NewContent:
    return NewContent([blob], blob.size, blob.sha256)


def _check_note_name(name: str) -> str:
    if not check_name(name).endswith(".md") or len(name) > MAX_NOTE_NAME:
        raise invalid_field(
            "name", f"the name of a note ends in .md and has at most {MAX_NOTE_NAME} characters"
        )
    return name
