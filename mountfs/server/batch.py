"""`POST /upload/batch/`: many small files in one request, each of which may fail on its own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from starlette.responses import Response

from mountfs.server import opaque_ids, options, received_json, uploads
from mountfs.server.blobs import Blob
from mountfs.server.clock import SECOND_US, now_us
from mountfs.server.contents import NewContent
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call
from mountfs.server.envelope import ApiError, JsonObject, invalid_field, not_found
from mountfs.server.multipart import FileRules, ReceivedBody
from mountfs.server.names import NAME_KEYS, check_extension, check_name, check_relative_path, cut_name
from mountfs.server.nodes import taken_keys
from mountfs.server.opaque_ids import GENERAL, new_id, shown
from mountfs.server.placing import LockCheck, create_folder, has_limited_room
from mountfs.server.schema import batches
from mountfs.server.upload_fields import check_empty, read_target
from mountfs.server.upload_routes import check_blob_hash
from mountfs.server.uploads import Target, UploadSpec

KEPT_S = 3600

_FILES = FileRules(
    lambda name: name.startswith("file_"), options.SINGLE_CALL_BYTES, options.BATCH_BYTES, with_sha256=True
)


@dataclass(frozen=True)
class _Row:
    """One row of the manifest with the bytes that came for it."""

    index: int
    filename: str
    folders: list[str]
    blob: Blob

    @property
    def content(self) -> NewContent:
        return NewContent([self.blob], self.blob.size, self.blob.sha256)


async def upload_batch(call: Call) -> Response:
    """All files of the manifest; HTTP 200 even when each of them failed."""
    call.principal.check_write(None)
    body = await call.multipart(_FILES)
    try:
        target = read_target(call, body.fields)
        if target is None or target.action != "create":
            raise invalid_field("instance_id", "is required", kind="missing")
        rows = [await _prepare(call, given, body) for given in _read_manifest(body)]
        lock = LockCheck(body.fields.get("lock_token"))
        return await call.write(lambda tx: _store_all(tx, target, rows, lock, body))
    except Exception:
        await body.discard(call.services.blobs)
        raise


async def batch_status(call: Call) -> Response:
    """`GET /upload/batch/{id}/`: the answer that was given, for an hour."""
    _ = call.principal
    batch_id = opaque_ids.canonical(call.path("batch"))

    def look(connection: Connection) -> JsonObject:
        fresh = batches.c.created_us > now_us() - KEPT_S * SECOND_US
        text = connection.execute(
            select(batches.c.answer).where(batches.c.id == batch_id, fresh)
        ).scalar_one_or_none()
        if text is None:
            raise not_found("no such batch")
        answered: JsonObject = json.loads(text)
        return answered

    return await call.read(look)


def _read_manifest(body: ReceivedBody) -> list[dict[str, Any]]:
    try:
        manifest = received_json.loads(body.fields.get("manifest", ""))
    except ValueError as error:
        raise invalid_field("manifest", "not valid JSON") from error
    if not isinstance(manifest, list) or not all(
        isinstance(row, dict) and isinstance(row.get("index"), int) for row in manifest
    ):
        raise invalid_field("manifest", "an array of objects, each with an index, is expected")
    if not 1 <= len(manifest) <= options.BATCH_FILES:
        raise invalid_field("manifest", f"1 to {options.BATCH_FILES} files")
    if len({row["index"] for row in manifest}) != len(manifest):
        raise invalid_field("manifest", "an index occurs twice")
    return manifest


async def _prepare(call: Call, given: dict[str, Any], body: ReceivedBody) -> "_Row | JsonObject":
    """The row, checked as far as possible without the tree, or the error to answer in its place."""
    index, name = given["index"], str(given.get("filename", ""))
    try:
        blob = body.files.get(f"file_{index}")
        if blob is None:
            raise invalid_field(f"file_{index}", "the file part is missing", kind="missing")
        folders = check_relative_path(str(given.get("relative_path") or ""))
        expected = uploads.check_hash_fields(str(given.get("hash") or ""), str(given.get("hash_algo") or ""))
        await check_blob_hash(call.services.blobs, blob, *expected)
        check_empty(blob.size, "batch", call.services.options.behaviour)
        check_extension(check_name(name, "filename"), call.services.options.restricted_extensions, "filename")
        return _Row(index, name, folders, blob)
    except ApiError as error:
        return _failed(index, name, error)


def _store_all(
    tx: Transaction, target: Target, rows: "list[_Row | JsonObject]", lock: LockCheck, body: ReceivedBody
) -> JsonObject:
    target.check(tx.connection)
    stored = _store_new(tx, target, [row for row in rows if isinstance(row, _Row)])
    results = [
        row if isinstance(row, dict) else stored.get(row.index) or _store_one(tx, target, row, lock)
        for row in rows
    ]
    succeeded = {f"file_{row['index']}" for row in results if row["status"] == "ok"}
    tx.orphans.extend(blob.name for part, blob in body.files.items() if part not in succeeded)
    batch_id = new_id(GENERAL)
    answered: JsonObject = {
        "batch_id": shown(batch_id),
        "count_total": len(results),
        "count_succeeded": len(succeeded),
        "count_errored": len(results) - len(succeeded),
        "results": results,
    }
    row = {"id": batch_id, "answer": json.dumps(answered), "created_us": tx.now_us}
    tx.execute(insert(batches), row)
    return answered


def _store_new(tx: Transaction, target: Target, rows: Sequence[_Row]) -> dict[int, JsonObject]:
    """Store together, with one statement for each table, what is a new file for sure; the results by index.

    The others are left to `_store_one`: what meets a node of its name, or brings folders, whose making could
    meet a file of another row.
    """
    if has_limited_room(tx) or any(row.folders for row in rows):
        return {}
    key_of = NAME_KEYS[tx.behaviour.names]
    named: dict[str, _Row] = {}
    for row in rows:
        named.setdefault(key_of(cut_name(row.filename, tx.behaviour.name_cut)), row)
    if not named:
        return {}
    taken = taken_keys(tx, target.workspace, target.folder_id, list(named))
    new = [row for key, row in named.items() if key not in taken]
    if not new:
        return {}
    specs = [_spec(row, target) for row in new]
    stored = uploads.store_new_files(tx, target, specs, [row.content for row in new])
    return {row.index: _stored(row, told) for row, told in zip(new, stored, strict=True)}


def _spec(row: _Row, target: Target) -> UploadSpec:
    return UploadSpec(
        kind="batch",
        name=row.filename,
        size=row.blob.size,
        max_size=None,
        hash=None,
        hash_algo=None,
        target=target,
        lock_token=None,
    )


def _store_one(tx: Transaction, target: Target, row: _Row, lock: LockCheck) -> JsonObject:
    savepoint = tx.connection.begin_nested()
    kept = len(tx.announcements)
    try:
        folder_id = target.folder_id
        for name in row.folders:
            folder_id = str(create_folder(tx, target.workspace, folder_id, name, force=False).id)
        spec = _spec(row, Target(target.workspace, "create", folder_id, ""))
        stored = uploads.store_at_once(tx, spec, row.content, lock)
    except ApiError as error:
        savepoint.rollback()
        del tx.announcements[kept:]
        return _failed(row.index, row.filename, error)
    savepoint.commit()
    return _stored(row, stored)


def _stored(row: _Row, told: JsonObject) -> JsonObject:
    return {
        "index": row.index,
        "filename": row.filename,
        "status": "ok",
        "upload_id": told["id"],
        "node_id": told["new_file_id"],
        "error_code": None,
        "error_message": None,
    }


def _failed(index: int, filename: str, error: ApiError) -> JsonObject:
    return {
        "index": index,
        "filename": filename,
        "status": "error",
        "upload_id": None,
        "node_id": None,
        "error_code": error.code,
        "error_message": error.text,
    }


def sweep_batches(tx: Transaction) -> None:
    """Forget answers that are not given any more."""
    tx.execute(delete(batches).where(batches.c.created_us <= tx.now_us - KEPT_S * SECOND_US))
