"""What is found out of a service is remembered for a day, and doubted when it is contradicted."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import trio.testing

from mountfs.model.errors import RequestRefused
from mountfs.model.ids import NodeId, UploadId, VersionId
from mountfs.remotes.fastio import FastioService, FastioSettings, wire
from mountfs.remotes.fastio.capabilities import DOUBTED_AFTER_S, Capabilities, Capability
from mountfs.remotes.fastio.remote import FastioRemote

FILE = NodeId("2aaaaaaaaaaaaaaaaaaaaaaaaaaaa")
UNCHANGED = NodeId("2bbbbbbbbbbbbbbbbbbbbbbbbbbbb")
UPLOAD = UploadId("u1")
OLD, NEW = VersionId("3aaaaaaaaaaaaaaaaaaaaaaaaaaaa"), VersionId("3bbbbbbbbbbbbbbbbbbbbbbbbbbbb")
BY_SERVICE = {"x-ve-reqid": "1"}
UPLOADED = {"result": True, "session": {"id": UPLOAD, "status": "complete", "new_file_id": None}}
REFUSED = {"result": False, "error": {"code": 123, "text": "no such field"}}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def service(scripted: Any) -> Any:
    service = FastioService(scripted.url, "t", settings=FastioSettings(attempts=1))
    yield service
    await service.aclose()


def _again(known: Capabilities, clock: Clock) -> Capabilities:
    """Return what the next mount knows."""
    return Capabilities(json.loads(json.dumps(known.told())), clock=clock)


async def _read(remote: FastioRemote, start: int, end: int) -> bytes:
    async with remote.read(FILE, None, start, end) as pieces:
        return b"".join([piece async for piece in pieces])


def _node(version: str) -> dict[str, Any]:
    row = {"id": FILE, "type": "file", "name": "a", "parent": "root", "size": 1, "version": version}
    return row | {"hash": "0" * 64, "hash_algo": "sha256"}


def test_findings_are_known_for_a_day_and_over_mounts(clock: Clock) -> None:
    known = Capabilities(clock=clock)
    assert known.get(Capability.RANGES) is None
    known.found(Capability.RANGES, False)
    clock.now += DOUBTED_AFTER_S - 1
    known.found(Capability.RANGES, False)  # what rests on being known already is no news
    assert _again(known, clock).get(Capability.RANGES) is False
    clock.now += 1
    assert known.get(Capability.RANGES) is None
    known.found(Capability.RANGES, True)
    assert _again(known, clock).get(Capability.RANGES) is True
    clock.now -= 10  # the clock of the machine was set back
    assert known.get(Capability.RANGES) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        *(None, [], "x", {"ranges": True}, {"ranges": [1, 1]}, {"ranges": [True]}, {"ranges": [True, "x"]}),
        *({"ranges": [True, float("nan")]}, {"other": [True, 1_800_000_000.0]}),
    ],
)
def test_what_is_no_finding_is_left_out(spoilt: object, clock: Clock) -> None:
    known = Capabilities(spoilt, clock=clock)
    assert known.told() == {}


async def test_ranges_are_asked_for_again_after_a_day(
    scripted: Any, service: FastioService, acts: Any, clock: Clock
) -> None:
    known = Capabilities(clock=clock)
    scripted.plays(acts.reply(200, b"0123456789", BY_SERVICE))
    assert await _read(service.remote("4", capabilities=known), 2, 4) == b"23"
    known = _again(known, clock)
    remote = service.remote("4", capabilities=known)
    assert await _read(remote, 2, 4) == b"23"
    clock.now += DOUBTED_AFTER_S
    scripted.plays(acts.reply(206, b"23", {"Content-Range": "bytes 2-3/10"}))
    assert await _read(remote, 2, 4) == b"23"
    assert ["range" in request.headers for request in scripted.seen] == [True, False, True]
    assert known.get(Capability.RANGES) is True


async def test_comparing_versions_is_probed_once_a_day_and_doubted_when_refused(
    scripted: Any, service: FastioService, acts: Any, clock: Clock
) -> None:
    known = Capabilities(clock=clock)
    looked = acts.reply(200, {"result": True, "format": "multi", "nodes": [_node(OLD)]})
    changed = acts.reply(200, {"result": True, "node": _node(NEW)})
    mismatch = acts.reply(
        409, {"result": False, "error": {"code": 1, "params": {"reason": "version_mismatch"}}}
    )
    scripted.plays(looked, mismatch, changed)
    await service.remote("4", capabilities=known).commit(FILE, UPLOAD, OLD)
    assert len(scripted.seen) == 3
    known = _again(known, clock)
    await service.remote("4", capabilities=known).commit(FILE, UPLOAD, OLD)
    assert len(scripted.seen) == 4
    upload = acts.reply(200, UPLOADED)
    scripted.plays(acts.reply(406, REFUSED), looked, upload, looked, mismatch)
    with pytest.raises(RequestRefused):
        await service.remote("4", capabilities=known).commit(FILE, UPLOAD, OLD)
    assert _again(known, clock).get(Capability.COMPARES_VERSIONS) is True, "it was something else"


@pytest.mark.parametrize("known_content", [False, True])
async def test_service_that_compares_versions_no_more_is_served_without(
    scripted: Any, service: FastioService, acts: Any, clock: Clock, known_content: bool
) -> None:
    known = Capabilities(clock=clock)
    known.found(Capability.COMPARES_VERSIONS, True)
    remote = service.remote("4", capabilities=known)
    row = {"name": "if_version_id", "kind": "invalid"}
    refused = acts.reply(406, {"result": False, "error": {"code": 1605, "text": "unknown", "params": [row]}})
    looked = acts.reply(200, {"result": True, "format": "multi", "nodes": [_node(OLD)]})
    changed = acts.reply(200, {"result": True, "node": _node(NEW)})
    history = acts.reply(200, {"result": True, "versions": [{"id": NEW}, {"id": OLD}]})
    about_the_refusal = [looked] if known_content else [looked, acts.reply(200, UPLOADED)]
    scripted.plays(refused, *about_the_refusal, looked, refused, looked, changed, history)
    if known_content:
        made = await remote.commit_known(FILE, "0" * 64, OLD)
    else:
        made = await remote.commit(FILE, UPLOAD, OLD)
    assert made is not None
    assert made.version == NEW
    assert known.get(Capability.COMPARES_VERSIONS) is False
    assert b"if_version_id" not in scripted.seen[-2].body


async def test_feed_that_is_not_readable_is_not_asked_for_again(
    scripted: Any, service: FastioService, acts: Any, clock: Clock
) -> None:
    known = Capabilities(clock=clock)
    workspace = acts.reply(200, {"result": True, "workspace": {"id": "4", "org_domain": "o", "org_id": "5"}})
    recent = acts.reply(200, {"result": True, "nodes": [], "next_cursor": None})
    scripted.plays(workspace, acts.reply(406, REFUSED), recent)
    await service.remote("4", capabilities=known).survey(None)
    asked = len(scripted.seen)
    assert known.get(Capability.CHANGE_FEED) is False
    await service.remote("4", capabilities=_again(known, clock)).survey(None)
    assert len(scripted.seen) == asked + 1


async def test_page_of_somebody_on_the_way_tells_nothing_of_the_feed(
    scripted: Any, service: FastioService, acts: Any, clock: Clock
) -> None:
    known = Capabilities(clock=clock)
    workspace = acts.reply(200, {"result": True, "workspace": {"id": "4", "org_domain": "o", "org_id": "5"}})
    recent = acts.reply(200, {"result": True, "nodes": [], "next_cursor": None})
    scripted.plays(workspace, acts.reply(200, b"<html>sign in</html>"), recent)
    await service.remote("4", capabilities=known).survey(None)
    assert known.told() == {}


@pytest.mark.parametrize("shown", [True, False])
async def test_whether_listings_lag_is_found_out_by_what_was_made(
    scripted: Any, service: FastioService, acts: Any, clock: Clock, shown: bool
) -> None:
    known = Capabilities(clock=clock)
    made = wire.node(_node(NEW))
    scripted.plays(acts.reply(200, {"result": True, "nodes": [_node(NEW)] if shown else []}))
    assert await service.remote("4", capabilities=known).lists_at_once(made) is shown
    remote = service.remote("4", capabilities=_again(known, clock))
    assert await remote.lists_at_once(made) is shown
    assert len(scripted.seen) == 1
    remote.listing_lacked()
    assert await remote.lists_at_once(made) is False


async def test_page_of_what_is_newer_does_not_tell_whether_listings_lag(
    scripted: Any, service: FastioService, acts: Any
) -> None:
    made = replace(wire.node(_node(NEW)), modified_ns=5)
    others = [
        {**_node(OLD), "id": f"2{number:028}", "modified": "2026-05-18T19:26:25Z"} for number in range(100)
    ]
    scripted.plays(acts.reply(200, {"result": True, "nodes": others}))
    known = Capabilities()
    remote = service.remote("4", capabilities=known)
    assert await remote.lists_at_once(made)
    assert known.get(Capability.LISTS_AT_ONCE) is None
    with trio.testing.assert_no_checkpoints():
        # Of hundreds that were made at once none waits for the others.
        assert await remote.lists_at_once(made)
    assert len(scripted.seen) == 1


async def test_without_events_the_latest_nodes_tell_what_was_before(
    scripted: Any, service: FastioService, acts: Any, clock: Clock
) -> None:
    known = Capabilities(clock=clock)
    now = datetime.now(UTC).isoformat()
    rows = [
        {**_node(NEW), "modified": now},
        {**_node(OLD), "id": UNCHANGED, "modified": "2020-01-01T00:00:00Z"},
    ]
    latest = acts.reply(200, {"result": True, "nodes": rows})
    refused = acts.reply(403, {"result": False, "error": {"code": 10767, "text": "not for you"}})
    scripted.plays(refused, latest, latest)
    assert await service.remote("4", capabilities=known).changed_lately() == {FILE}
    # That it may not read events is remembered.
    assert await service.remote("4", capabilities=_again(known, clock)).changed_lately() == {FILE}
    assert ["/recent/" in request.target for request in scripted.seen] == [False, True, True]
    known.found(Capability.LISTS_AT_ONCE, True)
    assert await service.remote("4", capabilities=known).changed_lately() == frozenset()
    assert len(scripted.seen) == 3
