"""Upload sessions: what they expect, what has arrived, and how they end.

States: `ready` -> `uploading` -> `assembling` -> `complete` (no target: it stays so) -> `storing`
-> `stored`; failures end in `assembly_failed` or `store_failed`. A session with a target passes
`complete` and `storing` inside one transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from mountfs.server import options
from mountfs.server.activity import USER_ENTITY
from mountfs.server.blobs import HASH_ALGORITHMS, Blob
from mountfs.server.clock import wire_time
from mountfs.server.contents import Content, NewContent, StoredContent, release_contents, stored_content
from mountfs.server.database import Transaction
from mountfs.server.envelope import ApiError, JsonObject, invalid_field, not_found, refused
from mountfs.server.names import cut_name
from mountfs.server.nodes import check_folder, get_live_node
from mountfs.server.opaque_ids import UPLOAD, new_id, shown
from mountfs.server.placing import (
    LockCheck,
    NewFile,
    check_rename,
    insert_files,
    place_file,
    replace_content,
)
from mountfs.server.schema import AnyRow, chunks, uploads
from mountfs.server.workspaces import Workspace

OPEN = ("ready", "uploading")
RUNNING = ("assemble", "assembling", "store", "storing")
LISTED_KINDS = ("chunked", "stream")

_insert_upload = insert(uploads)
_by_id = select(uploads).where(uploads.c.id == bindparam("id"))
_chunks_of = select(chunks).where(chunks.c.upload_id == bindparam("id")).order_by(chunks.c.order)
_insert_chunk = insert(chunks)
_delete_chunk = delete(chunks).where(
    chunks.c.upload_id == bindparam("of"), chunks.c.order == bindparam("number")
)


@dataclass(frozen=True)
class Target:
    """Where the bytes of an upload go."""

    workspace: Workspace
    action: str
    folder_id: str
    file_id: str

    def check(self, connection: Connection) -> None:
        """Raises when there is no such place now."""
        if self.action == "create":
            check_folder(connection, self.workspace, self.folder_id, "folder_id")
        elif get_live_node(connection, self.workspace, self.file_id).type != "file":
            raise invalid_field("file_id", "only files have content")

    def place(self, tx: Transaction, name: str, content: Content, upload_id: str, lock: LockCheck) -> str:
        """Put the content there; the id of the file node."""
        if self.action == "create":
            return place_file(tx, self.workspace, (self.folder_id, name), content, upload_id, lock)
        node = get_live_node(tx.connection, self.workspace, self.file_id)
        check_rename(tx, self.workspace, node, name)
        replace_content(tx, self.workspace, node, content, upload_id, lock, name)
        return str(node.id)


@dataclass(frozen=True)
class UploadSpec:
    """What the client declares when it begins an upload."""

    kind: str
    name: str
    size: int | None  # None: a stream tells it by ending
    max_size: int | None
    hash: str | None
    hash_algo: str | None
    target: Target | None
    lock_token: str | None


def check_hash_fields(hash_text: str, algorithm: str) -> tuple[str | None, str | None]:
    """Hash and algorithm, both or neither; 406 for an unknown algorithm."""
    if not hash_text:
        return None, None
    if algorithm not in HASH_ALGORITHMS:
        raise invalid_field("hash_algo", f"one of {', '.join(HASH_ALGORITHMS)}")
    return hash_text.lower(), algorithm


def wrong_hash(field: str = "hash") -> ApiError:
    """406: the bytes that arrived do not have the declared hash."""
    return invalid_field(field, "the bytes received do not have this hash", kind="mismatch", code=10566)


def wrong_size(declared: int | None, received: int) -> ApiError:
    """406/10522: the bytes that arrived are not as many as declared."""
    text = f"{declared} bytes were declared, {received} received"
    return refused(text, "size_mismatch", 10522, declared=declared, received=received)


def check_size(size: int) -> int:
    """The size itself; 406 above the largest file."""
    if size > options.MAX_FILE_BYTES:
        raise invalid_field("size", f"a file has at most {options.MAX_FILE_BYTES} bytes")
    return size


def insert_session(tx: Transaction, spec: UploadSpec, **more: Any) -> str:
    """Record an upload; its id."""
    row = _session_row(tx, spec, **more)
    tx.execute(_insert_upload, row)
    return str(row["id"])


def _session_row(tx: Transaction, spec: UploadSpec, **more: Any) -> dict[str, Any]:
    target = spec.target
    return {
        "id": more.get("id") or new_id(UPLOAD),
        "kind": spec.kind,
        "status": "ready",
        "status_message": "",
        "name": spec.name,
        "size": spec.size,
        "max_size": spec.max_size,
        "hash": spec.hash,
        "hash_algo": spec.hash_algo,
        "action": target.action if target else "create",
        "workspace_id": target.workspace.id if target else None,
        "folder_id": target.folder_id if target else None,
        "file_id": target.file_id if target else None,
        "lock_token": spec.lock_token,
        "new_file_id": None,
        "content_id": None,
        "created_us": tx.now_us,
        "updated_us": tx.now_us,
        **more,
    }


def store_at_once(tx: Transaction, spec: UploadSpec, content: NewContent, lock: LockCheck) -> JsonObject:
    """A whole upload in one step; ends `stored`, or `complete` when it has no target."""
    upload_id = new_id(UPLOAD)
    if spec.target is None:
        done: JsonObject = {"status": "complete", "content_id": content.keep(tx), "new_file_id": None}
    else:
        file_id = spec.target.place(tx, spec.name, content, upload_id, lock)
        done = {"status": "stored", "new_file_id": file_id}
    insert_session(tx, spec, **{**done, "id": upload_id, "size": content.size})
    return _answer_at_once(tx, upload_id, done["new_file_id"])


def store_new_files(
    tx: Transaction, target: Target, specs: Sequence[UploadSpec], contents: Sequence[NewContent]
) -> list[JsonObject]:
    """Whole uploads of new files of one folder, which has room for them and none of their names; what
    `store_at_once` answers to each."""
    ids = [new_id(UPLOAD) for _ in specs]
    files = [
        NewFile(cut_name(spec.name, tx.behaviour.name_cut), content, upload_id)
        for spec, content, upload_id in zip(specs, contents, ids, strict=True)
    ]
    node_ids = insert_files(tx, target.workspace, target.folder_id, files)
    sessions = [
        _session_row(tx, spec, id=upload_id, status="stored", new_file_id=node_id)
        for spec, upload_id, node_id in zip(specs, ids, node_ids, strict=True)
    ]
    tx.execute(_insert_upload, sessions)
    return [_answer_at_once(tx, *each) for each in zip(ids, node_ids, strict=True)]


def _answer_at_once(tx: Transaction, upload_id: str, node_id: str | None) -> JsonObject:
    is_told = node_id is not None and tx.behaviour.single_call == "at-once"
    return {"id": shown(upload_id), "new_file_id": shown(node_id) if node_id and is_told else None}


def receive_at_once(tx: Transaction, spec: UploadSpec, blob: Blob) -> str:
    """The only chunk of an upload has come with its beginning; it is `assembling` now. Its id."""
    upload_id = insert_session(tx, spec)
    tx.execute(_insert_chunk, {"upload_id": upload_id, "order": 1, "size": blob.size, "blob": blob.name})
    set_status(tx, upload_id, "assembling")
    return upload_id


def get_session(connection: Connection, upload_id: str) -> AnyRow:
    """The session; 404 when there is none."""
    row = connection.execute(_by_id, {"id": upload_id}).one_or_none()
    if row is None:
        raise not_found("no such upload session")
    return row


def get_open_session(connection: Connection, upload_id: str, kind: str) -> AnyRow:
    """The session, which takes bytes of this kind (`chunked` or `stream`); 406 when it does not."""
    row = get_session(connection, upload_id)
    check_open(row, kind)
    return row


def check_open(row: AnyRow, kind: str) -> None:
    """Raises 406 unless the session takes bytes of this kind now."""
    if row.kind != kind:
        raise refused(f"this is a {row.kind} upload; chunk and stream calls do not mix", "invalid_state")
    if row.status not in OPEN:
        raise invalid_state(row)


def invalid_state(row: AnyRow) -> ApiError:
    """406: the session has left the state in which this can be done."""
    return refused(
        f"the upload session is not in a valid state: {row.status}", "invalid_state", status=row.status
    )


def session_json(connection: Connection, row: AnyRow) -> JsonObject:
    """The session object of the wire."""
    arrived = connection.execute(_chunks_of, {"id": row.id}).all()
    return {
        "id": shown(row.id),
        "status": row.status,
        "status_message": row.status_message,
        "name": row.name,
        "size": row.size,
        "action": row.action,
        "instance_id": row.workspace_id,
        "chunks": {str(chunk.order): chunk.size for chunk in arrived},
        "new_file_id": shown(row.new_file_id) if row.new_file_id else None,
        "created": wire_time(row.created_us),
        "updated": wire_time(row.updated_us),
    }


def add_chunk(tx: Transaction, upload_id: str, order: int, blob: Blob) -> JsonObject:
    """The chunk has arrived; one of the same order is replaced."""
    session = get_open_session(tx.connection, upload_id, "chunked")
    arrived = tx.execute(_chunks_of, {"id": upload_id}).all()
    others = [chunk for chunk in arrived if chunk.order != order]
    if len(others) < len(arrived) and tx.behaviour.chunk_again == "refused":
        raise refused(f"chunk {order} has arrived already", "invalid_state")
    total = sum(chunk.size for chunk in others) + blob.size
    if len(others) < len(arrived) and tx.behaviour.chunk_again == "ignored":
        tx.orphans.append(blob.name)
        return {"order": order, "size": blob.size, "received": sum(chunk.size for chunk in arrived)}
    if total > session.size:
        raise wrong_size(session.size, total)
    delete_chunk(tx, upload_id, order)
    tx.execute(_insert_chunk, {"upload_id": upload_id, "order": order, "size": blob.size, "blob": blob.name})
    set_status(tx, upload_id, "uploading")
    return {"order": order, "size": blob.size, "received": total}


def delete_chunk(tx: Transaction, upload_id: str, order: int) -> bool:
    """Forget the chunk; whether it was there."""
    query = select(chunks.c.blob).where(chunks.c.upload_id == upload_id, chunks.c.order == order)
    blob = tx.execute(query).scalar_one_or_none()
    if blob is None:
        return False
    tx.orphans.append(blob)
    tx.execute(_delete_chunk, {"of": upload_id, "number": order})
    return True


def begin_assembly(tx: Transaction, upload_id: str) -> None:
    """No more chunks: `assembling`, or `assembly_failed` when they do not make up the declared file."""
    session = get_open_session(tx.connection, upload_id, "chunked")
    arrived = tx.execute(_chunks_of, {"id": upload_id}).all()
    total = sum(chunk.size for chunk in arrived)
    if total != session.size:
        set_status(
            tx, upload_id, "assembly_failed", f"10522: {session.size} bytes declared, {total} received"
        )
    elif [chunk.order for chunk in arrived] != list(range(1, len(arrived) + 1)):
        set_status(tx, upload_id, "assembly_failed", "the orders of the chunks have gaps")
    elif any(chunk.size < options.MIN_CHUNK_BYTES for chunk in arrived[:-1]):
        set_status(tx, upload_id, "assembly_failed", "only the last chunk may be smaller than 1 MiB")
    else:
        set_status(tx, upload_id, "assembling")


def arrived_blobs(connection: Connection, upload_id: str) -> Sequence[Blob]:
    """The chunks of the session, in order."""
    return [Blob(chunk.blob, chunk.size) for chunk in connection.execute(_chunks_of, {"id": upload_id})]


def end_assembly(
    tx: Transaction, session: AnyRow, content: NewContent, target: Target | None, lock: LockCheck
) -> None:
    """The hash of the whole is known: the chunks become a content, and the content is placed. Nothing, where
    the session was cancelled meanwhile."""
    now = tx.execute(_by_id, {"id": session.id}).one_or_none()
    if now is None or now.status not in (*RUNNING, "complete"):
        return
    tx.execute(delete(chunks).where(chunks.c.upload_id == session.id))
    kept = StoredContent(content.keep(tx), content.size, content.sha256)
    if target is None:
        set_status(tx, session.id, "complete", content_id=kept.id, size=kept.size)
        return
    savepoint = tx.connection.begin_nested()
    try:
        if tx.behaviour.upload_fails == "store":
            raise refused("the content cannot be placed", "injected")
        file_id = target.place(tx, session.name, kept, session.id, lock)
        set_status(tx, session.id, "stored", new_file_id=file_id, size=kept.size)
        savepoint.commit()
        release_contents(tx, [kept.id])
    except ApiError as error:
        savepoint.rollback()
        set_status(tx, session.id, "store_failed", error.text, content_id=kept.id)


def set_status(tx: Transaction, upload_id: str, status: str, message: str = "", **more: Any) -> None:
    """Move the session on, and tell those who wait for it."""
    values = {"status": status, "status_message": message, "updated_us": tx.now_us, **more}
    tx.execute(update(uploads).where(uploads.c.id == upload_id).values(values))
    tx.topics.add(topic_of(upload_id))
    if status not in (*OPEN, *RUNNING):
        tx.announce(USER_ENTITY, "upload", upload_id)


def topic_of(upload_id: str) -> str:
    """What a long poll on the session waits for."""
    return f"upload:{upload_id}"


def content_of_upload(connection: Connection, upload_id: str) -> StoredContent:
    """The content of a session that ended `complete`; 406 when it is in another state."""
    session = get_session(connection, upload_id)
    if session.status != "complete" or session.content_id is None:
        raise invalid_state(session)
    return stored_content(connection, session.content_id)


def delete_session(tx: Transaction, upload_id: str) -> None:
    """Cancel or clean up; bytes that no node has are gone with it."""
    session = get_session(tx.connection, upload_id)
    tx.orphans.extend(blob.name for blob in arrived_blobs(tx.connection, upload_id))
    tx.execute(delete(uploads).where(uploads.c.id == upload_id))
    if session.content_id is not None:
        release_contents(tx, [session.content_id])
    tx.topics.add(topic_of(upload_id))


def delete_sessions_of(tx: Transaction, workspace: Workspace) -> None:
    """Cancel or clean up every upload into the workspace, which is no more."""
    query = select(uploads.c.id).where(uploads.c.workspace_id == workspace.id)
    for upload_id in tx.execute(query).scalars().all():
        delete_session(tx, upload_id)


def is_cut_off() -> ColumnElement[bool]:
    """Sessions whose chunks are all there, and whose assembly has not come to its end."""
    # One that ended `complete` has its content; one on its way to a target has not.
    is_on_its_way = (uploads.c.status == "complete") & uploads.c.content_id.is_(None)
    return uploads.c.status.in_(("assembling", "storing")) | is_on_its_way


def delete_open_sessions(tx: Transaction, workspace_ids: Collection[str]) -> int:
    """Cancel every chunked or stream session that has not ended, of these workspaces or of none; how many
    there were."""
    query = select(uploads.c.id).where(_is_listed(workspace_ids), uploads.c.status.in_((*OPEN, "complete")))
    ids = tx.execute(query).scalars().all()
    for upload_id in ids:
        delete_session(tx, upload_id)
    return len(ids)


def listed_sessions(
    connection: Connection, workspace_ids: Collection[str], limit: int, offset: int
) -> JsonObject:
    """Chunked and stream sessions of these workspaces, or of none, newest first."""
    query = select(uploads).where(_is_listed(workspace_ids))
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = connection.execute(query.order_by(uploads.c.id.desc()).limit(limit).offset(offset)).all()
    more = offset + len(rows) < total
    return {
        "sessions": [session_json(connection, row) for row in rows],
        "pagination": {"total": total, "limit": limit, "offset": offset, "has_more": more},
    }


def _is_listed(workspace_ids: Collection[str]) -> ColumnElement[bool]:
    reached = uploads.c.workspace_id.is_(None) | uploads.c.workspace_id.in_(workspace_ids)
    return uploads.c.kind.in_(LISTED_KINDS) & reached


def sweep_sessions(tx: Transaction, before_us: int, stored_before_us: int) -> None:
    """Forget sessions that nobody has touched for long; those that ended `stored` sooner."""
    is_old = (uploads.c.updated_us < before_us) & uploads.c.status.not_in(RUNNING)
    is_stored = (uploads.c.updated_us < stored_before_us) & (uploads.c.status == "stored")
    for upload_id in tx.execute(select(uploads.c.id).where(is_old | is_stored)).scalars().all():
        delete_session(tx, upload_id)
