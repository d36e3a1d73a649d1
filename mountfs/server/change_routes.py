"""Routes that tell what changed: the activity long poll and the organisation's change feed."""

import math

from sqlalchemy import Connection, bindparam, select
from starlette.responses import Response

from mountfs.server.activity import USER_ENTITY, News
from mountfs.server.clock import wire_time
from mountfs.server.endpoint import Call, answer, whole_number
from mountfs.server.envelope import ApiError, JsonObject
from mountfs.server.opaque_ids import shown
from mountfs.server.schema import AnyRow, activity

MAX_POLL_WAIT_S = 95
MAX_FEED_ROWS = 1000

_events = (
    select(activity)
    .where(
        activity.c.seq > bindparam("after"),
        activity.c.event.is_not(None),
        activity.c.entity.in_(bindparam("entities", expanding=True)),
    )
    .order_by(activity.c.seq)
    .limit(bindparam("count"))
)


async def poll(call: Call) -> Response:
    """`GET /activity/poll/{entity}/`: keys newer than `lastactivity`, at once or within `wait` seconds."""
    name = call.path("entity")
    entity = USER_ENTITY if name == call.principal.user_id else call.workspace_called(name, write=False).id
    services, cursor = call.services, call.query.get("lastactivity", "")
    wait_s = min(whole_number(call.query, "wait", 0), MAX_POLL_WAIT_S)
    if not cursor:
        return answer(_news_json(News([], await services.database.read(services.feed.present))))
    late_s = services.options.behaviour.news_late_s
    news = await services.wake_ups.look_until(
        entity,
        wait_s,
        lambda: services.database.read(lambda connection: services.feed.news(connection, entity, cursor)),
        lambda seen: bool(seen.keys),
        again_s=late_s or math.inf,
    )
    return answer(_news_json(news))


def _news_json(news: News) -> JsonObject:
    return {"activity": news.keys, "lastactivity": news.cursor}


async def org_changes(call: Call) -> Response:
    """`GET /org/{org}/events/changes/`: file events of all workspaces that the credential reaches; without a
    cursor only the head."""
    call.check_org()
    reachable = [each.id for each in call.reachable_workspaces()]
    if not reachable:
        raise ApiError(403, 135626, "nothing of this organisation can be read")
    services, cursor = call.services, call.query.get("cursor", "")
    limit = min(max(whole_number(call.query, "limit", 250), 1), MAX_FEED_ROWS)

    def read_feed(connection: Connection) -> JsonObject:
        head = services.feed.head(connection)
        if not cursor:
            return _feed_json(call, [], head, has_more=False)
        after = services.feed.parse(cursor)
        if after is None or services.feed.is_ahead(connection, after):
            raise ApiError(406, 158008, "not a cursor of this feed", {"reason": "cursor_invalid"})
        if services.feed.is_too_old(connection, after):
            raise ApiError(406, 158008, "the cursor has expired", {"reason": "cursor_expired"})
        query = {"after": after, "count": limit + 1, "entities": reachable}
        rows = connection.execute(_events, query).all()
        lost = services.options.behaviour.feed_lost
        events = [_event_json(row) for row in rows[:limit] if not lost or row.seq % lost]
        end = services.feed.cursor(rows[limit - 1].seq) if len(rows) > limit else head
        return _feed_json(call, events, end, has_more=len(rows) > limit)

    return await call.read(read_feed)


def _event_json(row: AnyRow) -> JsonObject:
    return {
        "event_id": str(row.seq),
        "event": row.event,
        "category": "workspace",
        "subcategory": "storage",
        "object_id": shown(row.object_id),
        "profile_type": "workspace",
        "profile_id": row.entity,
        "workspace_id": row.entity,
        "created": wire_time(row.at_us),
    }


def _feed_json(call: Call, events: list[JsonObject], cursor: str, has_more: bool) -> JsonObject:
    profiles = [
        {
            "id": workspace.id,
            "type": "workspace",
            "name": workspace.name,
            "folder_name": workspace.folder_name,
        }
        for workspace in call.reachable_workspaces()
    ]
    return {
        "changes": events,
        "cursor": cursor,
        "has_more": has_more,
        "profiles": {"items": profiles, "version": str(len(profiles))},
    }
