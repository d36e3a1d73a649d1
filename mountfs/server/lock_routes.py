"""Routes of locks."""

from collections.abc import Callable

from sqlalchemy import Connection
from starlette.responses import Response

from mountfs.server import locks
from mountfs.server.clock import SECOND_US, lock_clock_us
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call, is_true, whole_number
from mountfs.server.envelope import ApiError, JsonObject
from mountfs.server.nodes import get_live_node, get_node
from mountfs.server.workspaces import Workspace


async def acquire(call: Call) -> Response:
    """`POST S/{node}/lock/`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    fields = await call.fields()
    duration_s = locks.check_duration(
        whole_number(fields, "duration", locks.DEFAULT_SECONDS), call.services.options.min_lock_seconds
    )
    client_info = locks.check_client_info(fields.get("client_info", ""))
    user_id = call.principal.user_id

    def take(tx: Transaction) -> JsonObject:
        return locks.acquire(
            tx, get_live_node(tx.connection, workspace, node_id), user_id, duration_s, client_info
        )

    return await _write_lock(call, take, duration_s)


async def status(call: Call) -> Response:
    """`GET S/{node}/lock/`."""
    workspace, node_id = call.workspace(write=False), call.node_id()

    def look(connection: Connection) -> JsonObject:
        get_node(connection, workspace, node_id)
        return locks.lock_json(locks.live_lock(connection, node_id), with_token=False)

    return await call.read(look)


async def heartbeat(call: Call) -> Response:
    """`POST S/{node}/lock/heartbeat/`."""
    workspace, node_id = call.workspace(write=True), call.node_id()
    token = _needed((await call.fields()).get("lock_token", ""))

    def renew(tx: Transaction) -> JsonObject:
        get_node(tx.connection, workspace, node_id)
        return locks.renew(tx, node_id, token)

    return await _write_lock(call, renew, locks.DEFAULT_SECONDS)


async def release(call: Call) -> Response:
    """`DELETE S/{node}/lock/?lock_token=...`: the body is not read, but in the older generation.

    With `override=true` instead of the token an administrator ends the lock of whoever holds it.
    """
    workspace, node_id = call.workspace(write=True), call.node_id()
    behaviour = call.services.options.behaviour
    if is_true(call.query, "override") and behaviour.lock_override:
        return await _override(call, workspace, node_id)
    told = call.query.get("lock_token", "")
    if behaviour.release_token == "anywhere":  # noqa: S105 - where the token is, not the token
        told = told or (await call.fields()).get("lock_token", "")
    token = _needed(told)

    def give_back(tx: Transaction) -> JsonObject:
        get_node(tx.connection, workspace, node_id)
        return locks.release(tx, workspace.id, node_id, token)

    return await call.write(give_back)


async def _override(call: Call, workspace: Workspace, node_id: str) -> Response:
    call.principal.check_admin(workspace.id)

    def end(tx: Transaction) -> JsonObject:
        get_node(tx.connection, workspace, node_id)
        return locks.override(tx, workspace.id, node_id)

    return await call.write(end)


async def _write_lock(call: Call, write: Callable[[Transaction], JsonObject], duration_s: int) -> Response:
    """Do what makes a lock last for this long, if not longer."""
    ends_us = lock_clock_us() + duration_s * SECOND_US
    response = await call.write(write)
    call.services.lock_expiry.may_come_at(ends_us)
    return response


def _needed(token: str) -> str:
    if not token:
        raise ApiError(406, 205516, "lock_token is missing")
    return token
