"""What the answer to a question about several nodes says of each. Pure."""

from collections.abc import Sequence
from typing import Final

from mountfs.model.errors import (
    AccessDenied,
    CredentialRefused,
    ProtocolViolation,
    RemoteError,
    RemoteUnavailable,
)
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.node import RemoteNode
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.error_map import (
    ABSENT_CLASSES,
    ABSENT_CODES,
    Answer,
    accepted,
    not_this_service,
    refusal,
)
from mountfs.remotes.fastio.request import Ask

DETAILS_MAX: Final = 25


def details_of(answer: Answer, ask: Ask, asked: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
    """Return the nodes that exist, of those asked for.

    An id is only left out where the service says of it, by itself, that it is absent, or of a type that
    this client does not know. Raises
    RemoteUnavailable where it says anything else of an id, or nothing.
    """
    envelope = wire.json_object(answer.content)
    if envelope is None:
        raise not_this_service(answer, ask)
    told = wire.unwrapped(envelope)
    if "nodes" not in told and "errors" not in told and "node" not in told:
        return _nothing_found(answer, ask, asked)
    read = wire.root_node if asked[0] == ROOT_NODE else wire.node
    rows = _rows(told)
    # What this client cannot show is nothing to it.
    strange = {NodeId(wire.canonical(row.get("id"))) for row in rows if wire.is_of_the_future(row)}
    found = {node.id: node for node in (read(row) for row in rows if not wire.is_of_the_future(row))}
    missing = set(asked) - set(found) - strange - _absent(told)
    if missing:
        raise RemoteUnavailable(f"{ask}: no word about {', '.join(sorted(missing))}")
    return {node: found[node] for node in asked if node in found}


def _rows(told: wire.Wire) -> list[wire.Wire]:
    single = told.get("node")
    return [single] if isinstance(single, dict) else wire.items(told.get("nodes", []))


def _absent(told: wire.Wire) -> set[NodeId]:
    rows = wire.items(told.get("errors", []))
    return {
        NodeId(wire.canonical(row.get("node_id")))
        for row in rows
        if wire.whole(row.get("code")) in ABSENT_CODES | ABSENT_CLASSES
    }


def _nothing_found(answer: Answer, ask: Ask, asked: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
    """Read a refusal of the whole question; one that is about the only node asked for means absence."""
    refused = refusal(answer.status, wire.json_object(answer.content) or {})
    if len(asked) == 1 and answer.status in {404, 410} and refused.code in ABSENT_CODES | ABSENT_CLASSES:
        return {}
    try:
        accepted(answer, ask)
    except (AccessDenied, CredentialRefused, ProtocolViolation, RemoteUnavailable):
        raise
    except RemoteError as error:
        raise RemoteUnavailable(error.message) from error
    raise RemoteUnavailable(f"{ask}: the answer describes no node")
