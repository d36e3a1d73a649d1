"""Finding nodes by name and by the text in them, with SQLite's full-text index.

The index is brought up to date by whoever searches: what nobody searches costs nothing. It trails what was
written, as that of the service does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, text, update

from mountfs.server.blobs import BlobStore
from mountfs.server.contents import segments_between
from mountfs.server.database import Transaction
from mountfs.server.schema import AnyRow, nodes, search_docs

TEXT_BYTES = 1024 * 1024
"""So much of a file is searched, from its beginning."""

BATCH = 200

_content_of_node = func.coalesce(nodes.c.content_id, "")
_stale = (
    select(
        nodes.c.id,
        nodes.c.name,
        _content_of_node.label("content_id"),
        nodes.c.size,
        search_docs.c.doc,
    )
    .select_from(nodes.outerjoin(search_docs, search_docs.c.node_id == nodes.c.id))
    .where(
        or_(
            search_docs.c.doc.is_(None),
            search_docs.c.name != nodes.c.name,
            search_docs.c.content_id != _content_of_node,
        )
    )
    .limit(BATCH)
)
_gone = (
    select(search_docs.c.doc)
    .select_from(search_docs.outerjoin(nodes, nodes.c.id == search_docs.c.node_id))
    .where(nodes.c.id.is_(None))
    .limit(BATCH)
)
_create_index = text(
    "CREATE VIRTUAL TABLE IF NOT EXISTS search_text"
    " USING fts5(name, text, tokenize='unicode61 remove_diacritics 2')"
)
_remove_text = text("DELETE FROM search_text WHERE rowid = :doc")
_insert_text = text("INSERT INTO search_text (rowid, name, text) VALUES (:doc, :name, :text)")
_update_doc = (
    update(search_docs)
    .where(search_docs.c.doc == bindparam("given"))
    .values(name=bindparam("new_name"), content_id=bindparam("new_content"))
)


@dataclass(frozen=True)
class Document:
    """What is to be known of a node. `doc`: its row in the index, None for a new one."""

    doc: int | None
    node_id: str
    name: str
    content_id: str
    text: str


@dataclass(frozen=True)
class Query:
    """`where` is `filename`, `content` or `both`; `name_match` how a name is compared."""

    words: str
    where: str = "both"
    name_match: str = "auto"
    case_sensitive: bool = False


def stale_documents(connection: Connection, blobs: BlobStore) -> list[Document]:
    """Some of the nodes that the index does not have as they are; none: it is up to date."""
    return [_read_document(connection, blobs, row) for row in connection.execute(_stale)]


def _read_document(connection: Connection, blobs: BlobStore, row: AnyRow) -> Document:
    read = _read_text(connection, blobs, row.content_id, row.size) if row.content_id and row.size else ""
    return Document(row.doc, row.id, row.name, row.content_id, read)


def _read_text(connection: Connection, blobs: BlobStore, content_id: str, size: int) -> str:
    """The beginning of the content if it is text, else nothing."""
    end = min(size, TEXT_BYTES)
    pieces = []
    for segment in segments_between(connection, content_id, 0, end):
        try:
            pieces.append(blobs.read_blocking(segment.blob, 0, min(segment.size, end - segment.start)))
        except FileNotFoundError:
            return ""  # it was replaced meanwhile, and is stale again
    content = b"".join(pieces)
    if b"\0" in content:
        return ""
    try:
        return content.decode("utf-8", "strict" if size <= TEXT_BYTES else "ignore")
    except UnicodeDecodeError:
        return ""


def index(tx: Transaction, documents: Sequence[Document]) -> None:
    """Take the documents into the index, and out of it some of the nodes that are no more."""
    tx.execute(_create_index)
    for document in documents:
        doc = document.doc
        if doc is None:
            row = {
                "node_id": document.node_id,
                "name": document.name,
                "content_id": document.content_id,
            }
            result: Any = tx.execute(insert(search_docs).prefix_with("OR IGNORE"), row)
            if not result.rowcount:
                continue  # another search was first
            doc = result.inserted_primary_key[0]
        else:
            changed = {"given": doc, "new_name": document.name, "new_content": document.content_id}
            tx.execute(_update_doc, changed)
        tx.execute(_remove_text, {"doc": doc})
        tx.execute(_insert_text, {"doc": doc, "name": document.name, "text": document.text})
    for doc in list(tx.execute(_gone).scalars()):
        tx.execute(_remove_text, {"doc": doc})
        tx.execute(delete(search_docs).where(search_docs.c.doc == doc))


def find(
    connection: Connection, workspace_id: str, query: Query, limit: int, offset: int
) -> tuple[list[tuple[str, float]], int]:
    """The ids of live nodes that fit with their relevance, the best first; and how many there are."""
    parts, parameters = _parts(query)
    hits = " UNION ALL ".join(parts)
    live = "nodes.workspace_id = :workspace AND nodes.trash_root IS NULL"
    # Materialized: the relevance of the full-text index cannot be asked for within a group.
    given = f"WITH hits AS MATERIALIZED ({hits}) "
    found = (
        "SELECT hits.id, SUM(hits.score) AS score FROM hits"  # noqa: S608 - constant texts
        f" JOIN nodes ON nodes.id = hits.id WHERE {live} GROUP BY hits.id"
    )
    parameters |= {"workspace": workspace_id, "count": limit, "skipped": offset}
    ordered = text(f"{given}{found} ORDER BY score DESC, hits.id LIMIT :count OFFSET :skipped")
    rows = [(str(row.id), float(row.score)) for row in connection.execute(ordered, parameters)]
    total = connection.execute(text(f"{given}SELECT COUNT(*) FROM ({found})"), parameters).scalar_one()  # noqa: S608 - the same
    return rows, int(total)


def _parts(query: Query) -> tuple[list[str], dict[str, Any]]:
    """The statements that give ids and scores, and their parameters."""
    parts: list[str] = []
    parameters: dict[str, Any] = {}
    by_name, by_text = query.where in ("filename", "both"), query.where in ("content", "both")
    if by_name:
        condition = _name_condition(query, parameters)
        parts.append(
            f"SELECT nodes.id AS id, 10.0 AS score FROM nodes"  # noqa: S608 - constant texts
            f" WHERE nodes.workspace_id = :workspace AND nodes.trash_root IS NULL AND {condition}"
        )
    by_name = by_name and query.name_match == "auto"
    columns = "name text" if by_name and by_text else "text" if by_text else "name"
    # A null character would end the expression in its middle.
    given = query.words.replace("\0", " ").split()
    words = " ".join('"' + word.replace('"', '""') + '"*' for word in given)
    if words and (by_text or by_name):
        parameters["match"] = f"{{{columns}}} : ({words})"
        parts.append(
            "SELECT search_docs.node_id AS id, -bm25(search_text, 5.0, 1.0) AS score FROM search_text"
            " JOIN search_docs ON search_docs.doc = search_text.rowid WHERE search_text MATCH :match"
        )
    return parts, parameters


def _name_condition(query: Query, parameters: dict[str, Any]) -> str:
    parameters["wanted"] = query.words if query.case_sensitive else query.words.casefold()
    name = "nodes.name" if query.case_sensitive else "casefold(nodes.name)"
    match query.name_match:
        case "exact":
            return f"{name} = :wanted"
        case "glob":
            return f"{name} GLOB :wanted"
        case "prefix":
            return f"substr({name}, 1, length(:wanted)) = :wanted"
        case _:
            return f"instr({name}, :wanted) > 0"
