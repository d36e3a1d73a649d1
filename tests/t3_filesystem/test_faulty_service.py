"""Every fault of the wire on every kind of operation (long, as there are many): a proxy spoils requests.

The mounts have no kernel, and a clock twenty times as fast as the server's.
"""

import errno
import os
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from mountfs.kernel.errno_map import errno_for
from mountfs.model.errors import ContentDamaged, ContentUnavailable, RemoteError, RemoteUnavailable
from mountfs.remotes.fastio import FastioService, FastioSettings
from mountfs.sync.refresher import RECHECK_S
from mountfs.sync.sender import SLOW_RETRY_S
from scripts.lib import faults
from scripts.lib.faulty_proxy import Fault, FaultyProxy
from tests.t2_server.serving import Api, ServerProcess
from tests.t3_filesystem.workspace_mount import MountOptions, RemoteMount
from tests.t5_kernel.mounted import remote_tree, sha256, trashed_names
from tests.waiting import eventually

SETTINGS = FastioSettings(patience_s=24, read_s=5)
"""By the fast clock: what hangs is given up after a quarter of a second."""

PATIENT = FastioSettings(patience_s=1200, read_s=1200)
"""Where nothing hangs: a minute, however busy the machine is."""

EVERY_CELL = bool(os.environ.get("MOUNTFS_EVERY_FAULT"))
"""Try every fault on every operation, for some minutes."""

CELLS_SKIPPED = 6

SLACK_S = 60
"""By the fast clock: three seconds for a busy machine."""

MEBIBYTE = 1024 * 1024
SMALL = b"small content"
LARGE = bytes(range(256)) * 4 * 1024 * 5
"""Above the 4 MiB of a single call."""
MIDDLE = LARGE[: 600 * 1024]
"""Comes whole when any of it is read."""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("service") / "data", "--no-fsync") as process:
        yield process


@dataclass
class Case:
    """One workspace, its server reached directly and through the proxy, and a mount through the proxy."""

    api: Api
    proxy: FaultyProxy
    mount: RemoteMount
    expected: dict[str, bytes | None] = field(default_factory=dict)
    """Path to content, None for a folder: what mount and workspace have at the end."""
    trashed: set[str] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    """Files that have more than one version at the end."""

    async def in_workspace(self, work: Callable[[], object]) -> None:
        """Change the workspace directly, and wait until the mount knows."""
        await trio.to_thread.run_sync(work)
        await self.mount.catch_up()

    def check_workspace(self) -> None:
        tree = remote_tree(self.api)
        found = {path: node.sha256 if node.kind == "file" else None for path, node in tree.items()}
        assert found == {
            path: sha256(content) if content is not None else None for path, content in self.expected.items()
        }
        counts = {path: len(self.api.versions(node.id)) for path, node in tree.items() if node.kind == "file"}
        assert {path: count for path, count in counts.items() if count > 1} == self.versions
        assert trashed_names(self.api) == self.trashed

    async def check(self) -> None:
        """The workspace and the mount have just what was asked for, once."""
        await trio.to_thread.run_sync(self.check_workspace)
        assert not self.mount.tree.pending
        assert not self.mount.tree.conflicts
        assert await self.mount.contents() == self.expected


@pytest.fixture
async def case(tmp_path: Path, service: ServerProcess) -> AsyncIterator[Case]:
    async with made_case(tmp_path, service) as made:
        yield made


@asynccontextmanager
async def made_case(
    folder: Path, server: ServerProcess, client_settings: FastioSettings = SETTINGS
) -> AsyncIterator[Case]:
    with server.api() as api:
        name = f"w{uuid.uuid4().hex[:16]}"
        made = api.post("org/local/create/workspace/", folder_name=name)["workspace"]
        api.workspace = made["id"]
        proxy = FaultyProxy(server.url)
        client = FastioService(proxy.url, server.token(), settings=client_settings)
        try:
            async with trio.open_nursery() as nursery:
                remote = client.remote(made["id"])
                options = MountOptions()
                mount = RemoteMount(
                    nursery,
                    folder / "cache",
                    remote,
                    "here",
                    options,
                    history=remote,
                    workspace_id=made["id"],
                )
                await mount.start()
                await mount.wait_live()
                yield Case(api, proxy, mount)
                if mount.is_running:
                    await mount.stop()
        finally:
            await client.aclose()
            await trio.to_thread.run_sync(proxy.close)


# Operations: each is prepared in good weather, and then done with requests of these methods spoiled.


@dataclass(frozen=True)
class Operation:
    methods: tuple[str, ...]
    act: Callable[[Case], Awaitable[None]]
    prepare: Callable[[Case], Awaitable[None]] | None = None


async def _upload_batch(case: Case) -> None:
    case.expected |= {name: SMALL + name.encode() for name in ("a", "b", "c")}
    for name in ("a", "b", "c"):
        await case.mount.write(name, SMALL + name.encode())


async def _upload_small(case: Case) -> None:
    case.expected["small"] = SMALL
    await case.mount.write("small", SMALL)


async def _prepare_version(case: Case) -> None:
    await _upload_small(case)
    await case.mount.settle()


async def _upload_version(case: Case) -> None:
    case.expected["small"] = SMALL * 2
    case.versions["small"] = 2
    await case.mount.write("small", SMALL * 2)


async def _upload_large(case: Case) -> None:
    case.expected["large"] = LARGE
    await case.mount.write("large", LARGE)


async def _prepare_read(case: Case) -> None:
    case.expected = {"large": LARGE, "middle": MIDDLE}

    def store() -> None:
        case.api.upload("middle", MIDDLE)
        _store(case.api, "large", LARGE)

    await case.in_workspace(store)
    assert await case.mount.listdir() == ["large", "middle"]


async def _read_whole(case: Case) -> None:
    assert await case.mount.read("middle") == MIDDLE


async def _read_range(case: Case) -> None:
    async with case.mount.opened("large") as file:
        assert await file.read(3 * MEBIBYTE, 5000) == LARGE[3 * MEBIBYTE : 3 * MEBIBYTE + 5000]


async def _prepare_listing(case: Case) -> None:
    def store() -> None:
        folder = case.api.folder("folder")
        case.api.upload("first", b"1", folder)
        case.api.upload("second", b"2", folder)

    await case.in_workspace(store)
    case.expected = {"folder": None, "folder/first": b"1", "folder/second": b"2"}
    assert await case.mount.listdir() == ["folder"]


async def _list(case: Case) -> None:
    assert await case.mount.listdir("folder") == ["first", "second"]


async def _prepare_move(case: Case) -> None:
    await case.mount.mkdir("folder")
    await case.mount.write("small", SMALL)
    await case.mount.settle()


async def _move(case: Case) -> None:
    case.expected = {"folder": None, "folder/renamed": SMALL}
    case.versions = {"folder/renamed": 2}  # a rename makes one
    await case.mount.rename("small", "folder/renamed")


async def _prepare_delete(case: Case) -> None:
    await case.mount.write("small", SMALL)
    await case.mount.settle()


async def _delete(case: Case) -> None:
    case.trashed = {"small"}
    await case.mount.unlink("small")


async def _make_folder(case: Case) -> None:
    case.expected["folder"] = None
    await case.mount.mkdir("folder")


async def _poll(case: Case) -> None:
    def change() -> None:
        node = case.api.upload("new", SMALL)
        case.api.upload("other", SMALL)
        case.api.post(f"{case.api.storage}{node}/update/", name="renamed")

    await trio.to_thread.run_sync(change)
    case.expected |= {"renamed": SMALL, "other": SMALL}
    case.versions = {"renamed": 2}
    with trio.fail_after(200):
        while not {"other", "renamed"} <= set(await case.mount.listdir()):  # noqa: ASYNC110 - a program that looks
            await trio.sleep(0.5)


def _store(api: Api, name: str, content: bytes) -> None:
    session = api.session(name, len(content), **api.target())
    api.send_chunk(session, 1, content)
    api.post(f"upload/{session}/complete/")
    assert api.finished(session)["status"] == "stored"


CHUNKED = ("open_upload", "send_chunk", "complete_upload", "upload_state", "add_file")

OPERATIONS = {
    "upload in a batch": Operation(("upload_batch",), _upload_batch),
    "upload in one call": Operation(("upload_small",), _upload_small),
    "new version": Operation(("upload_small", "commit"), _upload_version, _prepare_version),
    "upload in chunks": Operation(CHUNKED, _upload_large),
    "read whole": Operation(("read",), _read_whole, _prepare_read),
    "read a range": Operation(("read",), _read_range, _prepare_read),
    "list": Operation(("list_folder",), _list, _prepare_listing),
    "move": Operation(("move", "rename"), _move, _prepare_move),
    "delete": Operation(("trash",), _delete, _prepare_delete),
    "mkdir": Operation(("create_folder",), _make_folder),
    "poll": Operation(("changes",), _poll),
}

PASSING = {
    "reset before": faults.reset_before,
    "reset after": faults.reset_after,
    "hang before": faults.hang_before,
    "hang after": faults.hang_after,
    "delay": faults.delayed(0.2),
    "trickle": faults.trickled,
    "truncated answer": faults.truncated,
    "502 before": faults.gateway_before(502),
    "503 before": faults.gateway_before(503),
    "504 before": faults.gateway_before(504),
    "502 after": faults.gateway_after(502),
    "503 after": faults.gateway_after(503),
    "504 after": faults.gateway_after(504),
    "HTML before": faults.page_before,
    "HTML after": faults.page_after,
    "429": faults.slow_down,
    "429 with a hint": faults.come_back_in(2),
    "500": faults.broken_inside,
    "409": faults.conflicting,
    "404": faults.absent,
    "410": faults.gone,
}
"""Faults that pass by themselves: what was asked for is done in the end, and nobody need do anything."""


WRITING = [name for name in OPERATIONS if name not in ("read whole", "read a range", "list", "poll")]
READING = ["read whole", "read a range", "list"]


def _cells(rows: Iterable[str], columns: Iterable[str]) -> list[tuple[str, str]]:
    """Every pair where the environment asks for them; else few, but of each row and column some."""
    pairs = [
        (row, column, number + place)
        for number, row in enumerate(rows)
        for place, column in enumerate(columns)
    ]
    return [(row, column) for row, column, place in pairs if EVERY_CELL or place % CELLS_SKIPPED == 0]


@pytest.mark.parametrize(("fault", "operation"), _cells(PASSING, OPERATIONS))
async def test_fault_that_passes(case: Case, fault: str, operation: str) -> None:
    done = await _prepared(case, operation)
    for method in done.methods:
        case.proxy.plan(PASSING[fault], method)
    await done.act(case)
    await _end_well(case)
    assert set(case.proxy.spoiled) == set(done.methods)


SEEDS = range(1, 21 if EVERY_CELL else 3)

UNTRUE_ABSENCES = {"404", "410"}
"""Who is told twice that something is not there has to believe it."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_faults_on_random_operations_lose_nothing(case: Case, seed: int) -> None:
    quick = [fault for name, fault in PASSING.items() if "hang" not in name and name not in UNTRUE_ABSENCES]
    case.proxy.plan_at_random(seed, 0.3, quick)
    chance, mount, expected = random.Random(seed), case.mount, case.expected
    for number in range(40):
        name, known = f"file{chance.randrange(12)}", sorted(expected)
        old = chance.choice(known) if known else None
        what = chance.choice(["write", "write", "save", "rename", "delete"])
        if old is None or what == "write":
            expected[name] = chance.randbytes(chance.randrange(2000))
            await mount.write(name, expected[name] or b"")
        elif what == "save":
            expected[old] = chance.randbytes(chance.randrange(2000))
            await mount.write("temporary", expected[old] or b"")
            await mount.rename("temporary", old)
        elif what == "rename" and name != old:
            expected[name] = expected.pop(old)
            await mount.rename(old, name)
        else:
            del expected[old]
            await mount.unlink(old)
        if number % 8 == 7:
            mount.parts.sender.expedite(list(mount.tree.pending.values()))
            with trio.move_on_after(20):
                await mount.wait_idle()
    case.proxy.heal()
    mount.parts.sender.retry(list(mount.tree.pending.values()))
    await mount.settle()
    assert not mount.failures()
    assert await mount.contents() == expected
    there = {path: node.sha256 for path, node in remote_tree(case.api).items()}
    assert there == {path: sha256(content or b"") for path, content in expected.items()}
    assert case.proxy.spoiled.total() > 1


@pytest.mark.parametrize("operation", WRITING)
async def test_refused_connections(case: Case, operation: str) -> None:
    done = await _prepared(case, operation)
    await case.mount.listdir()
    case.proxy.set_refusing(True)
    await done.act(case)
    case.mount.parts.sender.expedite(list(case.mount.tree.pending.values()))
    await eventually(lambda: not case.mount.parts.connection.online, limit_s=200)
    case.proxy.heal()
    await _end_well(case)


async def _prepared(case: Case, operation: str) -> Operation:
    found = OPERATIONS[operation]
    if found.prepare is not None:
        await found.prepare(case)
    return found


async def _end_well(case: Case) -> None:
    await case.mount.settle()
    assert not case.mount.failures()
    await case.check()


# Refusals: nothing but somebody's action helps.


@dataclass(frozen=True)
class Refusal:
    """`code`: what a program that reads sees. `hint`: words of what the status says is to be done."""

    fault: Fault
    code: int
    hint: str


REFUSALS = {
    "401": Refusal(faults.token_expired, errno.EACCES, "MOUNTFS_TOKEN"),
    "402 credits": Refusal(faults.credits_used_up, errno.EDQUOT, "extend the plan"),
    "402 plan": Refusal(faults.plan_too_small, errno.EDQUOT, "extend the plan"),
    "403": Refusal(faults.forbidden, errno.EACCES, "ask for access"),
    "406": Refusal(faults.invalid, errno.EIO, "mountfs retry"),
    "413": Refusal(faults.too_large, errno.EFBIG, "mountfs discard"),
}


@pytest.mark.parametrize(("refusal", "operation"), _cells(REFUSALS, WRITING))
async def test_refusal_parks_the_change_with_its_reason(case: Case, refusal: str, operation: str) -> None:
    refused = REFUSALS[refusal]
    done = await _prepared(case, operation)
    # The files of a batch that is refused go alone.
    alone = ["upload_small"] if "upload_batch" in done.methods else []
    case.proxy.plan(refused.fault, done.methods[-1], *alone, times=None)
    await done.act(case)
    await case.mount.settle()
    parked = [inode for inode in case.mount.tree.pending.values() if inode.failure is not None]
    assert parked
    for inode in parked:
        assert f"HTTP {refusal[:3]}" in str(inode.failure)
        assert refused.hint in case.mount.parts.sender.hints[inode.ino]
    case.proxy.heal()
    case.mount.parts.sender.retry(parked)
    await _end_well(case)


@pytest.mark.parametrize(("refusal", "operation"), _cells(REFUSALS, READING))
async def test_refused_read_tells_why_and_works_afterwards(case: Case, refusal: str, operation: str) -> None:
    refused = REFUSALS[refusal]
    done = await _prepared(case, operation)
    case.proxy.plan(refused.fault, *done.methods, times=None)
    with pytest.raises(RemoteError, match=f"HTTP {refusal[:3]}") as told:
        await done.act(case)
    assert errno_for(told.value) == refused.code
    case.proxy.heal()
    await done.act(case)
    await case.check()


@pytest.mark.parametrize(("operation", "limit_s"), [("read whole", 30), ("list", 10)])
async def test_what_is_not_here_and_does_not_come_is_an_error_in_time(
    case: Case, operation: str, limit_s: float
) -> None:
    done = await _prepared(case, operation)
    case.proxy.plan(faults.hang_before, *done.methods, times=None)
    began = trio.current_time()
    with pytest.raises((ContentUnavailable, RemoteUnavailable)) as told:
        await done.act(case)
    assert errno_for(told.value) == errno.ETIMEDOUT
    assert trio.current_time() - began < limit_s + SLACK_S


async def test_with_an_expired_token_what_is_cached_is_served_and_work_goes_on(case: Case) -> None:
    await case.mount.mkdir("folder")
    await case.mount.write("folder/old", SMALL)
    await case.mount.settle()
    assert await case.mount.contents() == {"folder": None, "folder/old": SMALL}
    case.proxy.plan(faults.token_expired, times=None)
    case.proxy.set_refusing(True)
    case.proxy.set_refusing(False)
    await case.mount.wait_until_blind()
    await trio.sleep(RECHECK_S)
    await case.mount.write("folder/new", SMALL)
    case.expected = {"folder": None, "folder/old": SMALL, "folder/new": SMALL}
    assert await case.mount.contents() == case.expected
    assert "MOUNTFS_TOKEN" in str(case.mount.parts.connection.last_error)
    assert "HTTP 401" in (await _parked(case))["folder/new"]
    case.proxy.heal()
    case.mount.parts.sender.retry([case.mount.inode("folder/new")])
    await _end_well(case)


# Content that is spoiled on its way.


@pytest.mark.parametrize("operation", ["upload in a batch", "upload in one call", "new version"])
async def test_content_that_arrives_spoiled_is_sent_again(case: Case, operation: str) -> None:
    done = await _prepared(case, operation)
    case.proxy.plan(faults.spoiled_on_the_way, done.methods[0])
    await done.act(case)
    await _end_well(case)
    assert case.proxy.spoiled[done.methods[0]] == 1


async def test_chunk_that_arrives_spoiled_is_sent_again(case: Case) -> None:
    case.proxy.plan(faults.spoiled_on_the_way, "send_chunk")
    await _upload_large(case)
    await _end_well(case)
    assert case.proxy.spoiled["send_chunk"] == 1


async def test_small_file_with_a_flipped_bit_is_fetched_again(case: Case) -> None:
    await _prepare_read(case)
    case.proxy.plan(faults.flipped, "read")
    assert await case.mount.read("middle") == MIDDLE
    assert case.proxy.seen["read"] == 2


async def test_large_file_with_a_flipped_bit_fails_and_is_right_at_the_next_read(case: Case) -> None:
    await _prepare_read(case)
    case.proxy.plan(faults.flipped, "read")
    with pytest.raises(ContentDamaged) as told:
        await case.mount.read("large")
    assert errno_for(told.value) == errno.EIO
    assert await case.mount.read("large") == LARGE


# Uploads that the service gives up.


@pytest.mark.parametrize("status", ["assembly_failed", "store_failed"])
@pytest.mark.parametrize("method", ["complete_upload", "upload_state"])
async def test_chunked_upload_that_fails_at_the_service_is_begun_anew(
    case: Case, method: str, status: str
) -> None:
    case.proxy.plan(faults.session_ends(status), method)
    await _upload_large(case)
    await _end_well(case)
    assert case.proxy.spoiled[method] == 1


@pytest.mark.parametrize("method", ["send_chunk", "complete_upload", "upload_state"])
async def test_session_that_vanishes_is_begun_anew(case: Case, method: str) -> None:
    case.proxy.plan(faults.session_vanishes, method)
    await _upload_large(case)
    await _end_well(case)
    assert case.proxy.seen["open_upload"] == 2


@pytest.mark.parametrize(
    ("operation", "method"),
    [("upload in one call", "nodes"), ("new version", "commit"), ("upload in chunks", "add_file")],
)
async def test_wrong_hash_is_no_success(case: Case, operation: str, method: str) -> None:
    done = await _prepared(case, operation)
    case.proxy.plan(faults.wrong_hash, method)
    await done.act(case)
    await case.mount.settle()
    assert case.proxy.spoiled[method] == 1
    await _end_well(case)


async def test_session_of_a_file_that_was_removed_is_given_back(case: Case) -> None:
    case.proxy.plan(faults.reset_before, "complete_upload", times=None)
    await case.mount.write("large", LARGE)
    case.mount.parts.sender.expedite(list(case.mount.tree.pending.values()))
    await eventually(lambda: case.proxy.spoiled["complete_upload"], limit_s=200)
    await case.mount.unlink("large")
    case.proxy.heal()
    await eventually(lambda: case.proxy.seen["cancel_upload"], limit_s=200)
    await eventually(lambda: not case.mount.tree.open_uploads, limit_s=200)
    await _end_well(case)


async def test_what_is_assembled_already_is_not_sent_again(case: Case) -> None:
    """The service tells of no chunks any more."""
    case.proxy.plan(faults.reset_before, "add_file")
    await _upload_large(case)
    await _end_well(case)
    assert case.proxy.spoiled["add_file"] == 1
    assert (case.proxy.seen["open_upload"], case.proxy.seen["send_chunk"]) == (1, 1)


# What is known beforehand is not tried.


async def _parked(case: Case) -> dict[str, str]:
    await case.mount.settle()
    return case.mount.failures()


async def test_file_above_the_limit_is_parked_before_anything_is_sent(case: Case) -> None:
    case.proxy.plan(
        faults.told(limits={"size": len(LARGE) - 1, "chunk_size": MEBIBYTE, "chunks": 35}), "upload_limits"
    )
    await case.mount.write("large", LARGE)
    assert f"more than the {len(LARGE) - 1} bytes" in (await _parked(case))["large"]
    assert case.proxy.seen["open_upload"] == 0


async def test_refused_suffix_is_parked_before_anything_is_sent(case: Case) -> None:
    suffixes = faults.told(restricted_extensions=["exe"], enforcement_enabled=True)
    case.proxy.plan(suffixes, "upload_limits", skip=1)
    for name in ("a.exe", "b.txt"):
        await case.mount.write(name, SMALL)
    assert await _parked(case) == {"a.exe": "the workspace takes no files with the extension .exe"}
    await case.mount.rename("a.exe", "a.bin")
    case.expected = {"a.bin": SMALL, "b.txt": SMALL}
    await _end_well(case)


async def test_without_credits_one_file_tries_for_all(tmp_path: Path, service: ServerProcess) -> None:
    # An answer that comes late would be asked for once more.
    async with made_case(tmp_path, service, PATIENT) as case:
        names = [f"file{number}" for number in range(20)]
        await case.mount.write("first", SMALL)
        case.proxy.plan(faults.credits_used_up, "upload_small", "upload_batch", times=None)
        began = trio.current_time()
        await _parked(case)
        for name in names:
            await case.mount.write(name, SMALL)
        assert (await _parked(case)).keys() == {"first", *names}
        tries = case.proxy.seen["upload_small"]
        assert 1 <= tries <= 1 + (trio.current_time() - began) / SLOW_RETRY_S
        assert case.proxy.seen["upload_batch"] == 0
        case.proxy.heal()
        case.expected = dict.fromkeys(["first", *names], SMALL)
        case.mount.parts.sender.retry([case.mount.inode("first")])
        await case.mount.wait_until(lambda: not case.mount.tree.pending)
        await _end_well(case)


# The feed.

FEED = {
    "each row twice": faults.rows_twice,
    "rows out of order": faults.rows_reversed,
    "rows told again": faults.rows_again(),
    "expired cursor": faults.cursor_expired,
    "cursor that is gone": faults.cursor_gone,
}


@pytest.mark.parametrize("fault", FEED)
async def test_feed(case: Case, fault: str) -> None:
    await case.in_workspace(lambda: case.api.upload("first", b"1"))
    assert await case.mount.listdir() == ["first"]
    case.proxy.plan(FEED[fault], "changes", times=3)
    await _poll(case)
    case.expected["first"] = b"1"
    await case.check()
    assert case.proxy.spoiled["changes"]
