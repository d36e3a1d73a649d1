"""`GET S/search/`: nodes by name and by text."""

import time
from functools import partial

from sqlalchemy import Connection
from starlette.responses import Response

from mountfs.server import nodes, search
from mountfs.server.endpoint import Call, Services, is_true, whole_number
from mountfs.server.envelope import JsonObject, invalid_field
from mountfs.server.opaque_ids import shown
from mountfs.server.search import Query
from mountfs.server.workspaces import Workspace

MAX_HITS = 500
MAX_HITS_IN_DETAIL = 10
CATCH_UP_S = 5.0
"""How long one search works on the index before it answers from what that has."""

_PLACES = ("filename", "content", "both")
_MATCHES = ("auto", "exact", "prefix", "contains", "glob")


async def search_nodes(call: Call) -> Response:
    """`GET S/search/`: brings the index up to date first, within a bound."""
    workspace, query = call.workspace(write=False), _read_query(call)
    in_detail = is_true(call.query, "details")
    most = MAX_HITS_IN_DETAIL if in_detail else MAX_HITS
    limit = whole_number(call.query, "limit", min(100, most))
    if not 1 <= limit <= most:
        raise invalid_field("limit", f"1 to {most}")
    offset = whole_number(call.query, "offset", 0)
    complete = await _catch_up(call.services)

    def look(connection: Connection) -> JsonObject:
        hits, total = search.find(connection, workspace.id, query, limit, offset)
        files = _files_json(connection, workspace, hits, in_detail=in_detail)
        return {
            "files": files,
            "pagination": {
                "total": total,
                "limit": limit,
                "offset": offset,
                "has_more": offset + len(hits) < total,
            },
            "search_metadata": {"index_complete": complete},
        }

    return await call.read(look)


def _read_query(call: Call) -> Query:
    words = call.query.get("search", "").strip()
    if not 2 <= len(words) <= 1000:
        raise invalid_field("search", "2 to 1000 characters")
    where, match = call.query.get("search_in") or "both", call.query.get("name_match") or "auto"
    if where not in _PLACES:
        raise invalid_field("search_in", f"one of {', '.join(_PLACES)}")
    if match not in _MATCHES:
        raise invalid_field("name_match", f"one of {', '.join(_MATCHES)}")
    if match == "glob" and len(words) > 256:
        raise invalid_field("search", "a pattern has at most 256 characters")
    return Query(words, where, match, is_true(call.query, "case_sensitive"))


async def _catch_up(services: Services) -> bool:
    """Index what is not indexed as it is; whether that is done."""
    ends = time.monotonic() + CATCH_UP_S
    while True:
        documents = await services.database.read(
            lambda connection: search.stale_documents(connection, services.blobs)
        )
        await services.database.write(partial(search.index, documents=documents))
        if not documents:
            return True
        if time.monotonic() > ends:
            return False


def _files_json(
    connection: Connection, workspace: Workspace, hits: list[tuple[str, float]], *, in_detail: bool
) -> JsonObject:
    """The map of the wire; its order is that of the relevance."""
    rows = {row.id: row for row in nodes.find_nodes(connection, workspace, [node_id for node_id, _ in hits])}
    found = [(rows[node_id], score) for node_id, score in hits if node_id in rows]
    paths = nodes.paths_of(connection, workspace, [row for row, _ in found])
    files: JsonObject = {}
    for (row, score), path in zip(found, paths, strict=True):
        files[shown(row.id)] = {
            "name": row.name,
            "parent_id": shown(row.parent_id),
            "type": row.type,
            "path": path,
            "relevance_score": round(score, 4),
            **({"node": nodes.node_json(row, "full")} if in_detail else {}),
        }
    return files
