"""Routes below `/workspace/{workspace}/storage/`, but for reading bytes and locks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response

from mountfs.server import (
    contents,
    moving,
    nodes,
    opaque_ids,
    placing,
    received_json,
    tree_steps,
    uploads,
)
from mountfs.server.clock import SECOND_US
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call, Enveloped, is_true, whole_number
from mountfs.server.envelope import ApiError, JsonObject, encode_success, invalid_field, not_found
from mountfs.server.nodes import NodeRow, get_live_node, get_node, node_json
from mountfs.server.placing import LockCheck
from mountfs.server.schema import ROOT
from mountfs.server.workspaces import Workspace

MAX_BULK_IDS = 25
MAX_TITLE = 50
MAX_SHORT = 2048

_SORT_KEYS = ("name", "updated", "created", "type")


async def list_folder(call: Call) -> Response:
    """`GET S/{parent}/list/`: one page of a folder or of the trash."""
    workspace, level, parent_id = call.workspace(write=False), call.level(), call.node_id("node")
    sort, page = _read_sort(call.query), _read_page(call)
    parameters = {"workspace": workspace.id, "parent": parent_id}

    def list_page(connection: Connection) -> JsonObject:
        place = _place_of(connection, workspace, parent_id, parameters)
        rows, next_cursor = nodes.page_of(connection, place, sort, page, parameters)
        return nodes.listing_json(rows, next_cursor, page.size, level)

    return await call.read(list_page)


def _place_of(
    connection: Connection, workspace: Workspace, parent_id: str, parameters: dict[str, Any]
) -> str:
    if parent_id in (ROOT, nodes.TRASH):
        return "trash" if parent_id == nodes.TRASH else "live"
    folder = get_node(connection, workspace, parent_id)
    if folder.type != "folder":
        raise invalid_field("parent", "not a folder")
    parameters["trash_root"] = folder.trash_root
    return "live" if folder.trash_root is None else "in_trash"


def _read_page(call: Call) -> nodes.Page:
    size = whole_number(call.query, "page_size", nodes.PAGE_SIZES[0])
    if size not in nodes.PAGE_SIZES:
        raise invalid_field("page_size", "100, 250 or 500")
    delay_s = call.services.options.behaviour.visible_after_s
    return nodes.Page(size, call.query.get("cursor", ""), int(delay_s * SECOND_US))


def _read_sort(query: Mapping[str, str]) -> tuple[str, bool]:
    sort_by, direction = query.get("sort_by") or "name", query.get("sort_dir") or "asc"
    if sort_by not in _SORT_KEYS:
        raise invalid_field("sort_by", f"one of {', '.join(_SORT_KEYS)}")
    if direction not in ("asc", "desc"):
        raise invalid_field("sort_dir", "asc or desc")
    return sort_by, direction == "desc"


async def inventory(call: Call) -> Response:
    """`GET S/inventory/`: every live node of the workspace, terse, with its path when asked for."""
    workspace, page = call.workspace(write=False), _read_page(call)
    if "output" in call.query:
        raise invalid_field("output", "not taken by the inventory")
    with_path = "path" in call.query.get("include", "").split(",")
    node_type = call.query.get("type", "")

    def list_page(connection: Connection) -> JsonObject:
        parameters = {"workspace": workspace.id}
        rows, next_cursor = nodes.page_of(
            connection, "everywhere", ("id", False), page, parameters, node_type
        )
        body = nodes.listing_json(rows, next_cursor, page.size, "terse")
        if with_path:
            paths = nodes.paths_of(connection, workspace, rows)
            for row, path in zip(body["nodes"], paths, strict=True):
                row["path"] = path
        return body

    return await call.read(list_page)


async def recent(call: Call) -> Response:
    """`GET S/recent/`: live nodes of the whole workspace, the last changed first."""
    workspace, level, page = call.workspace(write=False), call.level(), _read_page(call)
    node_type = call.query.get("type", "")

    def list_page(connection: Connection) -> JsonObject:
        parameters = {"workspace": workspace.id}
        rows, next_cursor = nodes.page_of(
            connection, "everywhere", ("changed", True), page, parameters, node_type
        )
        return nodes.listing_json(rows, next_cursor, page.size, level)

    return await call.read(list_page)


async def details(call: Call) -> Response:
    """`GET S/{id}/details/`, or with commas in the path up to 25 nodes at once."""
    workspace, level = call.workspace(write=False), call.level()
    given = call.path("node").split(",")
    if len(given) > 1:
        return await _many_details(call, workspace, given, level)
    node_id = call.node_id()
    return await call.read(lambda connection: nodes.details_json(connection, workspace, node_id, level))


async def _many_details(call: Call, workspace: Workspace, given: list[str], level: str) -> Response:
    if len(given) > MAX_BULK_IDS:
        raise ApiError(400, 115519, f"at most {MAX_BULK_IDS} ids at once")

    def look(connection: Connection) -> tuple[int, bytes]:
        body = nodes.many_details_json(connection, workspace, given, level)
        return (200 if body["nodes"] else 404), encode_success(body)

    status, content = await call.services.database.read(look)
    return Enveloped(content, status)


async def create_folder(call: Call) -> Response:
    """`POST S/{parent}/createfolder/`: gives the folder of that name when there is one."""
    workspace, parent_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    name, force = fields.get("name", ""), is_true(fields, "force")

    def create(tx: Transaction) -> JsonObject:
        node = node_json(placing.create_folder(tx, workspace, parent_id, name, force), "full")
        return {"node": node, "folder": node}

    return await call.write(create)


async def add_file(call: Call) -> Response:
    """`POST S/{parent}/addfile/`: place an upload that ended `complete`."""
    workspace, parent_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    source = _read_source(fields)
    if source is None or source[0] != "upload":
        raise invalid_field(
            "from", "an upload source is required", kind="missing" if source is None else "invalid"
        )
    lock = _lock_check(call, fields)

    def add(tx: Transaction) -> JsonObject:
        name = fields.get("name") or uploads.get_session(tx.connection, source[1]).name
        content = uploads.content_of_upload(tx.connection, source[1])
        node_id = placing.place_file(tx, workspace, (parent_id, name), content, source[1], lock)
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    return await call.write(add)


async def update_node(call: Call) -> Response:
    """`POST S/{node}/update/`: name, content and metadata in one step, guarded by `if_version_id`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    if not {"name", "from", "metadata_title", "metadata_short"} & fields.keys():
        raise invalid_field(
            "name", "at least one of name, from, metadata_title and metadata_short", kind="missing"
        )
    source = _read_source(fields)
    metadata = _read_metadata(fields)
    lock = _lock_check(call, fields)

    def change(tx: Transaction) -> JsonObject:
        node = get_live_node(tx.connection, workspace, node_id)
        placing.check_version(tx, node, fields.get("if_version_id"))
        _update(tx, workspace, node, (fields.get("name"), source, metadata), lock)
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    try:
        return await call.write(change)
    except ApiError as error:
        if error.status == 409 and source is not None:
            await _spend(call, source)
        raise


async def _spend(call: Call, source: tuple[str, str]) -> None:
    """Where the behaviour says so, an upload is of no use any more once its precondition failed."""
    if call.services.options.behaviour.failed_commit == "spent" and source[0] == "upload":
        await call.services.database.write(lambda tx: uploads.delete_session(tx, source[1]))


def _update(
    tx: Transaction,
    workspace: Workspace,
    node: NodeRow,
    changes: tuple[str | None, tuple[str, str] | None, dict[str, str]],
    lock: LockCheck,
) -> None:
    name, source, metadata = changes
    lock.check(tx, node.id)
    if source is not None:
        if name is not None:
            placing.check_rename(tx, workspace, node, name)
        content = _content_of(tx, workspace, source)
        upload_id = source[1] if source[0] == "upload" else ""
        placing.replace_content(tx, workspace, node, content, upload_id, lock, name)
    elif name is not None:
        placing.rename(tx, workspace, node, name)
    if metadata:
        placing.set_metadata(tx, workspace, node, metadata)


def _content_of(tx: Transaction, workspace: Workspace, source: tuple[str, str]) -> contents.StoredContent:
    if source[0] == "hash":
        return contents.content_with_sha256(tx.connection, workspace, source[1])
    return uploads.content_of_upload(tx.connection, source[1])


def _read_source(fields: Mapping[str, str]) -> tuple[str, str] | None:
    """The `from` field as (`upload`, session id) or (`hash`, sha256); None when it is not given."""
    if "from" not in fields:
        return None
    try:
        source = received_json.loads(fields["from"])
        detail = source[source["type"]]
        if source["type"] == "upload":
            upload_id = opaque_ids.canonical(detail["id"])
            if upload_id is None:
                raise not_found("no such upload session")
            return "upload", upload_id
        if source["type"] == "hash" and isinstance(detail["hash"], str):
            if detail.get("hash_type") != "sha256":
                raise invalid_field("from", "content is known here by its sha256 only")
            return "hash", detail["hash"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid_field("from", "not the JSON of an upload or hash source") from error
    raise invalid_field("from", "upload or hash is expected as type")


def _read_metadata(fields: Mapping[str, str]) -> dict[str, str]:
    """The metadata columns to set; an empty text or the word `null` clears."""
    found = {}
    for field, column, limit in (
        ("metadata_title", "title", MAX_TITLE),
        ("metadata_short", "short", MAX_SHORT),
    ):
        if field in fields:
            text = "" if fields[field] == "null" else fields[field]
            if len(text) > limit:
                raise invalid_field(field, f"at most {limit} characters")
            found[column] = text
    return found


async def move(call: Call) -> Response:
    """`POST S/{node}/move/`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    parent_id, lock = _read_parent(fields), _lock_check(call, fields)
    return await call.write(
        lambda tx: {"node": node_json(moving.move(tx, workspace, node_id, parent_id, lock), "full")}
    )


async def copy(call: Call) -> Response:
    """`POST S/{node}/copy/`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    parent_id, lock = _read_parent(fields), _lock_check(call, fields)
    made: list[str] = []

    def begin(tx: Transaction) -> JsonObject:
        node = moving.copy(tx, workspace, node_id, parent_id, lock)
        made.append(node.id)
        return {"node": node_json(node, "full")}

    response = await call.write(begin)
    _go_on(call, tree_steps.copying(workspace, node_id, made[-1]))
    return response


def _lock_check(call: Call, fields: Mapping[str, str] = MappingProxyType({})) -> LockCheck:
    """The token may stand in the form or, as with the release of a lock, in the query."""
    return LockCheck(fields.get("lock_token") or call.query.get("lock_token"))


def _read_parent(fields: Mapping[str, str]) -> str:
    text = fields.get("parent", "")
    if not text:
        raise invalid_field("parent", "is required", kind="missing")
    parent_id = text if text in (ROOT, nodes.TRASH) else opaque_ids.canonical(text)
    if parent_id is None:
        raise invalid_field("parent", "malformed node id")
    return parent_id


async def delete(call: Call) -> Response:
    """`DELETE S/{node}/delete/`: into the trash; `trash` itself is emptied."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    lock = _lock_check(call)
    if node_id == nodes.TRASH:
        return await call.write(lambda tx: {"count": moving.empty_trash(tx, workspace)})

    def to_trash(tx: Transaction) -> JsonObject:
        node = get_node(tx.connection, workspace, node_id)
        if _goes_in_steps(call, node):
            lock.check(tx, node.id)
        else:
            moving.trash(tx, workspace, node, lock)
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    response = await call.write(to_trash)
    _go_on(call, tree_steps.trashing(workspace, node_id))
    return response


def _goes_in_steps(call: Call, node: NodeRow) -> bool:
    """Whether a change of the node and all that is below it takes more than its request."""
    return node.type == "folder" and call.services.options.behaviour.tree_changes == "in-steps"


def _go_on(call: Call, step: tree_steps.Step) -> None:
    """Go on with a change that takes its time, where the behaviour says that it does."""
    if call.services.options.behaviour.tree_changes == "in-steps":
        call.services.background(tree_steps.in_steps(call.services, step))


async def restore(call: Call) -> Response:
    """`POST S/{node}/restore/`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    lock = _lock_check(call, await call.fields())
    response = await call.write(
        lambda tx: {"node": node_json(moving.restore(tx, workspace, node_id, lock), "full")}
    )
    _go_on(call, tree_steps.restoring(workspace, node_id))
    return response


async def purge(call: Call) -> Response:
    """`DELETE S/{node}/purge/`."""
    workspace, node_id = call.workspace(write=True), call.node_id()

    def remove(tx: Transaction) -> JsonObject:
        moving.purge(tx, workspace, node_id)
        return {}

    return await call.write(remove)


async def versions(call: Call) -> Response:
    """`GET S/{node}/versions/`."""
    workspace, node_id = call.workspace(write=False), call.node_id()
    return await call.read(
        lambda connection: contents.versions_json(connection, get_node(connection, workspace, node_id))
    )


async def restore_version(call: Call) -> Response:
    """`POST S/{node}/restore-version/`: the chosen content becomes a new current version."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    version_id = opaque_ids.canonical(fields.get("version_id", ""))
    lock = _lock_check(call, fields)

    def bring_back(tx: Transaction) -> JsonObject:
        node = get_live_node(tx.connection, workspace, node_id)
        version = contents.get_version(tx.connection, node_id, version_id)
        content = contents.StoredContent(version.content_id, version.size, version.sha256)
        placing.replace_content(tx, workspace, node, content, node.upload_id or "", lock)
        return {"node": node_json(get_node(tx.connection, workspace, node_id), "full")}

    return await call.write(bring_back)
