"""Contents and versions: which bytes a node has had, and when bytes are no longer needed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, exists, insert, literal_column, select

from mountfs.server.blobs import Blob
from mountfs.server.clock import wire_time
from mountfs.server.database import Transaction
from mountfs.server.envelope import JsonObject, not_found
from mountfs.server.opaque_ids import CONTENT, shown
from mountfs.server.opaque_ids import new_id as make_id
from mountfs.server.schema import AnyRow, contents, nodes, segments, uploads, versions
from mountfs.server.workspaces import Workspace

_BATCH = 500

_insert_content = insert(contents)
_insert_segment = insert(segments)
_insert_version = insert(versions)
_stored = select(contents).where(contents.c.id == bindparam("id"))
_known_hash = (
    select(contents)
    .join(versions, versions.c.content_id == contents.c.id)
    .join(nodes, nodes.c.id == versions.c.node_id)
    .where(contents.c.sha256 == bindparam("sha256"), nodes.c.workspace_id == bindparam("workspace"))
    .limit(1)
)
_segments_between = (
    select(segments.c.start, segments.c.size, segments.c.blob)
    .where(
        segments.c.content_id == bindparam("content"),
        segments.c.start < bindparam("end"),
        segments.c.start + segments.c.size > bindparam("begin"),
    )
    .order_by(segments.c.start)
)
_version = select(versions).where(versions.c.id == bindparam("id"), versions.c.node_id == bindparam("node"))
_versions_of = (
    # By the order of their coming: ids and times follow the wall clock, which may step back.
    select(versions).where(versions.c.node_id == bindparam("node")).order_by(literal_column("rowid").desc())
)


@dataclass(frozen=True)
class NewContent:
    """Bytes in blobs that no row names yet."""

    blobs: Sequence[Blob]
    size: int
    sha256: str

    def keep(self, tx: Transaction) -> str:
        """Make it a content; its id."""
        return keep_all(tx, [self])[0]

    def reject(self, tx: Transaction) -> None:
        """Not needed: its blobs go."""
        tx.orphans.extend(blob.name for blob in self.blobs)


@dataclass(frozen=True)
class StoredContent:
    """Bytes that are a content already."""

    id: str
    size: int
    sha256: str

    def keep(self, tx: Transaction) -> str:
        """Its id."""
        return self.id

    def reject(self, tx: Transaction) -> None:
        """Whoever else refers to it keeps it."""


Content = NewContent | StoredContent


def keep_all(tx: Transaction, kept: Sequence[Content]) -> list[str]:
    """Make those of them contents that are new, with one statement for each table; the ids of all."""
    ids = [content.id if isinstance(content, StoredContent) else make_id(CONTENT) for content in kept]
    made, pieces = [], []
    for content_id, content in zip(ids, kept, strict=True):
        if isinstance(content, StoredContent):
            continue
        made.append({"id": content_id, "size": content.size, "sha256": content.sha256})
        start = 0
        for blob in content.blobs:
            if blob.size:
                pieces.append(
                    {"content_id": content_id, "start": start, "size": blob.size, "blob": blob.name}
                )
            else:
                tx.orphans.append(blob.name)
            start += blob.size
    if made:
        tx.execute(_insert_content, made)
    if pieces:
        tx.execute(_insert_segment, pieces)
    return ids


def stored_content(connection: Connection, content_id: str) -> StoredContent:
    """The content with this id, which exists as long as a row refers to it."""
    row = connection.execute(_stored, {"id": content_id}).one()
    return StoredContent(row.id, row.size, row.sha256)


def content_with_sha256(connection: Connection, workspace: Workspace, sha256: str) -> StoredContent:
    """Any content of the workspace with this hash; 404 when it has none."""
    parameters = {"sha256": sha256.lower(), "workspace": workspace.id}
    row = connection.execute(_known_hash, parameters).one_or_none()
    if row is None:
        raise not_found("no content with this hash is known in this workspace", reason="unknown_hash")
    return StoredContent(row.id, row.size, row.sha256)


def segments_between(connection: Connection, content_id: str, begin: int, end: int) -> Sequence[AnyRow]:
    """The segments that hold the bytes `begin` to `end` (exclusive), in order."""
    return connection.execute(_segments_between, {"content": content_id, "begin": begin, "end": end}).all()


def add_versions(tx: Transaction, rows: Sequence[JsonObject]) -> None:
    """Append to the history of nodes; each row holds id, node_id, content_id, name, size and sha256."""
    tx.execute(_insert_version, [{"created_us": tx.now_us, **row} for row in rows])


def get_version(connection: Connection, node_id: str, version_id: str | None) -> AnyRow:
    """The version of this node; 404 when it is not one of its versions."""
    row = connection.execute(_version, {"id": version_id, "node": node_id}).one_or_none()
    if row is None:
        raise not_found("no such version of this node", reason="unknown_version")
    return row


def versions_json(connection: Connection, node: AnyRow) -> JsonObject:
    """The history of the node, newest first."""
    rows = [
        {
            "id": shown(row.id),
            "name": row.name,
            "size": row.size,
            "hash": row.sha256,
            "hash_algo": "sha256",
            "created": wire_time(row.created_us),
            "current": row.id == node.version_id,
        }
        for row in connection.execute(_versions_of, {"node": node.id})
    ]
    return {"versions": rows}


def contents_of_nodes(connection: Connection, node_ids: Sequence[str]) -> set[str]:
    """Every content that a version of one of the nodes refers to."""
    found: set[str] = set()
    for start in range(0, len(node_ids), _BATCH):
        some = node_ids[start : start + _BATCH]
        found.update(
            connection.execute(select(versions.c.content_id).where(versions.c.node_id.in_(some))).scalars()
        )
    return found


def release_contents(tx: Transaction, content_ids: Iterable[str]) -> None:
    """Remove those contents that no version and no upload session refers to; orphan their blobs."""
    candidates = list(content_ids)
    for start in range(0, len(candidates), _BATCH):
        some = contents.c.id.in_(candidates[start : start + _BATCH])
        in_version = exists().where(versions.c.content_id == contents.c.id)
        in_upload = exists().where(uploads.c.content_id == contents.c.id)
        unused = list(tx.execute(select(contents.c.id).where(some, ~in_version, ~in_upload)).scalars())
        tx.orphans.extend(
            tx.execute(select(segments.c.blob).where(segments.c.content_id.in_(unused))).scalars()
        )
        tx.execute(delete(contents).where(contents.c.id.in_(unused)))
