"""Words of the wire, of both generations and with their contradictions; golden answers are written from the
specification of the API, not from our server."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mountfs.model.errors import NameRefused, ProtocolViolation, RemoteUnavailable
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.node import NodeKind
from mountfs.model.remote import UploadStatus
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.details import details_of
from mountfs.remotes.fastio.error_map import Answer, accepted
from mountfs.remotes.fastio.leases import granted_s
from mountfs.remotes.fastio.request import Ask, path_of

FILE = NodeId("2abcdefghijklmnopqrstuvwxyz01")
FOLDER = NodeId("2dddddddddddddddddddddddddddd")
UPLOAD = "5abcdefghijklmnopqrstuvwxyz03"
ASK = Ask("GET", "x/")
AT_NS = 1_779_132_385 * 10**9

Golden = Callable[[str], bytes]


@pytest.fixture
def payload(golden: Golden) -> Callable[[str], dict[str, Any]]:
    return lambda name: accepted(Answer(200, golden(name)), ASK)


Payload = Callable[[str], dict[str, Any]]


def test_node_of_the_newer_generation(payload: Payload) -> None:
    node = wire.changed_node(payload("node_flat"))
    assert node is not None
    assert (node.id, node.kind, node.name, node.parent) == (FILE, NodeKind.FILE, "plan.txt", ROOT_NODE)
    assert (node.size, node.version) == (5, "3abcdefghijklmnopqrstuvwxyz02")
    assert node.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (node.modified_ns, node.locked, node.trashed) == (AT_NS, True, False)


def test_node_of_the_older_generation(payload: Payload) -> None:
    node = wire.changed_node(payload("node_wrapped"))
    assert node is not None
    assert (node.id, node.parent, node.size, node.version) == (FILE, FOLDER, 5, "v1")
    assert node.sha256 is None, "the digest of another algorithm is no sha256"
    assert (node.modified_ns, node.locked, node.trashed) == (AT_NS + 250_000_000, False, True)


def test_listings_of_both_layouts(payload: Payload) -> None:
    array = wire.page(payload("list_array"))
    assert ([node.id for node in array.nodes], array.next_cursor) == ([FILE, FOLDER], "c-2")
    items = wire.page(payload("list_items"))
    assert ([node.id for node in items.nodes], items.next_cursor) == ([FILE], None)
    assert wire.page({"nodes": [], "next_cursor": "top"}).next_cursor == "top"


def test_listing_is_never_silently_partial() -> None:
    with pytest.raises(ProtocolViolation, match="more pages"):
        wire.page({"nodes": [], "pagination": {"has_more": True}})
    with pytest.raises(ProtocolViolation):
        wire.page({})
    with pytest.raises(ProtocolViolation):
        wire.page({"nodes": ["2abc"]})
    for no_type in ({}, {"type": None}, {"type": ""}, {"type": ["file"]}):
        with pytest.raises(ProtocolViolation):
            wire.page({"nodes": [{"id": "2a", "name": "n", "parent": "root"} | no_type]})


def test_row_of_an_unknown_type_does_not_hide_its_siblings() -> None:
    row = {"id": "2a", "type": "file", "name": "n", "parent": "root"}
    page = wire.page({"nodes": [{"id": "2b", "type": "hologram"}, row]})
    assert ([node.id for node in page.nodes], page.unknown) == (["2a"], ("hologram",))


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "socket"},
        {"name": None},
        {"id": "../../x"},
        {"id": 7},
        {"parent": None},
        {"version": "a/b"},
        {"locked": "maybe"},
    ],
)
def test_rows_that_are_no_nodes(broken: dict[str, Any]) -> None:
    row = {"id": "2a", "type": "file", "name": "n", "parent": "root"}
    assert wire.node(row).id == "2a"
    with pytest.raises(ProtocolViolation):
        wire.node(row | broken)


@pytest.mark.parametrize(
    ("told", "expected_ns"),
    [
        ("2026-05-18 19:26:25 UTC", AT_NS),
        ("2026-05-18T19:26:25Z", AT_NS),
        ("2026-05-18T21:26:25+02:00", AT_NS),
        ("2026-05-18T19:26:25", AT_NS),
        ("2026-05-18 19:26:25.000001 UTC", AT_NS + 1000),
        (1_779_132_385, AT_NS),
        ("yesterday", 0),
        (None, 0),
    ],
)
def test_times(told: object, expected_ns: int) -> None:
    assert wire.moment_ns(told) == expected_ns


def test_details_leave_out_what_is_said_to_be_absent(golden: Golden) -> None:
    told = details_of(Answer(200, golden("details_multi")), ASK, [FILE, FOLDER])
    assert set(told) == {FILE}
    assert details_of(Answer(404, golden("details_all_absent")), ASK, [FILE, FOLDER]) == {}
    assert set(details_of(Answer(200, golden("node_flat")), ASK, [FILE])) == {FILE}
    assert details_of(Answer(404, golden("error_old")), ASK, [FILE]) == {}


@pytest.mark.parametrize(
    ("name", "status", "asked", "error"),
    [
        ("details_transient", 200, [FILE, FOLDER], RemoteUnavailable),
        ("node_flat", 200, [FILE, FOLDER], RemoteUnavailable),
        ("error_old", 404, [FILE, FOLDER], RemoteUnavailable),
        ("error_new", 404, [FILE], RemoteUnavailable),
        ("error_fields", 406, [FILE], RemoteUnavailable),
        ("lock", 200, [FILE], RemoteUnavailable),
    ],
)
def test_details_never_take_an_error_for_absence(
    golden: Golden, name: str, status: int, asked: list[NodeId], error: type[Exception]
) -> None:
    with pytest.raises(error):
        details_of(Answer(status, golden(name)), ASK, asked)


def test_details_from_a_proxy_or_without_a_route() -> None:
    with pytest.raises(ProtocolViolation):
        details_of(Answer(404, b"<html>"), ASK, [FILE])
    no_route = json.dumps({"result": False, "error": {"code": 9992, "text": "no route"}}).encode()
    with pytest.raises(ProtocolViolation):
        details_of(Answer(404, no_route), ASK, [FILE])


def test_single_call_uploads(payload: Payload) -> None:
    placed = wire.upload_state(payload("upload_single_placed"))
    assert placed is not None
    assert (placed.id, placed.status, placed.node) == (UPLOAD, UploadStatus.STORED, FILE)
    assert wire.upload_state(payload("upload_single_waiting")) is None
    assert wire.upload_id(payload("upload_single_waiting")) == UPLOAD


def test_sessions(payload: Payload) -> None:
    receiving = wire.upload_state(payload("upload_session"))
    assert receiving is not None
    assert (receiving.status, dict(receiving.chunks)) == (UploadStatus.RECEIVING, {1: 1048576, 2: 7})
    stored = wire.upload_state(payload("upload_session_stored"))
    assert stored is not None
    assert (stored.status, stored.node, dict(stored.chunks)) == (UploadStatus.STORED, FILE, {})


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ready", UploadStatus.RECEIVING),
        ("assemble", UploadStatus.WORKING),
        ("assembling", UploadStatus.WORKING),
        ("complete", UploadStatus.ASSEMBLED),
        ("store", UploadStatus.WORKING),
        ("storing", UploadStatus.WORKING),
        ("assembly_failed", UploadStatus.FAILED),
        ("store_failed", UploadStatus.FAILED),
        ("pondering", UploadStatus.WORKING),
    ],
)
def test_states_of_sessions(word: str, status: UploadStatus) -> None:
    state = wire.upload_state({"session": {"id": "5a", "status": word}})
    assert state is not None
    assert state.status is status


def test_activity_of_both_layouts(payload: Payload) -> None:
    array = payload("activity_array")
    assert wire.changed_nodes(array) == (frozenset({FILE}), False)
    assert wire.change_cursor(array) == "2026-05-18 19:26:25.123456 UTC"
    mapped = payload("activity_map")
    assert wire.changed_nodes(mapped) == (frozenset({FILE}), True)
    assert wire.change_cursor(mapped) == "1779132385.25"
    assert wire.changed_nodes({"activity": None}) == (frozenset(), False)
    with pytest.raises(ProtocolViolation):
        wire.change_cursor({"activity": []})


def test_limits_of_both_layouts(payload: Payload) -> None:
    limits = wire.upload_limits(payload("limits"))
    assert (limits.chunk_max_bytes, limits.chunks_max) == (104857600, 550)
    assert (limits.single_call_bytes, limits.chunk_min_bytes, limits.parallel_chunks) == (4194304, 1048576, 3)
    assert wire.upload_limits(payload("limits_wrapped")).file_max_bytes == 1073741824
    assert wire.upload_limits({}).chunks_max == 35


def test_refused_suffixes_count_where_they_are_enforced() -> None:
    told = {"restricted_extensions": ["EXE", ".bat"], "enforcement_enabled": True}
    assert wire.refused_suffixes(told) == {"exe", "bat"}
    assert wire.refused_suffixes(told | {"enforcement_enabled": False}) == frozenset()
    assert wire.refused_suffixes({}) == frozenset()


def test_lease_is_never_longer_than_the_service_says(payload: Payload) -> None:
    told = payload("lock")
    assert wire.lease_token(told) == "t0k3n"
    at_start = Answer(200, b"", server_time_ns=AT_NS)
    assert granted_s(300, told, at_start) == 300
    assert granted_s(301, told, at_start) == 301, "within the error of clocks of whole seconds"
    assert granted_s(3600, told, at_start) == 300
    assert granted_s(60, told, at_start) == 60
    assert granted_s(60, {}, at_start) == 60
    clock_stepped_back = Answer(200, b"", server_time_ns=AT_NS + 3600 * 10**9)
    assert granted_s(300, told, clock_stepped_back) == 300, "one clock, and it stepped between two looks"
    with pytest.raises(ProtocolViolation):
        wire.lease_token({"locked": True})


@pytest.mark.parametrize(
    ("scopes", "writable"),
    [
        ({"full_access": True, "scopes": ["user:*:r"]}, True),
        ({"scopes": ["workspace:4:r"]}, False),
        ({"scopes": ["workspace:4:rw"]}, True),
        ({"scopes": ["workspace:4:rwa"]}, True),
        ({"scopes": ["workspace:4:r", "workspace:5:rw"]}, False),
        ({"scopes": '["workspace:4:r"]'}, False),
        ({"scopes": "all_workspaces:r"}, False),
        ({"scopes": ["share:9:rw", "org:1:r"]}, False),
        ({"scopes": []}, True),
        ({}, True),
    ],
)
def test_writing_is_ruled_out_only_by_scopes_that_say_so(scopes: dict[str, Any], writable: bool) -> None:
    assert wire.may_write(scopes, "4") is writable


@pytest.mark.parametrize("name", ["", "lone \udcff surrogate"])
def test_names_that_cannot_travel(name: str) -> None:
    with pytest.raises(NameRefused):
        wire.sendable_name(name)


def test_paths_cannot_be_left() -> None:
    assert path_of("workspace", "a/b", "2a,2b") == "workspace/a%2Fb/2a,2b/"
    for segment in ("", ".", ".."):
        with pytest.raises(Exception, match="dotted"):
            path_of("workspace", segment)
