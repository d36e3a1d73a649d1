"""Words of the wire to words of the model, for both generations of the API. Pure.

Both layouts of the envelope, of lists, of the continuation and of times are understood; identifiers become
canonical here, so that nothing further in sees a hyphen.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from mountfs.model.errors import NameRefused, ProtocolViolation
from mountfs.model.ids import ROOT_NODE, ChangeCursor, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.model.remote import LeaseHolder, UploadLimits, UploadState, UploadStatus

Wire = Mapping[str, Any]
"""One JSON object as it came."""

MIB: Final = 1024 * 1024
MOST: Final = 2**63 - 1
"""What the kernel and the journal can hold."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_CHARS: Final = 64
"""No time is longer in any format."""

TRUE_WORDS: Final = frozenset({"true", "yes", "1"})
FALSE_WORDS: Final = frozenset({"", "false", "no", "0", "null"})
SHA256_NAMES: Final = frozenset({"sha256", "sha-256"})
KINDS: Final = {kind.value: kind for kind in NodeKind}
ENVELOPE_KEYS: Final = frozenset({"result", "current_api_version"})

SINGLE_CALL_BYTES: Final = 4 * MIB
CHUNK_MIN_BYTES: Final = MIB
PARALLEL_CHUNKS: Final = 3
BATCH_FILES: Final = 200
BATCH_BYTES: Final = 100 * MIB

UPLOAD_STATUS: Final = {
    "ready": UploadStatus.RECEIVING,
    "uploading": UploadStatus.RECEIVING,
    "complete": UploadStatus.ASSEMBLED,
    "stored": UploadStatus.STORED,
    "assembly_failed": UploadStatus.FAILED,
    "store_failed": UploadStatus.FAILED,
}
"""States that are not here, also those of the future, mean: wait."""


@dataclass(frozen=True, slots=True)
class Page:
    """`unknown` tells the types of the rows that are left out because this client does not know them."""

    nodes: list[RemoteNode]
    next_cursor: str | None
    unknown: tuple[str, ...] = ()


def json_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object, or None where the content is anything else."""
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def json_array(text: str) -> list[Any] | None:
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, list) else None


def is_success(envelope: Wire) -> bool:
    return truth(envelope.get("result")) if "result" in envelope else "error" not in envelope


def unwrapped(envelope: Wire) -> dict[str, Any]:
    """Return the payload: what is under `response`, else all but the envelope's own keys."""
    response = envelope.get("response")
    if isinstance(response, dict):
        return response
    return {key: value for key, value in envelope.items() if key not in ENVELOPE_KEYS}


def truth(value: object) -> bool:
    """Read a boolean, which may be a word or a number. Raises ProtocolViolation for other words."""
    if isinstance(value, str):
        word = value.lower()
        if word not in TRUE_WORDS and word not in FALSE_WORDS:
            raise ProtocolViolation(f"{value!r} is not a boolean")
        return word in TRUE_WORDS
    return bool(value)


def whole(value: object) -> int | None:
    """Read a whole number of 64 bits, which may be text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -MOST <= number <= MOST else None


def canonical(identifier: object) -> str:
    """Return the identifier without hyphens and in lower case. Raises ProtocolViolation for what is none."""
    if isinstance(identifier, str):
        plain = identifier.replace("-", "").lower()
        if plain.isalnum() and plain.isascii():
            return plain
    raise ProtocolViolation(f"{identifier!r} is not an identifier")


def moment_ns(value: object) -> int:
    """Return the nanoseconds since the epoch of a time in any format seen; 0 where there is none."""
    if isinstance(value, int | float):
        return _told_ns(value)
    return _moment_ns(value) if isinstance(value, str) and len(value) <= MOMENT_CHARS else 0


@lru_cache(maxsize=1024)  # rows that were changed together, and all answers of one second, tell the same
def _moment_ns(told: str) -> int:
    text = told[:-4] + "+00:00" if told.endswith(" UTC") else told
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        elapsed_ns = (moment - EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError):
        return 0
    return elapsed_ns if -MOST <= elapsed_ns <= MOST else 0


def _told_ns(seconds: float) -> int:
    """Return 0 for what nobody can mean: no number, or none that 64 bits of nanoseconds reach."""
    try:
        elapsed_ns = int(seconds * 1_000_000_000)
    except (ValueError, OverflowError):
        return 0
    return elapsed_ns if -MOST <= elapsed_ns <= MOST else 0


def sendable_name(name: str) -> str:
    """Return the name if it can travel. Raises NameRefused for an empty one and for lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise NameRefused(f"{name!r}: not valid UTF-8") from None
    if not name:
        raise NameRefused("a node needs a name")
    return name


def items(collection: object) -> list[Wire]:
    """Return the rows of a list, which may be an array or an object with `items`."""
    if isinstance(collection, dict):
        collection = collection.get("items")
    if not isinstance(collection, list) or not all(isinstance(row, dict) for row in collection):
        raise ProtocolViolation("a list in the answer is neither an array nor an object with items")
    return collection


def node(row: Wire) -> RemoteNode:
    """Raises ProtocolViolation where the row lacks what every node has."""
    told = row.get("type")
    kind = KINDS.get(told) if isinstance(told, str) else None
    name = row.get("name")
    if kind is None or not isinstance(name, str):
        raise ProtocolViolation(f"not a node: type {row.get('type')!r}, name {name!r}")
    version = row.get("version")
    return RemoteNode(
        id=NodeId(canonical(row.get("id"))),
        kind=kind,
        name=name,
        parent=NodeId(canonical(row.get("parent"))),
        size=0 if kind is NodeKind.FOLDER else _size(row),
        version=VersionId(canonical(version)) if version else None,
        sha256=_sha256(row),
        modified_ns=moment_ns(row.get("modified")),
        locked=truth(row.get("locked")),
        trashed=_is_trashed(row),
        text=_text(row),
        created_ns=moment_ns(row.get("created")),
    )


def root_node(row: Wire) -> RemoteNode:
    """Read the top folder: it is known here by its alias, and has no parent but itself."""
    name = str(row.get("name") or "")
    return RemoteNode(ROOT_NODE, NodeKind.FOLDER, name, ROOT_NODE, modified_ns=moment_ns(row.get("modified")))


def next_cursor(payload: Wire) -> str | None:
    """Return where a listing goes on. Raises ProtocolViolation where more is promised but not reachable."""
    pagination = payload.get("pagination")
    pagination = pagination if isinstance(pagination, dict) else {}
    told = payload.get("next_cursor") or pagination.get("next_cursor")
    if not told and truth(pagination.get("has_more")):
        raise ProtocolViolation("a listing has more pages but does not say where")
    return str(told) if told else None


def page(payload: Wire) -> Page:
    """Read one page of a listing. Raises as `next_cursor`."""
    rows = items(payload.get("nodes"))
    known = [node(row) for row in rows if not is_of_the_future(row)]
    unknown = tuple(row["type"] for row in rows if is_of_the_future(row))
    return Page(known, next_cursor(payload), unknown)


def changed_node(payload: Wire) -> RemoteNode | None:
    """Return the node in the answer to a change, where there is one."""
    for key in ("node", "folder", "file"):
        row = payload.get(key)
        if isinstance(row, dict):
            return node(row)
    return node(payload) if "type" in payload and "name" in payload else None


def upload_limits(payload: Wire) -> UploadLimits:
    """Missing limits take the smallest value seen in the field."""
    told = payload.get("limits")
    limits = told if isinstance(told, dict) else payload
    return UploadLimits(
        single_call_bytes=SINGLE_CALL_BYTES,
        chunk_min_bytes=CHUNK_MIN_BYTES,
        chunk_max_bytes=max(CHUNK_MIN_BYTES, whole(limits.get("chunk_size")) or 32 * MIB),
        chunks_max=whole(limits.get("chunks")) or 35,
        file_max_bytes=whole(limits.get("size")) or 1024 * MIB,
        parallel_chunks=PARALLEL_CHUNKS,
        batch_files=BATCH_FILES,
        batch_bytes=BATCH_BYTES,
    )


def refused_suffixes(payload: Wire) -> frozenset[str]:
    """Return the endings of names that the service refuses, where it enforces that."""
    told = payload.get("restricted_extensions")
    if not isinstance(told, list) or not truth(payload.get("enforcement_enabled")):
        return frozenset()
    return frozenset(suffix.lstrip(".").lower() for suffix in told if isinstance(suffix, str))


def upload_id(payload: Wire) -> UploadId:
    session = payload.get("session")
    told = payload.get("id") or (session.get("id") if isinstance(session, dict) else None)
    return UploadId(canonical(told))


def upload_state(payload: Wire) -> UploadState | None:
    """Return the state of the session in the answer, or None where the answer does not tell any.

    A file named at once without a state means that the upload is stored.
    """
    session = payload.get("session")
    session = session if isinstance(session, dict) else payload
    status = session.get("status")
    placed = session.get("new_file_id") or payload.get("new_file_id")
    if status is None and not placed:
        return None
    return UploadState(
        id=upload_id(payload),
        status=UploadStatus.STORED
        if status is None
        else UPLOAD_STATUS.get(str(status), UploadStatus.WORKING),
        message=str(session.get("status_message") or ""),
        chunks=MappingProxyType(_chunks(session.get("chunks"))),
        node=NodeId(canonical(placed)) if placed else None,
    )


def lease_token(payload: Wire) -> LeaseToken:
    token = payload.get("lock_token")
    if not isinstance(token, str) or not token:
        raise ProtocolViolation("the answer to a lock has no lock token")
    return LeaseToken(token)


def lease_expiry_ns(payload: Wire) -> int:
    """Return when the lock ends by the service's clock, or 0 where it does not say."""
    info = payload.get("lock_info")
    return moment_ns((info if isinstance(info, dict) else payload).get("expires"))


def lease_holder(payload: Wire) -> LeaseHolder | None:
    """Read the answer about the lock of a file; the names of its keys are not published in full."""
    info = payload.get("lock_info")
    if not isinstance(info, dict):
        return LeaseHolder("", 0, 0) if truth(payload.get("locked")) else None
    client = info.get("client_info")
    if isinstance(client, str):
        client = json_object(client.encode())
    told = client if isinstance(client, Mapping) else {}
    holder = told.get("device_name") or info.get("user_id") or ""
    return LeaseHolder(str(holder), moment_ns(info.get("acquired")), moment_ns(info.get("expires")))


def change_cursor(payload: Wire) -> ChangeCursor:
    cursor = payload.get("lastactivity")
    if not isinstance(cursor, str | int | float) or isinstance(cursor, bool) or cursor == "":
        raise ProtocolViolation("the answer to an activity poll has no lastactivity")
    return ChangeCursor(str(cursor))


def changed_nodes(payload: Wire) -> tuple[frozenset[NodeId], bool]:
    """Return the nodes that activity keys name, and whether some key says that anything may have changed."""
    nodes = set()
    everything = False
    for key in _activity_keys(payload.get("activity")):
        area, _, subject = key.partition(":")
        if area == "storage" and subject:
            nodes.add(NodeId(canonical(subject)))
        elif area == "storage":
            everything = True
    return frozenset(nodes), everything


def channel_token(payload: Wire) -> str:
    """Return the token for a WebSocket. The name of its key is not published."""
    for key in ("token", "auth_token", "channel_token", "jwt"):
        told = payload.get(key)
        if isinstance(told, str) and told:
            return told
    raise ProtocolViolation("the answer has no token for a channel")


def pushed_nodes(text: str) -> frozenset[NodeId]:
    """Return the nodes that a frame names; what cannot be understood names none."""
    frame = json_object(text.encode(errors="replace"))
    if frame is None or frame.get("response", "activity") != "activity":
        return frozenset()
    try:
        return changed_nodes(frame)[0]
    except ProtocolViolation:
        return frozenset()


def fed_nodes(payload: Wire, workspace_id: str) -> frozenset[NodeId]:
    """Return the nodes that rows of the organisation's feed name; those of other workspaces are left out."""
    nodes = set()
    for row in items(payload.get("changes", [])):
        profile = row.get("profile")
        profile = profile.get("id") if isinstance(profile, dict) else profile
        place = row.get("workspace_id") or row.get("profile_id") or profile
        subject = row.get("object_id")
        if subject and (place is None or str(place) == workspace_id):
            nodes.add(NodeId(canonical(subject)))
    return frozenset(nodes)


def organisation_id(payload: Wire) -> str:
    """Return the organisation of the workspace. Raises ProtocolViolation where it is not told."""
    workspace = payload.get("workspace")
    row = workspace if isinstance(workspace, dict) else payload
    told = row.get("org") or row.get("org_id") or row.get("parent_org")
    told = told.get("id") if isinstance(told, dict) else told
    if not isinstance(told, str | int) or not str(told):
        raise ProtocolViolation("the workspace does not tell its organisation")
    return str(told)


def may_write(scopes: Wire, workspace_id: str) -> bool:
    """Tell from the granted scopes whether writing to the workspace can succeed; yes when they do not say."""
    if truth(scopes.get("full_access")):
        return True
    parts = [scope.split(":") for scope in scope_list(scopes.get("scopes"))]
    modes = [part[-1] for part in parts if _reaches(part, workspace_id)]
    return not modes or any("w" in mode for mode in modes)


def may_write_anywhere(scopes: Wire) -> bool:
    """Tell from the granted scopes whether anything can be changed; yes when they do not say."""
    told = scope_list(scopes.get("scopes"))
    return truth(scopes.get("full_access")) or not told or any("w" in scope.rsplit(":")[-1] for scope in told)


def scope_list(told: object) -> list[str]:
    """Read the scopes of an array, of an array as JSON text, or of words apart by spaces."""
    if isinstance(told, str):
        decoded = json_array(told)
        told = told.split() if decoded is None else decoded
    return [scope for scope in told if isinstance(scope, str)] if isinstance(told, list) else []


def _reaches(scope: list[str], workspace_id: str) -> bool:
    entity, subject = scope[0], scope[1] if len(scope) > 2 else "*"
    if entity == "workspace":
        return subject in {"*", workspace_id}
    return entity not in {"share", "all_shares"}


def _activity_keys(activity: object) -> Iterator[str]:
    """Yield the keys of an array or a map; a row of an array may also be an object with a key."""
    for row in activity if isinstance(activity, list | dict) else ():
        key = row.get("key") if isinstance(row, dict) else row
        if isinstance(key, str):
            yield key


def is_of_the_future(row: Wire) -> bool:
    """Tell whether the row is of a type that this client does not know; a row without a type is no node."""
    told = row.get("type")
    return isinstance(told, str) and told != "" and told not in KINDS


def _text(row: Wire) -> str:
    metadata = row.get("metadata")
    text = metadata.get("short") if isinstance(metadata, dict) else None
    return whole_characters(text) if isinstance(text, str) else ""


def whole_characters(text: str) -> str:
    """Return the text with U+FFFD for each half of a character, which JSON can tell but UTF-8 cannot hold: it
    could neither be kept nor sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _size(row: Wire) -> int:
    size = whole(row.get("size"))
    return size if size is not None and size >= 0 else 0


def _sha256(row: Wire) -> str | None:
    digest = row.get("hash")
    if not isinstance(digest, str) or str(row.get("hash_algo")).lower() not in SHA256_NAMES:
        return None
    return digest.lower() if len(digest) == 64 else None


def _is_trashed(row: Wire) -> bool:
    """`deleted` is a boolean or the time of the deletion; `trash` as a parent says the same."""
    deleted = row.get("deleted")
    if isinstance(deleted, str):
        return deleted.lower() not in FALSE_WORDS
    return bool(deleted) or row.get("parent") == "trash"


def _chunks(told: object) -> dict[int, int]:
    """Read the map from order to bytes; an empty map may come as an empty array."""
    if not isinstance(told, dict):
        return {}
    sizes = {
        whole(order): whole(size.get("size") if isinstance(size, dict) else size)
        for order, size in told.items()
    }
    return {order: size for order, size in sizes.items() if order is not None and size is not None}
