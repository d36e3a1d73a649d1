"""Whatever a service, or somebody in its place, answers: it is understood or refused as such, nothing else.

Every parser of remote input gets what Hypothesis thinks of, around the words that the parsers look for.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountfs.model.errors import NameRefused, RemoteError, RemoteUnavailable
from mountfs.model.ids import NodeId
from mountfs.model.login import Login
from mountfs.model.remote import BatchFile
from mountfs.remotes.fastio import account, batches, oauth, surveys, wire, wire_history
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.details import details_of
from mountfs.remotes.fastio.error_map import Answer, accepted, error_of, refusal, retry_after_s
from mountfs.remotes.fastio.leases import granted_s
from mountfs.remotes.fastio.request import Ask
from mountfs.remotes.fastio.retrying import later_s, rate_limit
from mountfs.remotes.fastio.web_socket import WebSocket
from mountfs.rules import names

ASK: Final = Ask("GET", "x/")
EXAMPLES: Final = int(os.environ.get("MOUNTFS_FUZZ_EXAMPLES", "20"))
"""A thorough run: MOUNTFS_FUZZ_EXAMPLES=2000."""

MOST_BYTES: Final = 2**63 - 1
"""What the journal and the kernel hold of a size."""

_HUGE: Final = (b"[" * 100_000, b'{"a":' * 100_000, b'{"size": NaN}', b'{"size": Infinity}', b"1" * 9000)

_KEYS: Final = (
    *(
        "id",
        "type",
        "name",
        "parent",
        "version",
        "version_id",
        "size",
        "hash",
        "hash_algo",
        "deleted",
        "metadata",
    ),
    *("short", "response", "result", "error", "code", "text", "params", "reason", "nodes", "items", "files"),
    *(
        "pagination",
        "next_cursor",
        "has_more",
        "session",
        "status",
        "status_message",
        "new_file_id",
        "chunks",
    ),
    *("limits", "chunk_size", "restricted_extensions", "enforcement_enabled", "lock_token", "lock_info"),
    *("expires", "acquired", "client_info", "device_name", "user_id", "locked", "lastactivity", "activity"),
    *("key", "scopes", "full_access", "retry_after", "not_found", "modified", "created", "updated", "folder"),
    *("retry_after_seconds", "current", "current_version_id", "changes", "cursor", "object_id", "profile"),
    *("workspace_id", "workspace", "org", "org_id", "versions", "actor", "creator", "deleted_from", "total"),
    *("search_metadata", "index_complete", "results", "relevance_score", "path", "path_complete", "events"),
    *("event", "event_id", "token", "auth_token", "access_token", "refresh_token", "expires_in", "scope"),
    *("login_url", "auth_request_id", "node_id", "upload_id", "error_code", "error_message", "member"),
)
_WORDS: Final = (
    *("file", "folder", "root", "trash", "stored", "sha256", "true", "no", "", "storage:", "storage:-"),
    *(
        "..",
        ".",
        "a/b",
        "nul\0",
        "2026-01-02 03:04:05 UTC",
        "0001-01-01T00:00:00+23:59",
        "9" * 5000,
        "-1",
        "1e999",
    ),
    *("2abcdefghijklmnopqrstuvwxyz01", "[" * 200, "workspace:*:rw", "https://[", "http://x\0/", "ok"),
)

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, -1])
    | st.floats()
    | st.sampled_from(_WORDS)
    | st.text(max_size=20)
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=5), _VALUES, max_size=8)
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "x-rate-limit-expiry", "date"]
    ),
    st.sampled_from(_WORDS) | st.text(max_size=30),
)

_PARSERS: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    "unwrapped": wire.unwrapped,
    "is_success": wire.is_success,
    "node": wire.node,
    "root_node": wire.root_node,
    "page": wire.page,
    "changed_node": wire.changed_node,
    "upload_limits": wire.upload_limits,
    "refused_suffixes": wire.refused_suffixes,
    "upload_id": wire.upload_id,
    "upload_state": wire.upload_state,
    "lease_token": wire.lease_token,
    "lease_expiry_ns": wire.lease_expiry_ns,
    "lease_holder": wire.lease_holder,
    "change_cursor": wire.change_cursor,
    "changed_nodes": wire.changed_nodes,
    "may_write": lambda told: wire.may_write(told, "4000"),
    "is_of_the_future": wire.is_of_the_future,
    "granted_s": lambda told: granted_s(60.0, told, Answer(200, b"", "", 0)),
    "refusal": lambda told: _refused(400, told),
    "conflict": lambda told: _refused(409, told),
    "later_s": lambda told: later_s(refusal(429, told), {}, 1.0),
    "next_cursor": wire.next_cursor,
    "fed_nodes": lambda told: wire.fed_nodes(told, "4000"),
    "feed cursor": surveys.of_feed,
    "organisation_id": wire.organisation_id,
    "channel_token": wire.channel_token,
    "may_write_anywhere": wire.may_write_anywhere,
    "versions": wire_history.versions,
    "trashed": wire_history.trashed,
    "hits": wire_history.hits,
    "events": wire_history.events,
    "actor": wire_history.actor,
    "organisation": lambda told: account.organisation_of({"id": 1, **told}, external=False),
    "workspace": lambda told: account.entry_of({"id": 1, **told}, {}, ""),
    "batch": lambda told: batches.result_of(told, ASK, BatchFile("f", b"", "0" * 64)),
    "capabilities": Capabilities,
    "login": lambda told: oauth.login_of(told, Login("https://x", ""), 1.0),
    "sign-in address": lambda told: oauth.address_told(told, httpx.URL("https://api.x/current/"), {}),
    "oauth refusal": lambda told: str(oauth.refusal_of(told, Answer(400, b"", "", 0), ASK)),
}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frame=_OBJECTS.map(json.dumps) | st.text(max_size=100) | st.sampled_from([_HUGE[0].decode()]))
def test_any_frame_names_nodes_or_none(frame: str) -> None:
    for node in wire.pushed_nodes(frame):
        assert node == wire.canonical(node)


class _Says:
    """A connection that brings these portions, and then ends."""

    def __init__(self, portions: list[bytes]) -> None:
        self._portions = portions

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._portions.pop(0) if self._portions else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await trio.lowlevel.checkpoint()


_FRAMES = st.builds(
    lambda code, length, payload: bytes([code, length]) + payload,
    st.integers(0, 255),
    st.integers(0, 127),
    st.binary(max_size=130),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(portions=st.lists(st.binary(min_size=1, max_size=40) | _FRAMES, max_size=5))
def test_any_bytes_of_a_web_socket_are_texts_or_its_end(portions: list[bytes]) -> None:
    async def hear() -> None:
        socket = WebSocket(_Says(portions), quiet_s=1, answer_s=1)
        with suppress(RemoteUnavailable):
            while True:
                await socket.text()

    trio.run(hear)


def _refused(status: int, told: dict[str, Any]) -> object:
    refused = refusal(status, told)
    return str(error_of(refused, ASK)), retry_after_s(refused)


@pytest.mark.parametrize("name", _PARSERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(told=_OBJECTS)
def test_any_object_is_understood_or_refused(name: str, told: dict[str, Any]) -> None:
    with suppress(RemoteError):
        _PARSERS[name](told)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(row=_OBJECTS, kind=st.sampled_from(["file", "folder"]), size=_SCALARS, name=st.text(max_size=300))
def test_node_that_is_understood_has_a_size_that_fits_and_a_name_that_stays_in_the_mount(
    row: dict[str, Any], kind: str, size: object, name: str
) -> None:
    row |= {"id": "2abcdefghijklmnopqrstuvwxyz01", "type": kind, "name": name, "size": size, "parent": "root"}
    try:
        node = wire.node(row)
    except RemoteError:
        return
    assert 0 <= node.size <= MOST_BYTES
    assert abs(node.modified_ns) <= MOST_BYTES
    if names.is_safe_from_remote(node.name):
        local = names.from_remote(node.name)
        assert local not in (b"", b".", b"..")
        assert not set(local) & set(b"/\0")
        assert len(local) <= names.NAME_MAX_BYTES


def test_half_a_character_becomes_one_that_can_be_kept_and_sent() -> None:
    half = json.loads(r'"cut \ud83d off \ud83d\ude00"')
    row = {"id": "2a", "type": "file", "name": "f", "parent": "root", "metadata": {"short": half}}
    assert wire.node(row).text == "cut \ufffd off \U0001f600"
    refused = refusal(400, {"error": {"text": half, "reason": half}})
    assert "cut \ufffd off \U0001f600" in str(error_of(refused, ASK))
    str(error_of(refused, ASK)).encode()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc/passwd", "a\0b", "../x", "\n", "\x1b[2J"])
def test_name_that_would_lead_out_of_the_mount_is_not_taken(name: str) -> None:
    assert not names.is_safe_from_remote(name)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.integers(0, len(_HUGE) - 1).map(lambda number: _HUGE[number]),
    status=st.integers(100, 599),
)
def test_any_bytes_are_an_answer_or_refused(content: bytes, status: int) -> None:
    with suppress(RemoteError):
        accepted(Answer(status, content, "", 0), ASK)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(told=_OBJECTS, asked=st.lists(st.sampled_from(["2a", "2b"]), min_size=1, max_size=2))
def test_any_details_are_understood_or_refused(told: dict[str, Any], asked: list[str]) -> None:
    answer = Answer(200, json.dumps(told).encode(), "", 0)
    try:
        found = details_of(answer, ASK, [NodeId(each) for each in asked])
    except RemoteError:
        return
    assert set(found) <= set(asked)


@settings(max_examples=EXAMPLES, deadline=None)
@given(headers=_HEADERS, told=_OBJECTS)
def test_any_headers_ask_for_a_wait_that_ends(headers: dict[str, str], told: dict[str, Any]) -> None:
    rate_limit(headers, 1.0)
    wait_s = later_s(refusal(429, told), headers, 1.0)
    assert wait_s is None or 0 <= wait_s < float("inf")


@settings(max_examples=EXAMPLES)
@given(name=st.text(max_size=300))
def test_any_name_can_be_sent_or_is_refused(name: str) -> None:
    with suppress(NameRefused):
        wire.sendable_name(name)
