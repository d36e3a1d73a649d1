"""Routes of the account: health, credentials, organisations, workspaces."""

from typing import Any

from sqlalchemy import Connection, delete, insert, select
from starlette.responses import Response

from mountfs.server import credentials, opaque_ids
from mountfs.server.clock import now_us, parse_wire_time, wire_time
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call, answer
from mountfs.server.envelope import ApiError, JsonObject, invalid_field, not_found
from mountfs.server.schema import api_keys, workspaces
from mountfs.server.workspaces import Workspace, check_folder_name, org_json, workspace_json


async def ping(call: Call) -> Response:
    """`GET /ping/`: the server answers; no credential is needed."""
    del call
    return answer({"pong": True})


async def system_status(call: Call) -> Response:
    """`GET /system/status/`: no credential is needed."""
    del call
    return answer({"status": "ok", "server_date": wire_time(now_us())})


async def check_auth(call: Call) -> Response:
    """`GET /user/auth/check/`."""
    return answer({"id": call.principal.user_id})


async def scopes(call: Call) -> Response:
    """`GET /auth/scopes/`: what the credential may do."""
    principal = call.principal
    detail = [
        {"entity_type": scope.entity_type, "entity_id": scope.entity_id, "mode": scope.mode}
        for scope in principal.scopes
    ]
    return answer(
        {
            "auth_type": principal.auth_type,
            "scopes": [str(scope) for scope in principal.scopes],
            "scopes_detail": detail,
            "full_access": any(
                scope.entity_type == "user" and scope.mode != "r" for scope in principal.scopes
            ),
            "admin": any(scope.mode == "rwa" for scope in principal.scopes),
            "legacy": False,
        }
    )


async def me(call: Call) -> Response:
    """`GET /user/me/details/`."""
    user = {
        "id": call.principal.user_id,
        "email_address": "owner@localhost",
        "first_name": "Workspace",
        "last_name": "Owner",
    }
    return answer({"user": user})


async def create_key(call: Call) -> Response:
    """`POST /user/auth/key/`: an API key, shown once."""
    call.principal.check_write(None)
    fields = await call.fields()
    granted = credentials.parse_scopes(fields.get("scopes", ""))
    call.principal.check_issue(granted)
    expires_us = _read_expiry(fields.get("expires", ""))
    secret = credentials.new_api_key()
    row: JsonObject = {
        "id": opaque_ids.new_id(opaque_ids.GENERAL),
        "digest": credentials.digest_of(secret),
        "memo": fields.get("memo", ""),
        "agent_name": fields.get("agent_name", ""),
        "scopes": credentials.scopes_text(granted),
        "created_us": now_us(),
        "expires_us": expires_us,
    }
    await call.services.database.write(lambda tx: _insert_key(tx, row))
    call.services.credentials.add_key(row["digest"], granted, expires_us)
    return answer({"api_key": secret, "id": opaque_ids.shown(row["id"])})


def _insert_key(tx: Transaction, row: dict[str, Any]) -> None:
    tx.execute(insert(api_keys), row)


def _read_expiry(text: str) -> int | None:
    if not text:
        return None
    moment = parse_wire_time(text)
    if moment is None:
        raise invalid_field("expires", "YYYY-MM-DD hh:mm:ss UTC is expected")
    return moment


async def list_keys(call: Call) -> Response:
    """`GET /user/auth/keys/`: those that are allowed no more than the caller, without the secrets."""
    principal = call.principal

    def look(connection: Connection) -> JsonObject:
        rows = connection.execute(select(api_keys).order_by(api_keys.c.id))
        keys = [_key_json(row) for row in rows if principal.reaches(credentials.parse_scopes(row.scopes))]
        return {"results": len(keys), "api_keys": keys}

    return await call.read(look)


async def delete_key(call: Call) -> Response:
    """`DELETE /user/auth/key/{id}/`: the key is refused from now on."""
    principal = call.principal
    principal.check_write(None)
    key_id = opaque_ids.canonical(call.path("key"))

    def remove(tx: Transaction) -> str:
        row = tx.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
        if row is None:
            raise not_found("no such API key")
        principal.check_end(credentials.parse_scopes(row.scopes))
        tx.execute(delete(api_keys).where(api_keys.c.id == key_id))
        return str(row.digest)

    call.services.credentials.remove_key(await call.services.database.write(remove))
    return answer({})


def _key_json(row: Any) -> JsonObject:
    return {
        "id": opaque_ids.shown(row.id),
        "memo": row.memo,
        "agent_name": row.agent_name,
        "scopes": [str(scope) for scope in credentials.parse_scopes(row.scopes)],
        "created": wire_time(row.created_us),
        "expires": wire_time(row.expires_us) if row.expires_us is not None else None,
    }


async def list_orgs(call: Call) -> Response:
    """`GET /orgs/list/` and `/orgs/all/`: the one organisation."""
    _ = call.principal
    return answer({"orgs": [org_json(call.services.org_id)], "pagination": _one_page(1)})


async def list_external_orgs(call: Call) -> Response:
    """`GET /orgs/list/external/`: there are none."""
    _ = call.principal
    return answer({"orgs": [], "pagination": _one_page(0)})


async def org_details(call: Call) -> Response:
    """`GET /org/{org}/details/`."""
    call.check_org()
    return answer({"org": org_json(call.services.org_id)})


async def list_workspaces(call: Call) -> Response:
    """`GET /workspaces/all/`: those that the credential reaches."""
    return answer(_workspaces_json(call))


async def list_org_workspaces(call: Call) -> Response:
    """`GET /org/{org}/list/workspaces/`."""
    call.check_org()
    return answer(_workspaces_json(call))


def _workspaces_json(call: Call) -> JsonObject:
    reachable = call.reachable_workspaces() if call.services.options.behaviour.member else []
    rows = [workspace_json(workspace, call.services.org_id) for workspace in reachable]
    return {"workspaces": rows, "pagination": _one_page(len(rows))}


def _one_page(total: int) -> JsonObject:
    return {"total": total, "limit": max(total, 100), "offset": 0, "has_more": False}


async def workspace_details(call: Call) -> Response:
    """`GET /workspace/{workspace}/details/`."""
    return answer({"workspace": workspace_json(call.workspace(write=False), call.services.org_id)})


async def create_workspace(call: Call) -> Response:
    """`POST /org/{org}/create/workspace/`: for those whose scope has the organisation."""
    call.check_org()
    call.principal.check_org_write()
    fields = await call.fields()
    folder_name = check_folder_name(fields.get("folder_name", ""))
    name = fields.get("name") or folder_name
    if not 2 <= len(name) <= 100:
        raise invalid_field("name", "2 to 100 characters")
    workspace = new_workspace(folder_name, name, fields.get("description", ""))
    known = call.services.workspaces

    def create(tx: Transaction) -> None:
        taken = select(workspaces.c.id).where(workspaces.c.folder_name == folder_name)
        if tx.execute(taken).first() is not None:
            raise ApiError(406, 10023, "folder_name: is taken", {"reason": "name_taken"})
        insert_workspace(tx, workspace)

    await call.services.database.write(create)
    known.add(workspace)
    return answer({"workspace": workspace_json(workspace, call.services.org_id)})


def new_workspace(folder_name: str, name: str, description: str) -> Workspace:
    """A workspace that is in no database yet."""
    return Workspace(opaque_ids.new_profile_id(), folder_name, name, description, now_us())


def insert_workspace(tx: Transaction, workspace: Workspace) -> None:
    """Record a new workspace."""
    tx.execute(
        insert(workspaces),
        {
            "id": workspace.id,
            "folder_name": workspace.folder_name,
            "name": workspace.name,
            "description": workspace.description,
            "created_us": workspace.created_us,
        },
    )
