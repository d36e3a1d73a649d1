"""Words of the wire about versions, trash, events and search to words of the model. Pure.

Most keys of these answers are not published: each has several names here, and what is missing stays empty.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mountfs.model.errors import ProtocolViolation
from mountfs.model.history import Hit, RemoteEvent, Trashed, Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import NodeKind
from mountfs.remotes.fastio.wire import (
    Wire,
    canonical,
    is_of_the_future,
    items,
    moment_ns,
    node,
    truth,
    whole,
)


def versions(payload: Wire) -> list[Version]:
    """Return the versions, the newest first where their times tell."""
    rows = [_version(row) for row in items(payload.get("versions"))]
    if all(row.created_ns for row in rows):
        # Stable: those of one second stay in the order of the answer, which is taken to be the newest first.
        rows.sort(key=lambda row: row.created_ns, reverse=True)
    return rows


def _version(row: Wire) -> Version:
    digest = row.get("hash")
    sha256 = isinstance(digest, str) and len(digest) == 64 and "sha256" in str(row.get("hash_algo", "sha256"))
    return Version(
        id=VersionId(canonical(row.get("id") or row.get("version_id"))),
        name=_text(row, "name"),
        size=whole(row.get("size")),
        sha256=str(digest).lower() if sha256 else None,
        created_ns=moment_ns(row.get("created") or row.get("modified")),
        author=actor(row),
    )


def trashed(payload: Wire) -> list[Trashed]:
    rows = [row for row in items(payload.get("nodes")) if not is_of_the_future(row)]
    return [_trashed(row) for row in rows]


def _trashed(row: Wire) -> Trashed:
    # Some services tell of a parent only that it is the trash.
    known = node({**row, "parent": row.get("parent") or "trash"})
    came_from = row.get("deleted_from") or known.parent
    parent = NodeId(canonical(came_from)) if came_from != "trash" else None
    return Trashed(known.id, known.kind, known.name, parent, known.size, moment_ns(row.get("deleted")))


def hits(payload: Wire) -> tuple[list[Hit], int | None, bool, bool]:
    """Return a page of hits, how many there are, whether more follow, and whether the index is complete."""
    pagination = payload.get("pagination")
    told: Mapping[str, Any] = pagination if isinstance(pagination, dict) else {}
    about = payload.get("search_metadata")
    complete = about.get("index_complete") if isinstance(about, dict) else None
    found = [_hit(row) for row in _hit_rows(payload)]
    more = truth(told.get("has_more"))
    return found, whole(told.get("total")), more, complete is None or truth(complete)


def _hit_rows(payload: Wire) -> Iterator[Wire]:
    """Yield the rows of a map from ids, or of an older array."""
    files = payload.get("files")
    if isinstance(files, dict) and "items" not in files:
        for key, row in files.items():
            if isinstance(row, dict):
                yield {"id": key, **row}
        return
    yield from items(files if files is not None else payload.get("results", []))


def _hit(row: Wire) -> Hit:
    kinds = {kind.value: kind for kind in NodeKind}
    return Hit(
        node=NodeId(canonical(row.get("id") or row.get("node_id"))),
        kind=kinds.get(str(row.get("type"))),
        name=_text(row, "name"),
        path=_text(row, "path").strip("/") if truth(row.get("path_complete", True)) else "",
        relevance=_relevance(row.get("relevance_score")),
    )


def _relevance(score: object) -> float:
    """Return 0 for what is no number between all others."""
    try:
        relevance = float(score) if isinstance(score, int | float) else 0.0
    except OverflowError:
        return 0.0
    return relevance if math.isfinite(relevance) else 0.0


def events(payload: Wire) -> tuple[list[RemoteEvent], str | None, bool]:
    """Return a page of events, where it goes on, and whether it does."""
    told = payload.get("events")
    rows = items(told if told is not None else payload.get("results", []))
    pagination = payload.get("pagination")
    page: Mapping[str, Any] = pagination if isinstance(pagination, dict) else {}
    cursor = page.get("next_cursor") or payload.get("next_cursor")
    return [_event(row) for row in rows], str(cursor) if cursor else None, truth(page.get("has_more"))


def _event(row: Wire) -> RemoteEvent:
    subject = row.get("object_id") or row.get("node_id")
    return RemoteEvent(
        id=str(row.get("event_id") or row.get("id") or ""),
        event=_text(row, "event") or _text(row, "name"),
        at_ns=moment_ns(row.get("created") or row.get("created_at")),
        node=_node_id(subject),
        name=_text(row, "object_name"),
        actor=actor(row),
    )


def _node_id(told: object) -> NodeId | None:
    try:
        return NodeId(canonical(told))
    except ProtocolViolation:
        return None


def actor(row: Wire) -> str:
    """Return who did it: a name where there is one, else an id."""
    told = row.get("actor") or row.get("user") or row.get("creator")
    if isinstance(told, dict):
        for key in ("agent_name", "name", "email_address", "id"):
            if told.get(key):
                return str(told[key])
    if isinstance(told, str | int) and told:
        return str(told)
    return str(row.get("calling_user_id") or row.get("user_id") or "")


def _text(row: Wire, key: str) -> str:
    told = row.get(key)
    return told if isinstance(told, str) else ""
