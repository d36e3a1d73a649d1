"""The client against a server that follows a script, as ours would never answer. Long: a test an answer."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from mountfs.model.content_source import BytesSource
from mountfs.model.errors import (
    AccessDenied,
    InsecureAddress,
    LeaseHeld,
    LeaseNotHeld,
    NameTaken,
    OutcomeUnknown,
    ProtocolViolation,
    QuotaExceeded,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
    UploadFailed,
    VersionMismatch,
    WorkspaceUnknown,
)
from mountfs.model.ids import ROOT_NODE, ChangeCursor, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import BatchFile, NewFile, Remote, Service, Unplaced, UploadState, UploadStatus
from mountfs.remotes.fastio import FastioRemote, FastioService, FastioSettings
from mountfs.remotes.fastio.settings import base_address

CONTENT = bytes(range(256)) * 1024
FILE = NodeId("2abcdefghijklmnopqrstuvwxyz01")
UPLOAD = UploadId("5abcdefghijklmnopqrstuvwxyz03")
VERSION = VersionId("3abcdefghijklmnopqrstuvwxyz02")
ROW = {"id": FILE, "type": "file", "name": "plan.txt", "parent": "root", "size": 5, "version": VERSION}
FULL = ROW | {"hash": "0" * 64, "hash_algo": "sha256"}
MISMATCH = {"result": False, "error": {"code": 1660, "params": {"reason": "conflict_version_mismatch"}}}
REFUSED = {"result": False, "error": {"code": 187001, "text": "not in a valid state"}}
GONE = {"result": False, "error": {"code": 187002, "text": "no such thing"}}


def ok(**payload: Any) -> dict[str, Any]:
    return {"result": True, **payload}


@pytest.fixture
async def service(scripted: Any, nap: Callable[[float], Awaitable[None]]) -> AsyncIterator[FastioService]:
    settings = FastioSettings(patience_s=5, attempts=3, read_s=0.5)
    service = FastioService(
        scripted.url, "t", client_info={"client_version": "1"}, settings=settings, sleep=nap
    )
    yield service
    await service.aclose()


@pytest.fixture
def remote(service: FastioService) -> FastioRemote:
    return service.remote("4")


def query_of(request: Any) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(request.target).query).items()}


def fields_of(request: Any) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(request.body.decode()).items()}


async def test_ports_are_implemented(service: FastioService, remote: FastioRemote) -> None:
    ports: tuple[Service, Remote] = (service, remote)
    assert ports


# Addresses


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.fast.io", "https://api.fast.io/current/"),
        ("https://api.fast.io/", "https://api.fast.io/current/"),
        ("https://proxy.example/fast/v2", "https://proxy.example/fast/v2/"),
        ("http://127.0.0.1:8080/current/", "http://127.0.0.1:8080/current/"),
        ("http://127.9.9.9/", "http://127.9.9.9/current/"),
        ("http://localhost:1", "http://localhost:1/current/"),
        ("http://[::1]:80/", "http://[::1]/current/"),
    ],
)
def test_addresses(url: str, base: str) -> None:
    assert str(base_address(url, allow_insecure=False)) == base


@pytest.mark.parametrize("url", ["http://api.fast.io/", "http://10.0.0.1/", "http://localhost.example/"])
def test_plain_http_needs_permission(url: str) -> None:
    with pytest.raises(InsecureAddress) as caught:
        FastioService(url, "t")
    assert "allow it explicitly" in caught.value.hint
    assert base_address(url, allow_insecure=True).scheme == "http"


@pytest.mark.parametrize("url", ["ftp://x/", "api.fast.io", "https://", "https://u:p@api.fast.io/"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        base_address(url, allow_insecure=True)
    assert "u:p" not in caught.value.message


# The account


async def test_credential_check(scripted: Any, service: FastioService, acts: Any) -> None:
    scripted.plays(acts.reply(200, ok(id=1000)))
    assert await service.check_credential() == "1000"
    scripted.plays(acts.reply(200, b"<html>hello</html>"))
    with pytest.raises(ProtocolViolation):
        await service.check_credential()


async def test_workspace_by_the_word_in_the_path(scripted: Any, service: FastioService, acts: Any) -> None:
    row = {"id": 4, "name": "Main room", "folder_name": "main"}
    scripted.plays(acts.reply(200, ok(workspace=row)), acts.reply(200, ok(scopes=["workspace:4:r"])))
    found = await service.find_workspace("main")
    assert (found.id, found.name, found.writable) == ("4", "main", False)
    assert scripted.seen[0].target == "/current/workspace/main/details/"


async def test_workspace_by_its_name_in_the_list(scripted: Any, service: FastioService, acts: Any) -> None:
    rows = [{"id": "4", "name": "Main room"}, {"id": "5", "name": "Other room"}]
    scripted.plays(
        acts.reply(200, ok(workspaces=rows[:1], pagination={"has_more": True})),
        acts.reply(200, ok(workspaces=rows[1:], pagination={"has_more": False})),
        acts.reply(404, {"result": False, "error": {"code": 9992}}),
    )
    found = await service.find_workspace("Other room")
    assert (found.id, found.writable) == ("5", True)
    assert [query_of(request).get("offset") for request in scripted.seen] == ["0", "1", None]


async def test_unknown_workspace_names_those_near(scripted: Any, service: FastioService, acts: Any) -> None:
    rows = [{"id": str(number), "folder_name": f"room-{number}"} for number in range(9)]
    scripted.plays(
        acts.reply(401, {"result": False, "error": {"code": 10545}}), acts.reply(200, ok(workspaces=rows))
    )
    with pytest.raises(WorkspaceUnknown) as caught:
        await service.find_workspace("room-7x")
    assert "room-7" in caught.value.message
    assert caught.value.message.count("room-") <= 6


async def test_name_of_several_workspaces_is_not_guessed(
    scripted: Any, service: FastioService, acts: Any
) -> None:
    rows = [{"id": "4", "name": "My room"}, {"id": "5", "name": "My room"}]
    scripted.plays(acts.reply(200, ok(workspaces=rows)))
    with pytest.raises(WorkspaceUnknown, match="4, 5"):
        await service.find_workspace("My room")


# The tree


async def test_listing_asks_for_versions_and_joins_pages(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    scripted.plays(
        acts.reply(200, ok(nodes=[ROW], pagination={"next_cursor": "c 2"})),
        acts.reply(200, ok(nodes=[ROW, ROW | {"id": "2b"}, ROW | {"id": "2c", "deleted": True}])),
    )
    parts: list[None] = []
    listed = await remote.list_folder(ROOT_NODE, lambda: parts.append(None))
    assert [node.id for node in listed] == [FILE, "2b"]
    assert len(parts) == 2
    first, second = (query_of(request) for request in scripted.seen)
    assert first == {"sort_by": "name", "page_size": "500", "output": "full"}
    assert second == first | {"cursor": "c 2"}


async def test_listing_in_circles_ends(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(acts.reply(200, ok(nodes=[ROW], next_cursor="c")))
    with pytest.raises(ProtocolViolation, match="circles"):
        await remote.list_folder(ROOT_NODE)


async def test_listing_leaves_out_what_this_client_cannot_show(
    scripted: Any, remote: FastioRemote, acts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    strange = ROW | {"id": "2b", "type": "hologram"}
    scripted.plays(
        acts.reply(200, ok(nodes=[strange, ROW], next_cursor="c")), acts.reply(200, ok(nodes=[strange]))
    )
    with caplog.at_level(logging.DEBUG, logger="mountfs.remotes"):
        assert [node.id for node in await remote.list_folder(ROOT_NODE)] == [FILE]
    (line,) = (text for text in caplog.messages if "cannot show" in text)
    assert "{'hologram': 2}" in line


async def test_details_go_in_groups_of_25(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    ids = [NodeId(f"2{number:028d}") for number in range(26)]
    scripted.plays(
        acts.reply(200, ok(format="multi", nodes=[ROW | {"id": node} for node in ids[:25]])),
        acts.reply(200, ok(format="multi", nodes=[ROW | {"id": ids[25]}])),
    )
    assert set(await remote.nodes(ids)) == set(ids)
    asked = [request.target.split("/")[5].split(",") for request in scripted.seen]
    assert asked == [ids[:25], [ids[25], ids[25]]]


async def test_rename_refused_for_any_reason_is_looked_into(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    other = ROW | {"id": "2b", "name": "taken"}
    scripted.plays(
        acts.reply(400, {"result": False, "error": {"code": 1605, "text": "no"}}),
        acts.reply(200, ok(format="multi", nodes=[ROW])),
        acts.reply(200, ok(nodes=[ROW, other])),
    )
    with pytest.raises(NameTaken):
        await remote.rename(FILE, "taken")


async def test_move_without_a_node_in_the_answer_is_read_back(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    moved = ROW | {"parent": "2d", "name": "plan (2).txt"}
    scripted.plays(acts.reply(200, ok()), acts.reply(200, ok(format="multi", nodes=[moved])))
    assert (await remote.move(FILE, NodeId("2d"))).name == "plan (2).txt"
    scripted.plays(acts.reply(200, ok()), acts.reply(503))
    with pytest.raises(OutcomeUnknown):
        await remote.move(FILE, NodeId("2d"))


async def test_trash_of_what_is_in_the_trash_succeeds(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(
        acts.reply(406, REFUSED), acts.reply(200, ok(format="multi", nodes=[ROW | {"deleted": True}]))
    )
    await remote.trash(FILE)
    scripted.plays(acts.reply(406, REFUSED), acts.reply(200, ok(format="multi", nodes=[ROW])))
    with pytest.raises(RequestRefused):
        await remote.trash(FILE)


async def test_commit_carries_the_base_and_reads_back_a_short_answer(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    details, moved_on = acts.reply(200, ok(format="multi", nodes=[FULL])), acts.reply(409, MISMATCH)
    scripted.plays(details, moved_on, acts.reply(200, ok(node=ROW)), details)
    assert (await remote.commit(FILE, UPLOAD, VERSION)).sha256 == "0" * 64
    probe = fields_of(scripted.seen[1])
    assert probe.keys() == {"metadata_short", "if_version_id"}
    assert probe["if_version_id"] != VERSION
    scripted.seen[:2] = []
    fields = fields_of(scripted.seen[0])
    assert fields["if_version_id"] == VERSION
    assert json.loads(fields["from"]) == {"type": "upload", "upload": {"id": UPLOAD}}
    assert query_of(scripted.seen[0]) == {"output": "full"}


@pytest.mark.parametrize(
    ("here", "error"),
    [
        ({"version": f"3{'z' * 28}"}, VersionMismatch),
        ({"locked": True}, LeaseHeld),
        ({}, RemoteUnavailable),
    ],
    ids=["another version", "a lock", "nothing that shows"],
)
async def test_conflict_that_is_not_explained_is_looked_at(
    scripted: Any, remote: FastioRemote, acts: Any, here: dict[str, Any], error: type[RemoteError]
) -> None:
    details, moved_on = acts.reply(200, ok(format="multi", nodes=[FULL])), acts.reply(409, MISMATCH)
    bare = acts.reply(409, {"result": False, "error": {"code": 1660, "text": "conflict"}})
    scripted.plays(details, moved_on, bare, acts.reply(200, ok(format="multi", nodes=[FULL | here])))
    with pytest.raises(error):
        await remote.commit(FILE, UPLOAD, VERSION)


async def test_added_file_is_read_back_where_the_answer_is_short(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    details = acts.reply(200, ok(format="multi", nodes=[FULL]))
    for answer in (acts.reply(200, ok(node=ROW)), acts.reply(200, ok())):
        listing = acts.reply(200, ok(nodes=[ROW]))
        steps = [answer, details] if not scripted.seen else [answer, listing, details]
        scripted.plays(*steps)
        asked = len(scripted.seen)
        assert (await remote.add_file(ROOT_NODE, "plan.txt", UPLOAD)).sha256 == "0" * 64
        request = scripted.seen[asked]
        assert urlsplit(request.target).path.endswith("/storage/root/addfile/")
        assert query_of(request) == {"output": "full"}
        fields = fields_of(request)
        assert fields["name"] == "plan.txt"
        assert json.loads(fields["from"]) == {"type": "upload", "upload": {"id": UPLOAD}}


async def test_lost_answer_to_an_added_file_is_not_repeated(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    scripted.plays(acts.reset_after_reading)
    with pytest.raises(OutcomeUnknown):
        await remote.add_file(ROOT_NODE, "plan.txt", UPLOAD)
    assert len(scripted.seen) == 1


# Reading


async def read_all(remote: FastioRemote, start: int, end: int) -> bytes:
    async with remote.read(FILE, VERSION, start, end) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_range_is_asked_for_and_checked(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(acts.reply(206, CONTENT[10:20], {"Content-Range": f"bytes 10-19/{len(CONTENT)}"}))
    assert await read_all(remote, 10, 20) == CONTENT[10:20]
    assert scripted.seen[0].headers["range"] == "bytes=10-19"
    assert scripted.seen[0].headers["accept-encoding"] == "identity"
    assert query_of(scripted.seen[0]) == {"version_id": VERSION}
    for told in ("bytes 11-20/100", "bytes */100", ""):
        scripted.plays(acts.reply(206, CONTENT[10:20], {"Content-Range": told}))
        with pytest.raises(ProtocolViolation):
            await read_all(remote, 10, 20)


async def test_range_leaves_its_connection_for_the_next(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    scripted.plays(acts.reply(206, CONTENT[:10], {"Content-Range": "bytes 0-9/10"}))
    for _ in range(3):
        assert await read_all(remote, 0, 10) == CONTENT[:10]
    assert scripted.connections == 1


async def test_service_without_ranges_is_read_through_and_remembered(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    scripted.plays(acts.reply(200, CONTENT, {"x-ve-reqid": "1"}))
    for start, end in ((100_000, 100_010), (0, len(CONTENT)), (len(CONTENT) - 1, len(CONTENT)), (0, 1)):
        assert await read_all(remote, start, end) == CONTENT[start:end]
    assert ["range" in request.headers for request in scripted.seen] == [True, False, False, False]


async def test_content_that_ends_early_is_an_error(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    whole = f"bytes 0-99/{len(CONTENT)}"
    scripted.plays(acts.reply(206, CONTENT[:50], {"Content-Range": whole}))
    with pytest.raises(RemoteUnavailable, match="50 bytes early"):
        await read_all(remote, 0, 100)
    head = f"HTTP/1.1 206 Partial\r\nContent-Range: {whole}\r\nContent-Length: 100\r\n\r\n".encode()
    scripted.plays(acts.raw(head + CONTENT[:50], close=True))
    with pytest.raises(RemoteUnavailable, match="broke off"):
        await read_all(remote, 0, 100)
    scripted.plays(acts.reply(416, b"", {"Content-Range": "bytes */5"}))
    with pytest.raises(RemoteUnavailable, match="ends before"):
        await read_all(remote, 50, 100)
    scripted.plays(acts.reply(206, b"zip", {"Content-Range": whole, "Content-Encoding": "gzip"}))
    with pytest.raises(ProtocolViolation, match="encoded"):
        await read_all(remote, 0, 100)


async def test_error_inside_a_stream_comes_out_as_it_is(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    async def stumble() -> None:
        async with remote.read(FILE, None, 0, len(CONTENT)) as pieces:
            assert await anext(pieces)
            raise KeyError

    scripted.plays(acts.reply(200, CONTENT))
    for _ in range(40):
        with pytest.raises(KeyError):
            await stumble()
    assert await read_all(remote, 0, 3) == CONTENT[:3]


async def test_stalled_stream_ends_and_can_be_cancelled(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    async def stall(stream: trio.SocketStream, server: Any) -> None:
        await server.receive(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        server.hanging.set()
        await trio.sleep_forever()

    scripted.plays(stall)
    with pytest.raises(RemoteUnavailable, match="ReadTimeout"):
        await read_all(remote, 0, 100)
    with trio.move_on_after(0.1) as scope:
        await read_all(remote, 0, 100)
    assert scope.cancelled_caught


# Uploads


async def test_small_upload_names_its_place(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(acts.reply(200, ok(id=UPLOAD, new_file_id=FILE)))
    digest = sha256(b"hello").hexdigest()
    state = await remote.upload_small(NewFile(ROOT_NODE, "plan.txt"), b"hello", digest)
    assert (state.status, state.node) == (UploadStatus.STORED, FILE)
    body = scripted.seen[0].body.decode()
    for name, value in {
        "name": "plan.txt",
        "size": "5",
        "action": "create",
        "instance_id": "4",
        "folder_id": "root",
        "profile_type": "workspace",
        "hash": digest,
        "hash_algo": "sha256",
    }.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n' in body
    assert body.endswith("\r\n\r\nhello" + body[body.rindex("\r\n--") :])
    await remote.upload_small(Unplaced("plan.txt"), b"hello", digest)
    assert "instance_id" not in scripted.seen[1].body.decode()


async def test_small_upload_that_waits_is_asked_about(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    session = {"id": UPLOAD, "status": "storing"}
    scripted.plays(acts.reply(200, ok(id=UPLOAD, new_file_id=None)), acts.reply(200, ok(session=session)))
    state = await remote.upload_small(NewFile(ROOT_NODE, "n"), b"", "0" * 64)
    assert state.status is UploadStatus.WORKING
    scripted.plays(acts.reply(200, ok(id=UPLOAD, new_file_id=None)), acts.reply(503))
    state = await remote.upload_small(NewFile(ROOT_NODE, "n"), b"", "0" * 64)
    assert (state.id, state.status) == (UPLOAD, UploadStatus.WORKING)


def upload_acts(acts: Any, *states: str) -> tuple[Any, ...]:
    """An upload in one call whose answer tells no state, and answers to questions for it."""
    sessions = (acts.reply(200, ok(session={"id": UPLOAD, "status": state})) for state in states)
    return acts.reply(200, ok(id=UPLOAD, new_file_id=None)), *sessions


async def learn_that_uploads_are_assembled(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    """One tells. Let the client find out that versions are compared, too."""
    scripted.plays(*upload_acts(acts, "complete"))
    state = await remote.upload_small(Unplaced("f"), b"x", "0" * 64)
    assert state.status is UploadStatus.ASSEMBLED
    details, moved_on = acts.reply(200, ok(format="multi", nodes=[FULL])), acts.reply(409, MISMATCH)
    scripted.plays(details, moved_on, acts.reply(200, ok(node=FULL)))
    await remote.commit(FILE, UPLOAD, VERSION)
    scripted.seen.clear()


def asked(scripted: Any) -> list[str]:
    """The last words of the requests since the last time."""
    made = [f"{each.method} {each.target.partition('?')[0].split('/')[-2]}" for each in scripted.seen]
    scripted.seen.clear()
    return made


async def upload_and_commit(remote: FastioRemote) -> RemoteNode:
    state = await remote.upload_small(Unplaced("f"), b"x", "0" * 64)
    assert state.status is UploadStatus.ASSEMBLED
    return await remote.commit(FILE, state.id, VERSION)


async def test_uploads_after_one_that_was_assembled_at_once_are_placed_unasked(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    await learn_that_uploads_are_assembled(scripted, remote, acts)
    scripted.plays(*upload_acts(acts), acts.reply(200, ok(node=FULL)))
    await upload_and_commit(remote)
    assert asked(scripted) == ["POST upload", "POST update"]
    scripted.plays(*upload_acts(acts, "storing"))
    await remote.upload_small(NewFile(ROOT_NODE, "f"), b"x", "0" * 64)
    assert asked(scripted) == ["POST upload", "GET details"], "what is to be placed is another matter"


@pytest.mark.parametrize(
    "refusal", [(406, REFUSED), (404, GONE), (409, {"result": False, "error": {"code": 1660}})]
)
async def test_upload_that_was_not_assembled_after_all_is_waited_for_and_no_other_is_presumed(
    scripted: Any, remote: FastioRemote, acts: Any, refusal: tuple[int, dict[str, Any]]
) -> None:
    await learn_that_uploads_are_assembled(scripted, remote, acts)
    looks = [acts.reply(200, ok(format="multi", nodes=[FULL])), *upload_acts(acts, "assembling")[1:]]
    is_conflict = refusal[0] == 409
    scripted.plays(
        *upload_acts(acts),
        acts.reply(*refusal),
        *(looks[:1] if is_conflict else looks),
        *upload_acts(acts, "assembling", "assembling", "complete")[1:],
        acts.reply(200, ok(node=FULL)),
    )
    assert (await upload_and_commit(remote)).id == FILE
    calls = asked(scripted)
    assert calls.count("POST upload") == 1
    assert calls[-4:] == [*["GET details"] * 3, "POST update"]
    for _ in range(2):
        scripted.plays(*upload_acts(acts, "complete"))
        await remote.upload_small(Unplaced("f"), b"x", "0" * 64)
        assert asked(scripted) == ["POST upload", "GET details"]


async def test_refusal_of_an_assembled_upload_is_told_after_a_second_try(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    await learn_that_uploads_are_assembled(scripted, remote, acts)
    refused = acts.reply(403, {"result": False, "error": {"code": 1680, "text": "no"}})
    scripted.plays(*upload_acts(acts), refused)
    with pytest.raises(AccessDenied):
        await upload_and_commit(remote)
    assert asked(scripted) == ["POST upload", "POST update"]
    looked, complete = acts.reply(200, ok(format="multi", nodes=[FULL])), upload_acts(acts, "complete")[1]
    about = (acts.reply(406, REFUSED), looked, complete)
    again = acts.reply(409, MISMATCH)
    scripted.plays(*upload_acts(acts), *about, complete, *about, looked, again)
    with pytest.raises(RequestRefused):
        await upload_and_commit(remote)


async def test_upload_that_failed_after_it_was_presumed_tells_why(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    await learn_that_uploads_are_assembled(scripted, remote, acts)
    failed = {"id": UPLOAD, "status": "assembly_failed", "status_message": "disk full"}
    looked, told = acts.reply(200, ok(format="multi", nodes=[FULL])), acts.reply(200, ok(session=failed))
    scripted.plays(*upload_acts(acts), acts.reply(406, REFUSED), looked, told)
    with pytest.raises(UploadFailed, match="disk full"):
        await upload_and_commit(remote)


@pytest.mark.parametrize(("status", "done"), [("complete", True), ("storing", True), ("uploading", False)])
async def test_session_that_went_on_by_itself_is_success(
    scripted: Any, remote: FastioRemote, acts: Any, status: str, done: bool
) -> None:
    calls: list[Callable[[], Awaitable[None]]] = [
        lambda: remote.complete_upload(UPLOAD),
        lambda: remote.send_chunk(UPLOAD, 1, BytesSource(b"x"), "0" * 64),
    ]
    for call in calls:
        session = {"id": UPLOAD, "status": status}
        scripted.plays(acts.reply(406, REFUSED), acts.reply(200, ok(session=session)))
        if done:
            await call()
        else:
            with pytest.raises(RequestRefused):
                await call()


async def test_chunk_is_repeated_with_the_same_bytes(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(acts.reply(504), acts.reset_after_reading, acts.reply(200, ok()))
    await remote.send_chunk(UPLOAD, 2, BytesSource(CONTENT), "0" * 64)
    assert [request.body.count(CONTENT) for request in scripted.seen] == [1, 1, 1]
    assert query_of(scripted.seen[2]) == {
        "order": "2",
        "size": str(len(CONTENT)),
        "hash": "0" * 64,
        "hash_algo": "sha256",
    }


TWO = [BatchFile("a", b"1", "0" * 64), BatchFile("b", b"2", "1" * 64)]


async def test_batch_is_told_row_by_row(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    rows = [
        {"index": 1, "status": "ok", "upload_id": UPLOAD, "node_id": None},
        {"index": 0, "status": "ok", "upload_id": UPLOAD, "node_id": FILE},
    ]
    scripted.plays(acts.reply(200, ok(results=rows)))
    first, second = await remote.upload_batch(FILE, TWO)
    assert isinstance(first, UploadState)
    assert isinstance(second, UploadState)
    assert (first.status, first.node) == (UploadStatus.STORED, FILE)
    assert (second.status, second.id, second.node) == (UploadStatus.WORKING, UPLOAD, None)
    body = scripted.seen[0].body
    manifest = [{"index": 0, "filename": "a", "hash": "0" * 64, "hash_algo": "sha256"}]
    manifest.append({"index": 1, "filename": "b", "hash": "1" * 64, "hash_algo": "sha256"})
    assert json.dumps(manifest).encode() in body
    assert b'name="file_1"; filename="b"' in body


async def test_batch_row_that_is_missing_or_senseless_leaves_its_file_open(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    rows = [{"index": 0, "status": "ok", "upload_id": None, "node_id": None}]
    scripted.plays(acts.reply(200, ok(results=rows)))
    assert [type(told) for told in await remote.upload_batch(FILE, TWO)] == [OutcomeUnknown, OutcomeUnknown]


async def test_batch_row_tells_its_refusal(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    rows = [{"index": 0, "status": "error", "error_code": 1688, "error_message": "credits are used up"}]
    rows.append({"index": 1, "status": "error", "error_code": 4711, "error_message": "not this one"})
    scripted.plays(acts.reply(200, ok(results=rows)))
    first, second = await remote.upload_batch(FILE, TWO)
    assert isinstance(first, QuotaExceeded)
    assert isinstance(second, RequestRefused)
    assert "not this one" in second.message


async def test_batch_is_never_sent_twice(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    for lost in (acts.reset_after_reading, acts.reply(504), acts.reply(200, b"no JSON")):
        scripted.seen.clear()
        scripted.plays(lost)
        with pytest.raises(OutcomeUnknown):
            await remote.upload_batch(FILE, TWO)
        assert len(scripted.seen) == 1


# Leases


async def test_lease_is_bounded_shown_and_released_by_query(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    scripted.plays(acts.reply(200, ok(lock_token="t/0&k")))
    assert (await remote.acquire_lease(FILE, duration_s=1, holder="host-a")).duration_s == 60
    lease = await remote.acquire_lease(FILE, duration_s=1e6, holder="host-a")
    assert lease.duration_s == 3600
    assert fields_of(scripted.seen[1])["duration"] == "3600"
    shown = json.loads(fields_of(scripted.seen[1])["client_info"])
    assert shown == {"device_name": "host-a", "client_version": "1"}
    scripted.plays(acts.reply(200, ok()))
    assert (await remote.renew_lease(FILE, lease.token)).duration_s == 3600
    assert (await remote.renew_lease(FILE, LeaseToken("of a former life"))).duration_s == 60
    await remote.release_lease(FILE, lease.token)
    released = scripted.seen[-1]
    assert (released.method, query_of(released), released.body) == ("DELETE", {"lock_token": "t/0&k"}, b"")


@pytest.mark.parametrize("status", [400, 404, 406, 409])
async def test_dead_token(scripted: Any, remote: FastioRemote, acts: Any, status: int) -> None:
    scripted.plays(acts.reply(status, GONE))
    with pytest.raises(LeaseNotHeld):
        await remote.renew_lease(FILE, LeaseToken("t"))
    await remote.release_lease(FILE, LeaseToken("t"))


async def test_lost_answer_to_a_lock_is_not_repeated(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(acts.reset_after_reading, acts.reply(200, ok(lock_token="t")))
    with pytest.raises(OutcomeUnknown):
        await remote.acquire_lease(FILE, duration_s=60, holder="h")


# Changes


async def test_poll_passes_the_cursor_as_it_is(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(acts.reply(200, ok(activity=["storage"], lastactivity="x y+z")))
    first = await remote.changes(None)
    assert (first.cursor, first.nodes, first.everything) == ("x y+z", frozenset(), False)
    assert query_of(scripted.seen[0]) == {}
    assert (await remote.changes(first.cursor, wait_s=500)).everything
    assert query_of(scripted.seen[1]) == {"lastactivity": "x y+z", "updated": "1", "wait": "95"}


async def test_poll_cut_by_a_proxy_is_no_news(
    scripted: Any, remote: FastioRemote, acts: Any, naps: list[float]
) -> None:
    scripted.plays(acts.reply(504, b"<html>"))
    told = await remote.changes(ChangeCursor("c"), wait_s=30)
    assert (told.cursor, told.nodes, told.everything, naps) == ("c", frozenset(), False, [])


async def test_refused_cursor_gives_everything(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    expired = {"result": False, "error": {"code": 158008, "params": {"reason": "cursor_expired"}}}
    scripted.plays(acts.reply(406, expired), acts.reply(200, ok(activity=[], lastactivity="new")))
    told = await remote.changes(ChangeCursor("old"))
    assert (told.cursor, told.everything) == ("new", True)


def versions_row(*ids: str) -> dict[str, Any]:
    return ok(versions=[{"id": one, "hash": one[-1] * 64, "hash_algo": "sha256"} for one in ids])


@pytest.mark.parametrize("probed", [(200, ok()), (406, REFUSED)])
async def test_service_that_compares_no_versions_is_compared_by_the_client(
    scripted: Any, remote: FastioRemote, acts: Any, probed: tuple[int, dict[str, Any]]
) -> None:
    before = acts.reply(200, ok(format="multi", nodes=[FULL]))
    theirs, ours = "3cccccccccccccccccccccccccccc", "3dddddddddddddddddddddddddddd"
    after = acts.reply(200, ok(node=FULL | {"version": ours}))
    history = acts.reply(200, versions_row(ours, VERSION))
    scripted.plays(before, acts.reply(*probed), before, after, history)
    assert (await remote.commit(FILE, UPLOAD, VERSION)).version == ours
    assert "if_version_id" not in fields_of(scripted.seen[3])
    # Somebody was first.
    scripted.plays(acts.reply(200, ok(format="multi", nodes=[FULL | {"version": theirs}])))
    with pytest.raises(VersionMismatch) as caught:
        await remote.commit(FILE, UPLOAD, VERSION)
    assert caught.value.current == theirs
    # Somebody came between the look and the change: theirs is brought back, and ours is a conflict.
    restored = acts.reply(200, ok(node=FULL | {"version": "3eeeeeeeeeeeeeeeeeeeeeeeeeeee"}))
    scripted.plays(before, after, acts.reply(200, versions_row(ours, theirs, VERSION)), restored)
    with pytest.raises(VersionMismatch, match="at the same time"):
        await remote.commit(FILE, UPLOAD, VERSION)
    assert fields_of(scripted.seen[-1]) == {"version_id": theirs}


async def test_version_made_right_behind_ours_is_not_taken_for_it(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    before = acts.reply(200, ok(format="multi", nodes=[FULL]))
    ours, theirs = "3cccccccccccccccccccccccccccc", "3dddddddddddddddddddddddddddd"
    placed = acts.reply(200, ok())
    after = acts.reply(200, ok(format="multi", nodes=[FULL | {"version": theirs, "hash": "d" * 64}]))
    history = acts.reply(200, versions_row(theirs, ours, VERSION))
    scripted.plays(before, acts.reply(406, REFUSED), before, placed, after, history)
    made = await remote.commit(FILE, UPLOAD, VERSION, sha256="c" * 64)
    assert made.version == theirs
    assert scripted.seen[-1].method == "GET", "nothing is rolled back"
    # Ours covers what somebody made before it, and somebody has changed that since.
    first = "3eeeeeeeeeeeeeeeeeeeeeeeeeeee"
    scripted.plays(before, placed, after, acts.reply(200, versions_row(theirs, ours, first, VERSION)))
    with pytest.raises(VersionMismatch) as caught:
        await remote.commit(FILE, UPLOAD, VERSION, sha256="c" * 64)
    assert caught.value.current == theirs
    assert scripted.seen[-1].method == "GET"


async def test_answer_that_names_our_version_tells_it_from_the_one_behind(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    before = acts.reply(200, ok(format="multi", nodes=[FULL]))
    ours, theirs = "3cccccccccccccccccccccccccccc", "3dddddddddddddddddddddddddddd"
    unhashed = {key: value for key, value in FULL.items() if not key.startswith("hash")}
    placed = acts.reply(200, ok(node=unhashed | {"version": ours}))
    after = acts.reply(200, ok(format="multi", nodes=[FULL | {"version": theirs}]))
    history = acts.reply(200, ok(versions=[{"id": one} for one in (theirs, ours, VERSION)]))
    scripted.plays(before, acts.reply(406, REFUSED), before, placed, after, history)
    assert (await remote.commit(FILE, UPLOAD, VERSION)).version == theirs
    assert scripted.seen[-1].method == "GET"
