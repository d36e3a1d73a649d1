"""Reads the form of `POST /upload/` into an `UploadSpec`."""

from collections.abc import Mapping

from mountfs.server import opaque_ids
from mountfs.server.behaviour import Behaviour
from mountfs.server.endpoint import Call, is_true, whole_number
from mountfs.server.envelope import ApiError, invalid_field
from mountfs.server.names import check_extension, check_name
from mountfs.server.schema import ROOT
from mountfs.server.uploads import Target, UploadSpec, check_hash_fields, check_size


def read_spec(call: Call, fields: Mapping[str, str], kind: str) -> UploadSpec:
    """What the client declares; raises for what is missing, malformed or not allowed."""
    hash_text, algorithm = check_hash_fields(fields.get("hash", ""), fields.get("hash_algo", ""))
    behaviour = call.services.options.behaviour
    return UploadSpec(
        kind=kind,
        name=check_extension(check_name(fields.get("name", "")), call.services.options.restricted_extensions),
        size=None
        if kind == "stream"
        else check_empty(check_size(whole_number(fields, "size")), kind, behaviour),
        max_size=check_size(whole_number(fields, "max_size")) if fields.get("max_size") else None,
        hash=hash_text,
        hash_algo=algorithm,
        target=read_target(call, fields),
        lock_token=fields.get("lock_token") or None,
    )


def check_empty(size: int, kind: str, behaviour: Behaviour) -> int:
    """The size itself; 406 for 0 where files without bytes are not taken in this way."""
    ways = {"taken": ("single", "chunked", "batch"), "session": ("chunked",), "refused": ()}
    if not size and kind not in ways[behaviour.empty_files]:
        raise invalid_field("size", "a file without bytes is not taken here", code=10566)
    return size


def read_target(call: Call, fields: Mapping[str, str]) -> Target | None:
    """Where the upload goes; None without `instance_id`. Needs write permission there."""
    instance = fields.get("instance_id", "")
    if not instance:
        call.principal.check_write(None)
        return None
    workspace = call.workspace_called(instance, write=True)
    action = fields.get("action") or "create"
    if action not in ("create", "update"):
        raise invalid_field("action", "create or update")
    if "if_version_id" in fields:
        raise invalid_field("if_version_id", "not honoured by workspace uploads; use the node's update route")
    file_id = _read_node(fields, "file_id") if action == "update" else ""
    folder_id = _read_node(fields, "folder_id", ROOT) if action == "create" else ""
    return Target(workspace, action, folder_id, file_id)


def read_upload_id(text: str) -> str:
    """The canonical id of an upload session; 404 when it cannot be one."""
    bare = opaque_ids.canonical(text)
    if bare is None:
        raise ApiError(404, 1609, "no such upload session")
    return bare


def wants_stream(fields: Mapping[str, str]) -> bool:
    """Whether the session takes one raw body of unknown size."""
    return is_true(fields, "stream")


def _read_node(fields: Mapping[str, str], name: str, default: str = "") -> str:
    text = fields.get(name, "") or default
    if not text:
        raise invalid_field(name, "is required", kind="missing")
    if text == ROOT:
        return ROOT
    bare = opaque_ids.canonical(text)
    if bare is None:
        raise invalid_field(name, "malformed node id")
    return bare
