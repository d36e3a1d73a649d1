"""Nodes as they are read: rows, listings with keyset paging, and their JSON."""

import base64
import binascii
import json
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, select, tuple_

from mountfs.server import received_json, schema
from mountfs.server.clock import lock_clock_us, now_us, wire_time
from mountfs.server.database import Transaction
from mountfs.server.envelope import JsonObject, invalid_field, not_found
from mountfs.server.locks import lock_info
from mountfs.server.names import NAME_KEYS
from mountfs.server.opaque_ids import canonical, shown
from mountfs.server.schema import ROOT, locks, nodes
from mountfs.server.workspaces import Workspace

NodeRow = schema.AnyRow

TRASH = "trash"
CONTENT_TYPES = ("file", "note")
PAGE_SIZES = (100, 250, 500)


@dataclass(frozen=True)
class Page:
    """Which page of a listing is asked for, and how new nodes may be to be in it."""

    size: int
    cursor: str
    delay_us: int = 0


_with_lock = select(
    *nodes.c,
    locks.c.user_id.label("lock_user_id"),
    locks.c.client_info.label("lock_client_info"),
    locks.c.duration_s.label("lock_duration_s"),
    locks.c.acquired_us.label("lock_acquired_us"),
    locks.c.expires_us.label("lock_expires_us"),
).select_from(
    nodes.outerjoin(locks, and_(locks.c.node_id == nodes.c.id, locks.c.expires_us > bindparam("now")))
)

_by_id = _with_lock.where(nodes.c.id == bindparam("id"), nodes.c.workspace_id == bindparam("workspace"))
_by_ids = _with_lock.where(
    nodes.c.id.in_(bindparam("ids", expanding=True)), nodes.c.workspace_id == bindparam("workspace")
)
_sibling = _with_lock.where(
    nodes.c.workspace_id == bindparam("workspace"),
    nodes.c.parent_id == bindparam("parent"),
    nodes.c.trash_root.is_(None),
)
_child = _sibling.where(nodes.c.name == bindparam("name"))
_names_of = select(nodes.c.name).where(
    nodes.c.workspace_id == bindparam("workspace"),
    nodes.c.parent_id == bindparam("parent"),
    nodes.c.trash_root.is_(None),
)
_taken_names = _names_of.where(nodes.c.name.in_(bindparam("keys", expanding=True)))
_taken_keys = _names_of.where(func.name_key(nodes.c.name).in_(bindparam("keys", expanding=True)))
_child_by_key = _sibling.where(func.name_key(nodes.c.name) == func.name_key(bindparam("name")))

_SORTS: dict[str, ColumnElement[Any]] = {
    "name": nodes.c.name,
    "updated": nodes.c.modified_us,
    "created": nodes.c.created_us,
    "type": nodes.c.type,
    "changed": nodes.c.changed_us,
    "id": nodes.c.id,
}
_PLACES: dict[str, ColumnElement[bool]] = {
    "live": and_(nodes.c.parent_id == bindparam("parent"), nodes.c.trash_root.is_(None)),
    "in_trash": and_(nodes.c.parent_id == bindparam("parent"), nodes.c.trash_root == bindparam("trash_root")),
    "trash": and_(nodes.c.trash_root.is_not(None), nodes.c.trash_root == nodes.c.id),
    "everywhere": nodes.c.trash_root.is_(None),
}


def find_node(connection: Connection, workspace: Workspace, node_id: str) -> NodeRow | None:
    """The node, live or trashed, with its lock."""
    parameters = {"id": node_id, "workspace": workspace.id, "now": lock_clock_us()}
    return connection.execute(_by_id, parameters).one_or_none()


def get_node(connection: Connection, workspace: Workspace, node_id: str) -> NodeRow:
    """The node, live or trashed; 404 when there is none."""
    row = find_node(connection, workspace, node_id)
    if row is None:
        raise not_found("no such node in this workspace", 133123)
    return row


def get_live_node(connection: Connection, workspace: Workspace, node_id: str) -> NodeRow:
    """The node; 404 when there is none or it lies in the trash."""
    row = get_node(connection, workspace, node_id)
    if row.trash_root is not None:
        raise not_found("the node is in the trash", reason="trashed")
    return row


def find_child(tx: Transaction, workspace: Workspace, parent_id: str, name: str) -> NodeRow | None:
    """The live node of this name in the folder."""
    parameters = {"workspace": workspace.id, "parent": parent_id, "name": name, "now": lock_clock_us()}
    statement = _child if tx.behaviour.names == "exact" else _child_by_key
    return tx.connection.execute(statement, parameters).first()


def taken_keys(tx: Transaction, workspace: Workspace, parent_id: str, keys: Sequence[str]) -> set[str]:
    """Which of these (`NAME_KEYS` of names) live nodes in the folder have."""
    parameters = {"workspace": workspace.id, "parent": parent_id, "keys": list(keys)}
    statement = _taken_names if tx.behaviour.names == "exact" else _taken_keys
    return set(map(NAME_KEYS[tx.behaviour.names], tx.execute(statement, parameters).scalars()))


def check_folder(connection: Connection, workspace: Workspace, parent_id: str, field: str = "parent") -> None:
    """Raises unless the id is `root` or a live folder."""
    if parent_id == ROOT:
        return
    if parent_id == TRASH:
        raise invalid_field(field, "the trash is no target")
    if get_live_node(connection, workspace, parent_id).type != "folder":
        raise invalid_field(field, "not a folder")


def details_json(connection: Connection, workspace: Workspace, node_id: str, level: str) -> JsonObject:
    """One node's details; the aliases `root` and `trash` answer as folders."""
    if node_id in (ROOT, TRASH):
        return {"format": "single", "node": alias_json(workspace, node_id)}
    return {"format": "single", "node": node_json(get_node(connection, workspace, node_id), level)}


def many_details_json(
    connection: Connection, workspace: Workspace, given: Sequence[str], level: str
) -> JsonObject:
    """The multi layout: what was found, and an error for each id that was not."""
    wanted = {canonical(text) or text.lower(): text for text in given}
    found = [alias_json(workspace, alias) for alias in (ROOT, TRASH) if alias in wanted]
    rows = find_nodes(connection, workspace, list(wanted))
    missing = wanted.keys() - {row.id for row in rows} - {ROOT, TRASH}
    errors = [_lookup_error(key, wanted[key]) for key in missing]
    found.extend(node_json(row, level) for row in rows)
    return {
        "format": "multi",
        "nodes": found,
        "errors": errors,
        "node_count": len(found),
        "error_count": len(errors),
        "requested_count": len(wanted),
    }


def _lookup_error(key: str, given: str) -> JsonObject:
    if canonical(key) is None:
        return {"node_id": given, "code": 191878, "message": "malformed node id"}
    return {"node_id": given, "code": 133123, "message": "no such node in this workspace"}


def find_nodes(connection: Connection, workspace: Workspace, ids: Sequence[str]) -> list[NodeRow]:
    """Those of the nodes that exist."""
    parameters = {"ids": list(ids), "workspace": workspace.id, "now": lock_clock_us()}
    return list(connection.execute(_by_ids, parameters))


def paths_of(connection: Connection, workspace: Workspace, rows: Sequence[NodeRow]) -> list[str]:
    """The path of each live node from the top of the workspace, without a leading slash."""
    places: dict[str, tuple[str, str]] = {row.id: (row.parent_id, row.name) for row in rows}
    unknown = {row.parent_id for row in rows} - places.keys() - {ROOT}
    while unknown:
        parents = find_nodes(connection, workspace, list(unknown))
        places.update((row.id, (row.parent_id, row.name)) for row in parents)
        unknown = {row.parent_id for row in parents} - places.keys() - {ROOT}
    return [_path_of(row.id, places) for row in rows]


def _path_of(node_id: str, places: dict[str, tuple[str, str]]) -> str:
    names = []
    while node_id != ROOT:
        node_id, name = places[node_id]
        names.append(name)
    return "/".join(reversed(names))


def page_of(
    connection: Connection,
    place: str,
    sort: tuple[str, bool],
    page: Page,
    parameters: dict[str, Any],
    node_type: str = "",
) -> tuple[list[NodeRow], str | None]:
    """One page of rows and the cursor of the next one; `sort` is (key, descending)."""
    size, cursor = page.size, page.cursor
    value, last_id = _decode_cursor(cursor, sort[0]) if cursor else (None, "")
    statement = _page_statement(place, sort, bool(cursor), bool(node_type), bool(page.delay_us))
    given = {
        **parameters,
        "now": lock_clock_us(),
        "count": size + 1,
        "value": value,
        "last_id": last_id,
        "type": node_type,
        "before": now_us() - page.delay_us,
    }
    rows = list(connection.execute(statement, given))  # parameters that this statement has not are ignored
    if len(rows) <= size:
        return rows, None
    del rows[size:]
    return rows, _encode_cursor(getattr(rows[-1], _SORTS[sort[0]].key or ""), rows[-1].id)


def listing_json(rows: Sequence[NodeRow], next_cursor: str | None, size: int, level: str) -> JsonObject:
    """A page of nodes as an answer."""
    return {
        "nodes": [node_json(row, level) for row in rows],
        "pagination": {"page_size": size, "has_more": next_cursor is not None, "next_cursor": next_cursor},
        "next_cursor": next_cursor,
    }


@lru_cache(maxsize=256)
def _page_statement(
    place: str, sort: tuple[str, bool], follows: bool, typed: bool, delayed: bool
) -> Select[Any]:
    column, descending = _SORTS[sort[0]], sort[1]
    statement = _with_lock.where(nodes.c.workspace_id == bindparam("workspace"), _PLACES[place])
    if typed:
        statement = statement.where(nodes.c.type == bindparam("type"))
    if delayed:
        statement = statement.where(nodes.c.created_us <= bindparam("before"))
    if follows:
        here, last = tuple_(column, nodes.c.id), tuple_(bindparam("value"), bindparam("last_id"))
        statement = statement.where(here < last if descending else here > last)
    order = (column.desc(), nodes.c.id.desc()) if descending else (column, nodes.c.id)
    return statement.order_by(*order).limit(bindparam("count"))


def _encode_cursor(value: Any, node_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([value, node_id]).encode()).decode("ascii").rstrip("=")


def _decode_cursor(cursor: str, sort_by: str) -> tuple[Any, str]:
    try:
        value, node_id = received_json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error) as error:
        raise invalid_field("cursor", "not a cursor of this listing") from error
    wanted = int if sort_by in ("updated", "created", "changed") else str
    is_value = isinstance(value, wanted) and (isinstance(value, str) or value.bit_length() < 64)
    if not is_value or not isinstance(node_id, str):
        raise invalid_field("cursor", "not a cursor of this order")
    return value, node_id


def alias_json(workspace: Workspace, alias: str) -> JsonObject:
    """The top folder or the trash, as a node."""
    return {
        "id": alias,
        "type": "folder",
        "name": workspace.name if alias == ROOT else "Trash",
        "parent": None,
        "created": wire_time(workspace.created_us),
        "modified": wire_time(workspace.created_us),
    }


def node_json(row: NodeRow, level: str) -> JsonObject:
    """The node at one level of detail; a key that does not apply to the type is missing."""
    has_content = row.type in CONTENT_TYPES
    is_trash_top = row.trash_root == row.id
    body: JsonObject = {
        "id": shown(row.id),
        "type": row.type,
        "name": row.name,
        "parent": TRASH if is_trash_top else shown(row.parent_id),
        "modified": wire_time(row.modified_us),
    }
    if has_content:
        body["mimetype"] = mimetype_of(row.name)
        body["size"] = row.size
    if level != "terse":
        _add_standard(body, row)
    if level == "full":
        _add_full(body, row)
    return body


def _add_standard(body: JsonObject, row: NodeRow) -> None:
    body["created"] = wire_time(row.created_us)
    body["restricted"] = False
    body["dmca"] = False
    body["locked"] = row.lock_expires_us is not None
    body["metadata"] = {"title": row.title, "short": row.short}
    if row.type == "link":
        body |= {"target_type": "share", "target_id": row.upload_id}
    if row.type in CONTENT_TYPES:
        body["version"] = shown(row.version_id)
        body["mimecategory"] = _category_of(body["mimetype"])
        body["origin"] = {"type": "upload", "upload_session_id": shown(row.upload_id or "")}
        body["ai"] = {"state": "disabled"}
    if row.trash_root is not None:
        body["deleted"] = wire_time(row.deleted_us)
        body["deleted_from"] = shown(row.parent_id)


def _add_full(body: JsonObject, row: NodeRow) -> None:
    body["lock_info"] = None if row.lock_expires_us is None else lock_info(row)
    if row.type in CONTENT_TYPES:
        body["hash"] = row.sha256
        body["hash_algo"] = "sha256"
    if row.type == "file":
        body["virus"] = {"status": "unscanned", "reason": "no scanner"}


@lru_cache(maxsize=4096)
def _mimetype_of_extension(extension: str) -> str:
    return mimetypes.guess_type("x." + extension)[0] or "application/octet-stream"


def mimetype_of(name: str) -> str:
    """The server decides by the name's extension."""
    return _mimetype_of_extension(name.rpartition(".")[2].lower())


def _category_of(mimetype: str) -> str:
    first = mimetype.partition("/")[0]
    return (
        first
        if first in ("image", "video", "audio", "text")
        else "document"
        if mimetype.endswith("pdf")
        else "other"
    )
