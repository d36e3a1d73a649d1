"""Routes of the audit trail: which file events there were, the newest first."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, select
from starlette.responses import Response

from mountfs.server import opaque_ids
from mountfs.server.clock import SECOND_US, parse_wire_time, wire_time
from mountfs.server.endpoint import Call, whole_number
from mountfs.server.envelope import ApiError, JsonObject, invalid_field, not_found
from mountfs.server.schema import AnyRow, activity, nodes

MAX_EVENTS = 250

_OWNERS = ("workspace_id", "share_id", "org_id", "user_id", "parent_event_id")
_rows = select(activity, nodes.c.name.label("name")).select_from(
    activity.outerjoin(nodes, nodes.c.id == activity.c.object_id)
)


async def search(call: Call) -> Response:
    """`GET /events/search/`: events of one workspace, or of the organisation or user that has them all."""
    query = call.query
    if not any(query.get(name) for name in _OWNERS):
        raise invalid_field("workspace_id", f"one of {', '.join(_OWNERS)} is required", kind="missing")
    limit = min(max(whole_number(query, "limit", 100), 1), MAX_EVENTS)
    conditions = [*_of_owner(call), *_filters(call)]
    if "cursor" in query:
        conditions.append(activity.c.seq < whole_number(query, "cursor"))
    statement = (
        _rows.where(*conditions)
        .order_by(activity.c.seq.desc())
        .limit(limit + 1)
        .offset(whole_number(query, "offset", 0))
    )
    user_id = call.principal.user_id

    def look(connection: Connection) -> JsonObject:
        rows = connection.execute(statement).all()
        more = len(rows) > limit
        events = [_event_json(row, user_id) for row in rows[:limit]]
        next_cursor = str(rows[limit - 1].seq) if more else None
        return {
            "events": events,
            "pagination": {"page_size": limit, "has_more": more, "next_cursor": next_cursor},
        }

    return await call.read(look)


async def details(call: Call) -> Response:
    """`GET /event/{id}/details/`."""
    seq = whole_number({"event": call.path("event")}, "event")
    user_id = call.principal.user_id

    def look(connection: Connection) -> JsonObject:
        row = connection.execute(_rows.where(activity.c.seq == seq, activity.c.event.is_not(None))).first()
        if row is None or not call.principal.is_member(row.entity):
            raise not_found("no such event")
        return {"event": _event_json(row, user_id)}

    return await call.read(look)


def _of_owner(call: Call) -> list[ColumnElement[bool]]:
    query, told = call.query, activity.c.event.is_not(None)
    if query.get("workspace_id"):
        return [told, activity.c.entity == call.workspace_called(query["workspace_id"], write=False).id]
    reachable = [each.id for each in call.reachable_workspaces()]
    return [told, activity.c.entity.in_(reachable)]


def _filters(call: Call) -> list[ColumnElement[bool]]:
    query = call.query
    found: list[ColumnElement[bool]] = []
    if query.get("event"):
        found.append(activity.c.event == query["event"])
    if query.get("object_id"):
        found.append(activity.c.object_id == (opaque_ids.canonical(query["object_id"]) or ""))
    if query.get("category", "workspace") != "workspace" or query.get("subcategory", "storage") != "storage":
        found.append(activity.c.seq < 0)
    if query.get("calling_user_id", call.principal.user_id) != call.principal.user_id:
        found.append(activity.c.seq < 0)
    earliest, latest = _moment(query, "created-min"), _moment(query, "created-max")
    if earliest is not None:
        found.append(activity.c.at_us >= earliest)
    if latest is not None:
        found.append(activity.c.at_us < latest + SECOND_US)
    return found


def _moment(query: Mapping[str, Any], name: str) -> int | None:
    if not query.get(name):
        return None
    moment = parse_wire_time(query[name])
    if moment is None:
        raise ApiError(406, 10023, f"{name}: YYYY-MM-DD hh:mm:ss UTC is expected")
    return moment


def _event_json(row: AnyRow, user_id: str) -> JsonObject:
    return {
        "event_id": str(row.seq),
        "event": row.event,
        "category": "workspace",
        "subcategory": "storage",
        "object_id": opaque_ids.shown(row.object_id),
        "object_name": row.name,
        "workspace_id": row.entity,
        "calling_user_id": user_id,
        "created": wire_time(row.at_us),
    }
