"""Routes of uploads: single call, chunked sessions, streams."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from starlette.responses import Response

from mountfs.server import opaque_ids, options, uploads
from mountfs.server.blobs import HASH_ALGORITHMS, Blob, BlobStore
from mountfs.server.contents import NewContent
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call, Services, answer, whole_number
from mountfs.server.envelope import ApiError, JsonObject, invalid_field, not_found
from mountfs.server.multipart import FileRules, ReceivedBody, too_large
from mountfs.server.placing import LockCheck
from mountfs.server.schema import AnyRow
from mountfs.server.upload_fields import read_spec, read_upload_id, wants_stream
from mountfs.server.uploads import Target, UploadSpec

MAX_DETAILS_WAIT_S = 590
_AT_ONCE_BYTES = (
    32 * options.MEBIBYTE
)  # hashing this much takes less time than one more question of the client

_SINGLE = FileRules(
    lambda name: name == "chunk", options.SINGLE_CALL_BYTES, options.SINGLE_CALL_BYTES, with_sha256=True
)
_CHUNK = FileRules(
    lambda name: name == "chunk", options.MAX_CHUNK_BYTES, options.MAX_CHUNK_BYTES, with_sha256=False
)


async def create_upload(call: Call) -> Response:
    """`POST /upload/`: with a `chunk` part the whole upload in one call, without one a new session."""
    call.principal.check_write(None)
    if not call.is_multipart:
        return await _create_session(call, await call.fields())
    body = await call.multipart(_SINGLE)
    if "chunk" not in body.files:
        return await _create_session(call, body.fields)
    try:
        return await _single_call(call, body)
    except Exception:
        await body.discard(call.services.blobs)
        raise


async def _create_session(call: Call, fields: dict[str, str]) -> Response:
    spec = read_spec(call, fields, "stream" if wants_stream(fields) else "chunked")

    def create(tx: Transaction) -> JsonObject:
        if spec.target is not None:
            spec.target.check(tx.connection)
        upload_id = uploads.insert_session(tx, spec)
        session = uploads.session_json(tx.connection, uploads.get_session(tx.connection, upload_id))
        return {"id": session["id"], "session": session}

    return await call.write(create)


async def _single_call(call: Call, body: ReceivedBody) -> Response:
    services, blob = call.services, body.files["chunk"]
    spec = read_spec(call, body.fields, "single")
    if spec.size != blob.size:
        raise uploads.wrong_size(spec.size, blob.size)
    await check_blob_hash(services.blobs, blob, spec.hash, spec.hash_algo)
    content = NewContent([blob], blob.size, blob.sha256)
    lock = LockCheck(spec.lock_token)
    if services.options.behaviour.single_call == "later":
        return await _assemble_later(services, spec, blob)
    return await call.write(lambda tx: uploads.store_at_once(tx, spec, content, lock))


async def _assemble_later(services: Services, spec: UploadSpec, blob: Blob) -> Response:
    """The answer names the session only; what becomes of it is asked for."""

    def receive(tx: Transaction) -> AnyRow:
        if spec.target is not None:
            spec.target.check(tx.connection)
        return uploads.get_session(tx.connection, uploads.receive_at_once(tx, spec, blob))

    session = await services.database.write(receive)
    services.background(assemble(services, session))
    return answer({"id": opaque_ids.shown(session.id), "new_file_id": None})


async def check_blob_hash(blobs: BlobStore, blob: Blob, expected: str | None, algorithm: str | None) -> None:
    """406 unless the blob has the declared hash (None: nothing was declared)."""
    if expected is None or algorithm is None:
        return
    known = blob.sha256 if algorithm == "sha256" else ""
    if (known or await blobs.digest([blob.name], algorithm)) != expected:
        raise uploads.wrong_hash()


async def put_chunk(call: Call) -> Response:
    """`POST /upload/{id}/chunk/`: `order`, `size` and the hash come in the query or the form."""
    session = await _find(call, write=True)
    uploads.check_open(session, "chunked")
    body = await call.multipart(_CHUNK)
    try:
        if "chunk" not in body.files:
            raise invalid_field("chunk", "the file part is required", kind="missing")
        blob, fields = body.files["chunk"], {**body.fields, **call.query}
        if blob.size > call.services.options.behaviour.chunk_mib * options.MEBIBYTE:
            raise too_large("the chunk is larger than chunk_size")
        order = _read_order(fields)
        if whole_number(fields, "size", blob.size) != blob.size:
            raise uploads.wrong_size(whole_number(fields, "size"), blob.size)
        expected = uploads.check_hash_fields(fields.get("hash", ""), fields.get("hash_algo", ""))
        await check_blob_hash(call.services.blobs, blob, *expected)
        return await call.write(lambda tx: uploads.add_chunk(tx, session.id, order, blob))
    except Exception:
        await body.discard(call.services.blobs)
        raise


def _read_order(fields: dict[str, str]) -> int:
    order = whole_number(fields, "order")
    if not 1 <= order <= options.MAX_CHUNKS:
        raise invalid_field("order", f"1 to {options.MAX_CHUNKS}")
    return order


async def chunk_status(call: Call) -> Response:
    """`GET /upload/{id}/chunk/`: which chunks have arrived."""
    await _find(call, write=False)
    session = await _session(call)
    return answer({"id": session["id"], "status": session["status"], "chunks": session["chunks"]})


async def delete_chunk(call: Call) -> Response:
    """`DELETE /upload/{id}/chunk/?order=N`."""
    upload_id = (await _find(call, write=True)).id
    order = _read_order(dict(call.query))

    def forget(tx: Transaction) -> JsonObject:
        uploads.get_open_session(tx.connection, upload_id, "chunked")
        if not uploads.delete_chunk(tx, upload_id, order):
            raise not_found("no such chunk")
        return {}

    return await call.write(forget)


async def complete(call: Call) -> Response:
    """`POST /upload/{id}/complete/`: small files are stored on return, large ones are still `assembling`."""
    services, upload_id = call.services, (await _find(call, write=True)).id
    await services.database.write(lambda tx: uploads.begin_assembly(tx, upload_id))
    session = await services.database.read(lambda connection: uploads.get_session(connection, upload_id))
    if session.status == "assembling":
        assembly = services.background(assemble(services, session))
        if session.size <= _AT_ONCE_BYTES and not services.options.behaviour.upload_state_s:
            await asyncio.shield(assembly)
    elif session.status_message.startswith("10522"):
        raise uploads.wrong_size(session.size, sum((await _session(call))["chunks"].values()))
    return answer({"session": await _session(call)})


async def assemble(services: Services, session: AnyRow) -> None:
    """Hash the whole and place it. Nothing is copied: the chunks are the content's segments."""
    database = services.database
    blobs = await database.read(lambda connection: uploads.arrived_blobs(connection, session.id))
    names = [blob.name for blob in blobs]
    behaviour = services.options.behaviour
    await asyncio.sleep(behaviour.upload_state_s)
    try:
        if behaviour.upload_fails == "assembly":
            raise uploads.wrong_hash()
        if session.hash is not None and await services.blobs.digest(names, session.hash_algo) != session.hash:
            raise uploads.wrong_hash()
        sha256 = (
            session.hash if session.hash_algo == "sha256" else await services.blobs.digest(names, "sha256")
        )
    except (ApiError, OSError) as error:
        message = (
            error.text if isinstance(error, ApiError) else f"the chunks cannot be read: {error.strerror}"
        )
        await database.write(lambda tx: uploads.set_status(tx, session.id, "assembly_failed", message))
        return
    content = NewContent(blobs, sum(blob.size for blob in blobs), sha256)
    try:
        target = _target_of(services, session)
    except ApiError:
        return  # the workspace is gone, and the session with it
    lock = LockCheck(session.lock_token)
    if target is not None and behaviour.upload_state_s:
        for status in ("complete", "storing"):
            await database.write(partial(uploads.set_status, upload_id=session.id, status=status))
            await asyncio.sleep(behaviour.upload_state_s)
    await database.write(lambda tx: uploads.end_assembly(tx, session, content, target, lock))


def _target_of(services: Services, session: AnyRow) -> Target | None:
    if session.workspace_id is None:
        return None
    workspace = services.workspaces.find(session.workspace_id)
    return Target(workspace, session.action, session.folder_id, session.file_id)


async def put_stream(call: Call) -> Response:
    """`POST /upload/{id}/stream/`: the raw body is the file; the session ends by itself."""
    services, session = call.services, await _find(call, write=True)
    uploads.check_open(session, "stream")
    limit = session.max_size if session.max_size is not None else options.MAX_FILE_BYTES
    expected = uploads.check_hash_fields(call.query.get("hash", ""), call.query.get("hash_algo", ""))
    blob = await _receive(call.body(), services.blobs, limit)
    try:
        await check_blob_hash(services.blobs, blob, *expected)
        target = _target_of(services, session)
        lock = LockCheck(session.lock_token)
        content = NewContent([blob], blob.size, blob.sha256)

        def store(tx: Transaction) -> None:
            uploads.get_open_session(tx.connection, session.id, "stream")
            uploads.set_status(tx, session.id, "assembling")
            uploads.end_assembly(tx, session, content, target, lock)

        await services.database.write(store)
    except Exception:
        await services.blobs.delete([blob.name])
        raise
    return answer({"session": await _session(call)})


async def _receive(body: AsyncIterator[bytes], blobs: BlobStore, limit: int) -> Blob:
    writer = blobs.new_writer(with_sha256=True)
    try:
        async for piece in body:
            if writer.size + len(piece) > limit:
                raise too_large(f"the stream is longer than {limit} bytes")
            if writer.gather(piece):
                await writer.flush()
        return await writer.finish()
    except Exception:
        await writer.abandon()
        raise


async def upload_details(call: Call) -> Response:
    """`GET /upload/{id}/details/?wait=S`: answers early when the state changes."""
    upload_id = (await _find(call, write=False)).id
    wait_s = min(whole_number(call.query, "wait", 0), MAX_DETAILS_WAIT_S)
    before = await _session(call)
    if before["status"] not in (*uploads.OPEN, *uploads.RUNNING):
        wait_s = 0
    session = before
    if wait_s:
        session = await call.services.wake_ups.look_until(
            uploads.topic_of(upload_id), wait_s, lambda: _session(call), lambda seen: seen != before
        )
    return answer({"session": session})


async def _find(call: Call, write: bool) -> AnyRow:
    """The session in the path, after checking that the caller may see (and use) it."""
    principal = call.principal
    if write:
        principal.check_write(None)
    upload_id = read_upload_id(call.path("upload"))
    session = await call.services.database.read(lambda connection: uploads.get_session(connection, upload_id))
    if session.workspace_id is not None:
        call.workspace_called(session.workspace_id, write)
    return session


async def _session(call: Call) -> JsonObject:
    upload_id = read_upload_id(call.path("upload"))
    return await call.services.database.read(
        lambda connection: uploads.session_json(connection, uploads.get_session(connection, upload_id))
    )


async def list_uploads(call: Call) -> Response:
    """`GET /upload/details/`: own sessions, newest first."""
    ids = [each.id for each in call.reachable_workspaces()]
    limit = min(max(whole_number(call.query, "limit", 500), 1), 500)
    offset = whole_number(call.query, "offset", 0)
    return await call.read(lambda connection: uploads.listed_sessions(connection, ids, limit, offset))


async def delete_upload(call: Call) -> Response:
    """`DELETE /upload/{id}/`: cancel or clean up."""
    upload_id = (await _find(call, write=True)).id
    await call.services.database.write(lambda tx: uploads.delete_session(tx, upload_id))
    return answer({})


async def delete_uploads(call: Call) -> Response:
    """`DELETE /upload/`: cancel every session that has not ended and that the credential reaches."""
    call.principal.check_write(None)
    ids = [each.id for each in call.reachable_workspaces()]
    return await call.write(lambda tx: {"count": uploads.delete_open_sessions(tx, ids)})


async def limits(call: Call) -> Response:
    """`GET /upload/limits/`."""
    _ = call.principal
    values = {
        "chunk_size": call.services.options.behaviour.chunk_mib * options.MEBIBYTE,
        "size": options.MAX_FILE_BYTES,
        "chunks": options.MAX_CHUNKS,
        "sessions": options.MAX_SESSIONS,
        "sessions_size_max": options.MAX_SESSIONS * options.MAX_FILE_BYTES,
    }
    return answer({**values, "limits": values})


async def extensions(call: Call) -> Response:
    """`GET /upload/limits/extensions/`."""
    _ = call.principal
    restricted = list(call.services.options.restricted_extensions)
    body: JsonObject = {
        "restricted_extensions": restricted,
        "archive_extensions": ["zip", "tar", "gz", "7z", "rar"],
    }
    return answer({**body, "enforcement_enabled": bool(restricted), "plan": "local", "cache_ttl": 3600})


async def algorithms(call: Call) -> Response:
    """`GET /upload/algos/`."""
    _ = call.principal
    return answer({"algos": list(HASH_ALGORITHMS)})
