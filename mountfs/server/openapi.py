"""The description of the routes by the OpenAPI standard, made of the route table and of what is told here of
fields.

What a field may be is told as it is checked; whoever sends something else gets a refusal, never a 500.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.responses import Response

from mountfs.server.endpoint import BASE_PATH, JSON, Call, Handler
from mountfs.server.envelope import API_VERSION

Schema = dict[str, Any]
Routes = Iterable[tuple[str, Mapping[str, Handler]]]

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_YES_OR_NO: Final[Schema] = {"type": "string", "enum": ["true", "false"]}
_BYTES: Final[Schema] = {"type": "string", "format": "binary"}
_ID: Final[Schema] = {"type": "string", "pattern": r"^[0-9A-Za-z-]{4,40}$"}
_LEVEL: Final[Schema] = {"type": "string", "enum": ["terse", "standard", "full"]}
_JSON_TEXT: Final[Schema] = {"type": "string", "format": "json"}

_PAGE: Final[dict[str, Schema]] = {
    "page_size": {"type": "integer", "enum": [100, 250, 500]},
    "cursor": _TEXT,
}
_OFFSET: Final[dict[str, Schema]] = {"limit": _NUMBER, "offset": _NUMBER}
_SORT: Final[dict[str, Schema]] = {
    "sort_by": {"type": "string", "enum": ["name", "updated", "created", "type"]},
    "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
}
_HASH: Final[dict[str, Schema]] = {"hash": _TEXT, "hash_algo": _TEXT}
_UPLOAD: Final[dict[str, Schema]] = {
    "name": _TEXT,
    "size": _NUMBER,
    "action": {"type": "string", "enum": ["create", "update"]},
    "instance_id": _TEXT,
    "folder_id": _ID,
    "file_id": _ID,
    "profile_type": _TEXT,
    "stream": _YES_OR_NO,
    "max_size": _NUMBER,
    "lock_token": _TEXT,
    **_HASH,
}

_AUTHORIZATION: Final = (
    *("client_id", "response_type", "code_challenge", "code_challenge_method", "state", "redirect_uri"),
    *("response_format", "scope", "scope_type", "access_mode"),
)

QUERIES: Final[Mapping[str, Mapping[str, Schema]]] = {
    "storage_routes.details": {"output": _LEVEL},
    "storage_routes.list_folder": {"output": _LEVEL, **_PAGE, **_SORT},
    "storage_routes.inventory": {**_PAGE, "type": _TEXT, "include": _TEXT},
    "storage_routes.recent": {**_PAGE, "type": _TEXT, "output": _LEVEL},
    "reading.read": {"version_id": _ID, "token": _TEXT},
    "reading.request_read": {"version_id": _ID},
    "upload_routes.put_chunk": {"order": _NUMBER, "size": _NUMBER, **_HASH},
    "upload_routes.put_stream": _HASH,
    "upload_routes.delete_chunk": {"order": _NUMBER},
    "upload_routes.upload_details": {"wait": {"type": "integer", "minimum": 0, "maximum": 1}},
    "upload_routes.list_uploads": _OFFSET,
    "change_routes.poll": {
        "lastactivity": _TEXT,
        "wait": {"type": "integer", "minimum": 0, "maximum": 1},
        "updated": _NUMBER,
    },
    "change_routes.org_changes": {"cursor": _TEXT, "limit": _NUMBER},
    "lock_routes.release": {"lock_token": _TEXT, "override": _YES_OR_NO},
    "storage_routes.delete": {"lock_token": _TEXT},
    "workspace_routes.delete_workspace": {"confirm": _TEXT},
    "search_routes.search_nodes": {
        "search": _TEXT,
        "search_in": {"type": "string", "enum": ["filename", "content", "both"]},
        "name_match": {"type": "string", "enum": ["auto", "exact", "prefix", "contains", "glob"]},
        "case_sensitive": _YES_OR_NO,
        "details": _YES_OR_NO,
        **_OFFSET,
    },
    "event_routes.search": {
        **dict.fromkeys(("workspace_id", "org_id", "user_id", "event", "object_id", "cursor"), _TEXT),
        "created-min": _TEXT,
        "created-max": _TEXT,
        **_OFFSET,
    },
    "oauth_routes.authorize": dict.fromkeys(_AUTHORIZATION, _TEXT),
    "oauth_routes.consent_page": {"auth_request_id": _ID},
}
"""Fields of the query, by the module and name of the handler."""

FORMS: Final[Mapping[str, Mapping[str, Schema]]] = {
    "storage_routes.create_folder": {"name": _TEXT, "force": _YES_OR_NO},
    "storage_routes.add_file": {"name": _TEXT, "from": _JSON_TEXT, "lock_token": _TEXT},
    "storage_routes.update_node": {
        "name": _TEXT,
        "from": _JSON_TEXT,
        "metadata_title": _TEXT,
        "metadata_short": _TEXT,
        "if_version_id": _ID,
        "lock_token": _TEXT,
    },
    "storage_routes.move": {"parent": _ID, "lock_token": _TEXT},
    "storage_routes.copy": {"parent": _ID, "lock_token": _TEXT},
    "storage_routes.restore": {},
    "storage_routes.restore_version": {"version_id": _ID},
    "oauth_routes.consent": dict.fromkeys(("auth_request_id", "decision", "token", "workspace"), _TEXT),
    "oauth_routes.token": dict.fromkeys(
        ("grant_type", "code", "code_verifier", "client_id", "redirect_uri", "refresh_token"), _TEXT
    ),
    "oauth_routes.revoke": {"token": _TEXT},
    "note_routes.create_note": {"name": _TEXT, "content": _TEXT},
    "note_routes.update_note": {"name": _TEXT, "content": _TEXT, "if_version_id": _ID},
    "note_routes.add_link": {"type": _TEXT, "share": _TEXT, "name": _TEXT, "force": _YES_OR_NO},
    "lock_routes.acquire": {"duration": _NUMBER, "client_info": _JSON_TEXT},
    "lock_routes.heartbeat": {"lock_token": _TEXT},
    "upload_routes.create_upload": _UPLOAD,
    "upload_routes.complete": {},
    "account_routes.create_key": {"memo": _TEXT, "scopes": _JSON_TEXT, "agent_name": _TEXT, "expires": _TEXT},
    "account_routes.create_workspace": {
        "folder_name": _TEXT,
        "name": _TEXT,
        "description": _TEXT,
        "intelligence": _YES_OR_NO,
        "perm_join": _TEXT,
        "perm_member_manage": _TEXT,
    },
}
"""Fields of a form."""

FILES: Final[Mapping[str, Mapping[str, Schema]]] = {
    "upload_routes.create_upload": {**_UPLOAD, "chunk": _BYTES},
    "upload_routes.put_chunk": {"chunk": _BYTES},
    "batch.upload_batch": {
        "instance_id": _TEXT,
        "folder_id": _ID,
        "manifest": _JSON_TEXT,
        "creator": _TEXT,
        "file_0": _BYTES,
        "file_1": _BYTES,
    },
}
"""Fields and files of a multipart body."""

_RAW: Final = frozenset({"upload_routes.put_stream"})
_NO_CREDENTIAL: Final = frozenset({"account_routes.ping", "account_routes.system_status"})
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_ANSWER: Final[Schema] = {
    "type": "object",
    "required": ["result", "current_api_version"],
    "properties": {"result": {"const": True}, "current_api_version": {"const": API_VERSION}},
}
_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["result", "error"],
    "properties": {
        "result": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "text", "resource"],
            "properties": {
                "code": {"type": ["integer", "string"]},
                "text": _TEXT,
                "message": _TEXT,
                "resource": _TEXT,
                "params": {"type": ["object", "array"]},
            },
        },
    },
}


def document(routes: Routes) -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Workspace", "version": API_VERSION},
        "servers": [{"url": BASE_PATH}],
        "security": [{"bearer": []}],
        "paths": {
            path: {method.lower(): _operation(path, handler) for method, handler in handlers.items()}
            for path, handlers in routes
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Answer": _ANSWER, "Error": _ERROR},
        },
    }


def name_of(handler: Handler) -> str:
    """Module and name of a handler, as the fields are told by them."""
    module = str(getattr(handler, "__module__", "")).rpartition(".")[2]
    return f"{module}.{getattr(handler, '__name__', '')}"


def publishing(routes: Routes) -> Handler:
    """The handler of `GET /openapi.json`."""
    content = json.dumps(document(routes)).encode()

    async def openapi(call: Call) -> Response:
        """The description of all routes; no credential is needed."""
        del call
        return Response(content, media_type=JSON)

    return openapi


def _operation(path: str, handler: Handler) -> Schema:
    name = name_of(handler)
    told: Schema = {
        "operationId": name,
        "summary": (handler.__doc__ or "").partition("\n")[0],
        "parameters": [
            *(
                {"name": part, "in": "path", "required": True, "schema": _ID}
                for part in _PARAMETER.findall(path)
            ),
            *(
                {"name": field, "in": "query", "schema": schema}
                for field, schema in QUERIES.get(name, {}).items()
            ),
        ],
        "responses": {
            "200": _content("Answer", "the answer; of content, its bytes"),
            "default": _content("Error", "a refusal"),
        },
    }
    if body := _body(name):
        told["requestBody"] = body
    if name in _NO_CREDENTIAL:
        told["security"] = []
    return told


def _body(name: str) -> Schema | None:
    kinds = {}
    if name in FORMS:
        kinds["application/x-www-form-urlencoded"] = _object(FORMS[name])
    if name in FILES:
        kinds["multipart/form-data"] = _object(FILES[name])
    if name in _RAW:
        kinds["application/octet-stream"] = _BYTES
    return {"content": {kind: {"schema": schema} for kind, schema in kinds.items()}} if kinds else None


def _object(fields: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(fields)}


def _content(schema: str, description: str) -> Schema:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}
