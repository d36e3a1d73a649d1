"""Leases on files: exclusive, in the database, free again when their time is over.

`expires_us` counts by the clock of locks, which goes on over a restart of the server: a step of the wall
clock frees no lock early, and keeps none for longer. The clock begins anew with a boot of the host: then each
lock gets its whole time again.
"""

import json
import secrets

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from mountfs.server import received_json
from mountfs.server.clock import SECOND_US, boot_id, lock_clock_us, now_us, wire_time
from mountfs.server.database import Transaction
from mountfs.server.envelope import ApiError, JsonObject, conflict, invalid_field, not_found
from mountfs.server.schema import AnyRow, locks, nodes, settings

MAX_SECONDS = 3600
DEFAULT_SECONDS = 300
_BOOT = "boot_of_locks"

_lock_columns = select(
    locks.c.node_id,
    locks.c.token,
    locks.c.user_id.label("lock_user_id"),
    locks.c.client_info.label("lock_client_info"),
    locks.c.duration_s.label("lock_duration_s"),
    locks.c.acquired_us.label("lock_acquired_us"),
    locks.c.expires_us.label("lock_expires_us"),
)
_live_lock = _lock_columns.where(locks.c.node_id == bindparam("node"), locks.c.expires_us > bindparam("now"))

_subtree = select(nodes.c.id).where(nodes.c.id == bindparam("node")).cte("locked_subtree", recursive=True)
_subtree = _subtree.union_all(
    select(nodes.c.id).where(nodes.c.parent_id == _subtree.c.id, nodes.c.trash_root.is_(None))
)
_locks_within = _lock_columns.where(
    locks.c.node_id.in_(select(_subtree.c.id)), locks.c.expires_us > bindparam("now")
)


def check_duration(seconds: int, least: int) -> int:
    """The duration itself; 406 outside the allowed range."""
    if not least <= seconds <= MAX_SECONDS:
        raise invalid_field("duration", f"{least} to {MAX_SECONDS} seconds")
    return seconds


def live_lock(connection: Connection, node_id: str) -> AnyRow | None:
    """The lock that is held on the node now."""
    return connection.execute(_live_lock, {"node": node_id, "now": lock_clock_us()}).one_or_none()


def lock_info(row: AnyRow) -> JsonObject:
    """Who holds the lock, without the token."""
    return {
        "user_id": row.lock_user_id,
        "client_info": json.loads(row.lock_client_info),
        "acquired": wire_time(row.lock_acquired_us),
        "expires": wire_time(now_us() + row.lock_expires_us - lock_clock_us()),
        "duration": row.lock_duration_s,
    }


def lock_json(row: AnyRow | None, with_token: bool) -> JsonObject:
    """The answer of the lock routes."""
    if row is None:
        return {"locked": False, "lock_info": None}
    body: JsonObject = {"locked": True, "lock_info": lock_info(row)}
    if with_token:
        body["lock_token"] = row.token
    return body


def acquire(tx: Transaction, node: AnyRow, user_id: str, duration_s: int, client_info: str) -> JsonObject:
    """Take the lock; 409 `locked` while anybody holds it, its own holder included."""
    if node.type != "file":
        raise invalid_field("node", "only files can be locked")
    held = live_lock(tx.connection, node.id)
    if held is not None and tx.behaviour.relock == "renewed" and held.lock_user_id == user_id:
        return renew(tx, node.id, held.token)
    if held is not None:
        raise _locked(held)
    values = {
        "workspace_id": node.workspace_id,
        "token": secrets.token_urlsafe(24),
        "user_id": user_id,
        "client_info": client_info,
        "duration_s": duration_s,
        "acquired_us": tx.now_us,
        "expires_us": lock_clock_us() + duration_s * SECOND_US,
    }
    statement = insert(locks).values(node_id=node.id, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["node_id"], set_=values))
    tx.announce(node.workspace_id, "storage", node.id)
    return lock_json(live_lock(tx.connection, node.id), with_token=True)


def renew(tx: Transaction, node_id: str, token: str) -> JsonObject:
    """Give the lock its full duration again; 404 `lock_not_held` when the token does not hold it any more."""
    held = _held_with(tx, node_id, token)
    whole = tx.behaviour.heartbeat == "whole"
    expires_us = lock_clock_us() + (held.lock_duration_s if whole else DEFAULT_SECONDS) * SECOND_US
    tx.execute(update(locks).where(locks.c.node_id == node_id).values(expires_us=expires_us))
    return lock_json(live_lock(tx.connection, node_id), with_token=True)


def release(tx: Transaction, workspace_id: str, node_id: str, token: str) -> JsonObject:
    """Give the lock back; 404 `lock_not_held` when the token does not hold it any more."""
    _held_with(tx, node_id, token)
    tx.execute(delete(locks).where(locks.c.node_id == node_id))
    tx.announce(workspace_id, "storage", node_id)
    return lock_json(None, with_token=False)


def end_by_change(tx: Transaction, node: AnyRow, change: str) -> None:
    """A new version, or a move, ends the lock where the behaviour says so."""
    if tx.behaviour.lock_end == change and node.lock_expires_us is not None:
        tx.execute(delete(locks).where(locks.c.node_id == node.id))
        tx.announce(node.workspace_id, "storage", node.id)


def override(tx: Transaction, workspace_id: str, node_id: str) -> JsonObject:
    """End the lock, whoever holds it: its token is refused from now on. No lock is no error."""
    if live_lock(tx.connection, node_id) is not None:
        tx.execute(delete(locks).where(locks.c.node_id == node_id))
        tx.announce(workspace_id, "storage", node_id, "workspace_storage_lock_overridden")
    return lock_json(None, with_token=False)


def check_not_locked(tx: Transaction, node_id: str, token: str | None) -> None:
    """409 `locked` when somebody holds the node, or something below it, and the token is not his."""
    for held in tx.execute(_locks_within, {"node": node_id, "now": lock_clock_us()}):
        if held.token != token:
            raise _locked(held)


def release_expired(tx: Transaction) -> None:
    """Remove and announce the locks whose time is over."""
    now = lock_clock_us()
    expired = tx.execute(select(locks.c.node_id, locks.c.workspace_id).where(locks.c.expires_us <= now)).all()
    for row in expired:
        tx.announce(row.workspace_id, "storage", row.node_id)
    tx.execute(delete(locks).where(locks.c.expires_us <= now))


def keep_over_boots(tx: Transaction) -> None:
    """Give each lock its whole time again where the host was booted since: how long ago, nothing tells."""
    if tx.execute(select(settings.c.value).where(settings.c.key == _BOOT)).scalar_one_or_none() == boot_id():
        return
    tx.execute(update(locks).values(expires_us=lock_clock_us() + locks.c.duration_s * SECOND_US))
    values = {"value": boot_id()}
    statement = insert(settings).values(key=_BOOT, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["key"], set_=values))


def next_expiry_us(connection: Connection) -> int | None:
    """When the first lock ends; None while there is none."""
    moment: int | None = connection.execute(select(func.min(locks.c.expires_us))).scalar_one()
    return moment


def check_client_info(text: str) -> str:
    """The JSON text itself (an empty object when there is none); 406 when it is not an object."""
    try:
        value = received_json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict) or len(text) > 4096:
        raise invalid_field("client_info", "a JSON object of at most 4096 characters is expected")
    return json.dumps(value)


def _held_with(tx: Transaction, node_id: str, token: str) -> AnyRow:
    held = live_lock(tx.connection, node_id)
    if held is None or not secrets.compare_digest(held.token.encode(), token.encode("utf-8", "replace")):
        text = "the lock is not held with this token"
        if tx.behaviour.dead_token == 409:
            raise conflict(text, "lock_not_held")
        raise not_found(text, reason="lock_not_held")
    return held


def _locked(held: AnyRow) -> ApiError:
    return conflict("the file is locked", "locked", lock_info=lock_info(held))
