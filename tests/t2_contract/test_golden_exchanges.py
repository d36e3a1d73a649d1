"""Requests and their answers as the specification has them, written from it alone: the client sends what they
say and understands what comes, the server takes what they say and answers so."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from email import message_from_bytes
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from mountfs.model.content_source import BytesSource
from mountfs.model.errors import LeaseHeld, RemoteError, VersionMismatch
from mountfs.model.history import SearchIn
from mountfs.model.ids import ROOT_NODE, ChangeCursor, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.remote import BatchFile, NewFile, Unplaced
from mountfs.remotes.fastio import FastioRemote, FastioService
from mountfs.remotes.fastio.capabilities import Capabilities, Capability
from mountfs.remotes.fastio.surveys import RECENT
from tests.t2_server.serving import Api, ServerThread

EXCHANGES: Final = {
    path.stem: json.loads(path.read_text())
    for path in (Path(__file__).parent / "golden" / "exchanges").iterdir()
}
HELLO: Final = b"hello"
DIGEST: Final = sha256(HELLO).hexdigest()
NODE = NodeId("2abcdefghijklmnopqrstuvwxyz01")
NOBODY = NodeId("2zzzzzzzzzzzzzzzzzzzzzzzzzzzz")
VERSION = VersionId("3abcdefghijklmnopqrstuvwxyz02")
STALE = VersionId("3abcdefghijklmnopqrstuvwxyz09")
UPLOAD = UploadId("5abcdefghijklmnopqrstuvwxyz03")
TOKEN = LeaseToken("t0k3n")
MANIFEST: Final = json.dumps([{"index": 0, "filename": "plan.txt"}])

KNOWN: Final[Mapping[str, str]] = {
    "workspace": "4",
    "org": "7",
    "node": NODE,
    "nobody": NOBODY,
    "version": VERSION,
    "stale": STALE,
    "upload": UPLOAD,
    "general": "aabcdefghijklmnopqrstuvwxyz03",
    "from": json.dumps({"type": "upload", "upload": {"id": UPLOAD}}),
    "token": TOKEN,
    "text": "words",
    "time": "2026-05-18 19:26:25 UTC",
    "hash": DIGEST,
    "json": "{}",
    "manifest": MANIFEST,
}
"""What stands for the words in braces where the client is under test."""

SHAPES: Final[Mapping[str, str]] = {
    "node": r"2[0-9a-z-]{28,33}",
    "version": r"3[0-9a-z-]{28,33}",
    "upload": r"5[0-9a-z-]{28,33}",
    "general": r"a[0-9a-z-]{28,33}",
    "text": r".+",
    "time": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d( UTC|Z)",
    "hash": r"[0-9a-f]{64}",
    "nobody": r"2[z-]{28,33}",
}
"""What the words in braces mean in an answer of the server."""


def filled(value: Any, known: Mapping[str, Any]) -> Any:
    """Put what is known in place of the words in braces."""
    if isinstance(value, dict):
        return {filled(key, known): filled(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, known) for inner in value]
    if value in ("{number}", "{code}", "{absent}"):
        return 133123 if value == "{absent}" else 1_000_000
    return re.sub(r"\{(\w+)\}", lambda match: known[match[1]], value) if isinstance(value, str) else value


# The client.

CALLS: Final[Mapping[str, Callable[[FastioRemote], Awaitable[object]]]] = {
    "createfolder": lambda remote: remote.create_folder(ROOT_NODE, "plans"),
    "list": lambda remote: remote.list_folder(ROOT_NODE),
    "details_many": lambda remote: remote.nodes([NODE]),
    "details_absent": lambda remote: remote.nodes([NOBODY]),
    "rename": lambda remote: remote.rename(NODE, "plan.txt"),
    "move": lambda remote: remote.move(NODE, ROOT_NODE),
    "delete": lambda remote: remote.trash(NODE),
    "upload_single": lambda remote: remote.upload_small(NewFile(ROOT_NODE, "plan.txt"), HELLO, DIGEST),
    "upload_session": lambda remote: remote.open_upload(Unplaced("plan.txt"), 5, DIGEST),
    "chunk": lambda remote: remote.send_chunk(UPLOAD, 1, BytesSource(HELLO), DIGEST),
    "complete": lambda remote: remote.complete_upload(UPLOAD),
    "upload_details": lambda remote: remote.upload_state(UPLOAD),
    "addfile": lambda remote: remote.add_file(ROOT_NODE, "plan.txt", UPLOAD),
    "update_guarded": lambda remote: remote.commit(NODE, UPLOAD, VERSION),
    "update_mismatch": lambda remote: remote.commit(NODE, UPLOAD, STALE),
    "lock": lambda remote: remote.acquire_lease(NODE, duration_s=60, holder="h"),
    "lock_held": lambda remote: remote.acquire_lease(NODE, duration_s=60, holder="h"),
    "heartbeat": lambda remote: remote.renew_lease(NODE, TOKEN),
    "release": lambda remote: remote.release_lease(NODE, TOKEN),
    "poll_first": lambda remote: remote.changes(None),
    "limits": lambda remote: remote.upload_limits(),
    "batch": lambda remote: remote.upload_batch(ROOT_NODE, [BatchFile("plan.txt", HELLO, DIGEST)]),
    "cancel_upload": lambda remote: remote.cancel_upload(UPLOAD),
    "describe": lambda remote: remote.describe(NODE, "words"),
    "versions": lambda remote: remote.versions(NODE),
    "restore_version": lambda remote: remote.restore_version(NODE, VERSION),
    "trash_list": lambda remote: remote.trashed(),
    "restore": lambda remote: remote.restore(NODE),
    "purge": lambda remote: remote.purge(NODE),
    "search": lambda remote: remote.search("plan.txt", among=SearchIn.NAMES, limit=10),
    "events": lambda remote: remote.events(node=NODE),
    "inventory": lambda remote: remote.inventory(None),
    "recent": lambda remote: remote.survey(ChangeCursor(f"{RECENT}0")),
    "feed_head": lambda remote: remote.survey(None),
}
MEANS: Final[Mapping[str, type[RemoteError]]] = {"update_mismatch": VersionMismatch, "lock_held": LeaseHeld}
JSON_TEXT: Final = frozenset({"from", "client_info", "manifest"})


@pytest.fixture
async def remote(scripted: Any) -> AsyncIterator[FastioRemote]:
    service = FastioService(scripted.url, "t")
    known = Capabilities()
    known.found(Capability.COMPARES_VERSIONS, True)
    yield service.remote("4", capabilities=known)
    await service.aclose()


@pytest.mark.parametrize("name", EXCHANGES)
async def test_client_sends_this_and_understands_the_answer(
    scripted: Any, remote: FastioRemote, acts: Any, name: str
) -> None:
    exchange = EXCHANGES[name]
    answer = filled(exchange["response"], KNOWN)
    before = [acts.reply(200, filled(exchange["earlier"], KNOWN))] if "earlier" in exchange else []
    scripted.plays(*before, acts.reply(answer["status"], answer["body"]))
    if name in MEANS:
        with pytest.raises(MEANS[name]):
            await CALLS[name](remote)
    else:
        await CALLS[name](remote)
    sent, wanted = scripted.seen[len(before)], exchange["request"]
    address = urlsplit(sent.target)
    assert (sent.method, address.path) == (wanted["method"], "/current/" + filled(wanted["path"], KNOWN))
    fields, files = _sent_fields(sent)
    _compare(dict(parse_qsl(address.query)), wanted.get("query", {}), wanted.get("optional", []))
    _compare(fields, wanted.get("form", wanted.get("multipart", {})), wanted.get("optional", []))
    assert files == {part: content.encode() for part, content in wanted.get("file", {}).items()}


def _sent_fields(sent: Any) -> tuple[dict[str, str], dict[str, bytes]]:
    """Fields and files of a body, in whichever form it was sent."""
    kind = sent.headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return dict(parse_qsl(sent.body.decode(), keep_blank_values=True)), {}
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + sent.body)
    fields, files = {}, {}
    for part in message.get_payload():
        assert not isinstance(part, str)
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename() is None:
            fields[name] = content.decode()
        else:
            files[name] = content
    return fields, files


def _compare(sent: Mapping[str, str], wanted: Mapping[str, str], optional: list[str]) -> None:
    assert set(wanted) <= set(sent) <= {*wanted, *optional}
    for key, value in wanted.items():
        if key == "from":
            assert json.loads(sent[key]) == json.loads(KNOWN["from"])
        elif key in JSON_TEXT:
            json.loads(sent[key])
        else:
            assert sent[key] == filled(value, KNOWN)


# The server.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerThread]:
    with ServerThread(tmp_path_factory.mktemp("golden") / "data") as running:
        yield running


def prepared(api: Api, name: str) -> dict[str, str]:
    """Bring the workspace to where the exchange begins; what stands for the words in braces then."""
    for child in api.children().values():
        api.delete(f"{api.storage}{child}/delete/")
    for child in api.children("trash").values():
        api.delete(f"{api.storage}{child}/purge/")
    workspace = api.get(f"workspace/{api.workspace}/details/")["workspace"]
    known = {**KNOWN, "workspace": workspace["id"], "org": workspace["org"]}
    if name in ("upload_single", "batch", "createfolder", "addfile"):
        known["node"] = ""
    else:
        known["node"] = api.upload("plan.txt", HELLO)
        known["version"] = api.node(known["node"])["version"]
    if name in ("update_guarded", "update_mismatch", "addfile"):
        known["upload"] = api.complete_without_target(HELLO)
    if name in ("trash_list", "restore", "purge"):
        api.delete(f"{api.storage}{known['node']}/delete/")
    if name in ("chunk", "complete", "upload_details", "cancel_upload"):
        known["upload"] = api.session("plan.txt", 5)
    if name in ("complete", "upload_details"):
        api.send_chunk(known["upload"], 1, HELLO)
    if name == "upload_details":
        api.post(f"upload/{known['upload']}/complete/")
    if name in ("heartbeat", "release", "lock_held"):
        known["token"] = api.post(f"{api.storage}{known['node']}/lock/", duration=60)["lock_token"]
    return {**known, "from": json.dumps({"type": "upload", "upload": {"id": known["upload"]}})}


@pytest.mark.parametrize("name", EXCHANGES)
def test_server_takes_this_and_answers_so(server: ServerThread, name: str) -> None:
    with server.api() as api:
        exchange = EXCHANGES[name]
        asked = filled(exchange["request"], prepared(api, name))
        given = {part: (part, content.encode()) for part, content in asked.get("file", {}).items()}
        answer = api.http.request(
            asked["method"],
            asked["path"],
            params=asked.get("query", {}),
            data=asked.get("form", asked.get("multipart")),
            files=given or None,
        )
        assert answer.status_code == exchange["response"]["status"], answer.text
        check(answer.json(), exchange["response"]["body"], "answer")


def check(found: Any, wanted: Any, where: str) -> None:
    """What was found has all that is wanted; it may have more keys."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), where
        for key, value in wanted.items():
            named = _found_key(found, key)
            assert named is not None, f"{where}: {key} is missing"
            check(found[named], value, f"{where}.{named}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for number, value in enumerate(wanted):
            check(found[number], value, f"{where}[{number}]")
    elif wanted in ("{number}", "{code}"):
        assert isinstance(found, int | float), where
    elif wanted == "{absent}":
        assert found in (133123, 191878), where
    elif isinstance(wanted, str) and wanted.startswith("{"):
        assert re.fullmatch(SHAPES[wanted.strip("{}")], found), f"{where}: {found!r}"
    else:
        assert found == wanted, where


def _found_key(found: Mapping[str, Any], wanted: str) -> str | None:
    """The key itself, or one that is what its words in braces mean."""
    shape = SHAPES[wanted.strip("{}")] if wanted.startswith("{") else re.escape(wanted)
    return next((key for key in found if re.fullmatch(shape, key)), None)
