"""How many requests and bytes common acts take; the table in docs/fastio.md tells these numbers.

Large acts are scaled down: what they take grows by the rule that the test states.
"""

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from mountfs.model.remote import UploadLimits
from mountfs.remotes.fastio import FastioService
from mountfs.rules import chunks
from mountfs.sync.own_news import DELAY_S
from scripts.lib.faulty_proxy import FaultyProxy
from tests.t2_server.serving import Api, ServerThread
from tests.t3_filesystem.served_mount import SETTINGS, wait_seen
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, RemoteMount, clock_standing_still

KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024
ROW_BYTES = 800
"""What one row of a listing takes at most, with a short name."""
LOOKS_MOST = 8
"""By when the news of what was done comes, from each of its two sources, it is looked at together or not:
four where the machine keeps pace with the test's clock, which is twenty times as fast."""
ANSWER_BYTES = 2 * KIBIBYTE
"""What an answer without content takes at most."""


@dataclass
class Cost:
    """Requests by the method of the port that makes them, and bytes of their bodies. `looks` are questions
    for details: the feed tells of our own changes too, sooner or later, and one asks for up to 25."""

    looks: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    up: int = 0
    down: int = 0


@dataclass
class Counted:
    api: Api
    proxy: FaultyProxy
    mount: RemoteMount

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        """Count what passes within the block; polls, and the survey that follows a start and every lost poll,
        are no part of an act, `looks` are counted apart."""
        seen, carried = self.proxy.seen.copy(), self.proxy.carried.copy()
        cost = Cost()
        yield cost
        cost.calls = self.proxy.seen - seen
        del cost.calls["changes"], cost.calls["pushed"], cost.calls["survey"]
        cost.looks = cost.calls.pop("nodes", 0)
        moved = self.proxy.carried - carried
        cost.up, cost.down = moved["up"], moved["down"]


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[Counted]:
    with ServerThread(tmp_path / "data", "chunk_mib=1") as server, server.api() as api:
        proxy = FaultyProxy(server.url)
        client = FastioService(proxy.url, server.token(), settings=SETTINGS)
        try:
            workspace = (await client.find_workspace("main")).id
            async with trio.open_nursery() as nursery:
                remote = client.remote(workspace)
                mount = RemoteMount(
                    nursery,
                    tmp_path / "cache",
                    remote,
                    "here",
                    MountOptions(),
                    history=remote,
                    workspace_id=workspace,
                )
                await mount.start()
                await mount.wait_live()
                with trio.fail_after(PATIENCE_S):
                    while not mount.parts.follower.is_pushed_to:  # noqa: ASYNC110 - no event tells
                        await trio.sleep(0.1)
                with clock_standing_still():
                    await mount.contents()
                await mount.parts.uploads.limits()
                yield Counted(api, proxy, mount)
                await mount.stop()
        finally:
            await client.aclose()
            await trio.to_thread.run_sync(proxy.close)


async def test_opening_what_is_cached_asks_nothing(counted: Counted) -> None:
    await counted.mount.write("f", bytes(KIBIBYTE))
    await counted.mount.settle()
    await counted.mount.catch_up()
    with counted.cost() as cost:
        assert await counted.mount.read("f") == bytes(KIBIBYTE)
    assert not cost.calls
    assert not cost.looks


async def test_opening_what_others_changed_takes_a_look_and_a_read(counted: Counted) -> None:
    await trio.to_thread.run_sync(counted.api.upload, "f", b"old")
    await wait_seen(counted.mount, {"f": b"old"})
    # What comes second of that news is no part of what follows.
    await trio.sleep(5 * DELAY_S)
    content = os.urandom(100 * KIBIBYTE)
    with counted.cost() as cost:
        await trio.to_thread.run_sync(counted.api.upload, "f", content)
        await counted.mount.catch_up()
        assert await counted.mount.read("f") == content
    assert cost.calls == Counter(read=1)
    assert 1 <= cost.looks <= LOOKS_MOST
    assert len(content) <= cost.down <= len(content) + 4 * ANSWER_BYTES


async def test_saving_1_kib_takes_two_calls(counted: Counted) -> None:
    # The first new file of a mount also finds out whether listings show new nodes at once.
    with counted.cost() as first:
        await counted.mount.write("first", os.urandom(KIBIBYTE))
        await counted.mount.settle()
    assert first.calls == Counter(upload_small=1, list_folder=1)
    with counted.cost() as new:
        await counted.mount.write("f", os.urandom(KIBIBYTE))
        await counted.mount.settle()
    assert new.calls == Counter(upload_small=1)
    assert 1 <= new.looks <= LOOKS_MOST
    assert new.up <= 2 * KIBIBYTE
    # The first commit of a mount also finds out whether versions are compared, and uploads assembled at once.
    await counted.mount.write("f", os.urandom(KIBIBYTE))
    await counted.mount.settle()
    with counted.cost() as again:
        await counted.mount.write("f", os.urandom(KIBIBYTE))
        await counted.mount.settle()
    assert again.calls == Counter(upload_small=1, commit=1)
    assert again.looks <= LOOKS_MOST
    assert again.up <= 3 * KIBIBYTE


async def test_start_asks_once_what_was_before_unless_listings_are_known_to_show_it(counted: Counted) -> None:
    assert counted.proxy.seen["changed_lately"] == 1
    await counted.mount.write("f", b"1")
    await counted.mount.settle()
    await counted.mount.restart()
    await counted.mount.wait_live()
    assert counted.proxy.seen["changed_lately"] == 1


async def test_new_files_cost_a_question_each_where_listings_lag(counted: Counted) -> None:
    counted.mount.parts.remote.listing_lacked()
    with counted.cost() as cost:
        await counted.mount.write("f", b"1")
        await counted.mount.settle()
    assert cost.calls == Counter(upload_small=1, versions=1)


async def test_saving_in_chunks_takes_four_calls_and_one_for_each(counted: Counted) -> None:
    size = 6 * MEBIBYTE
    await counted.mount.write("first", b"of the mount")
    await counted.mount.settle()
    with counted.cost() as cost:
        await counted.mount.write("f", os.urandom(size))
        await counted.mount.settle()
    assert cost.calls == Counter(open_upload=1, send_chunk=6, complete_upload=1, upload_state=1, add_file=1)
    assert cost.looks <= LOOKS_MOST
    assert size <= cost.up <= size + 6 * KIBIBYTE
    limits = UploadLimits(
        single_call_bytes=4 * MEBIBYTE,
        chunk_min_bytes=MEBIBYTE,
        chunk_max_bytes=64 * MEBIBYTE,
        chunks_max=550,
        file_max_bytes=100 * KIBIBYTE * MEBIBYTE,
        parallel_chunks=3,
    )
    gibibyte = KIBIBYTE * MEBIBYTE
    assert len(chunks.missing(gibibyte, chunks.chunk_bytes(gibibyte, limits), {})) == 128


async def test_listing_takes_a_call_for_each_500(counted: Counted) -> None:
    def store() -> None:
        folder = counted.api.folder("d")
        for start in (0, 200, 400):
            names = [f"file-{number}" for number in range(start, min(start + 200, 501))]
            manifest = [{"index": index, "filename": name} for index, name in enumerate(names)]
            form = {
                "instance_id": counted.api.workspace,
                "folder_id": folder,
                "manifest": json.dumps(manifest),
            }
            files = {f"file_{index}": (name, name.encode()) for index, name in enumerate(names)}
            assert counted.api.http.post("upload/batch/", data=form, files=files).status_code == 200

    await trio.to_thread.run_sync(store)
    await counted.mount.catch_up()
    with clock_standing_still():
        assert await counted.mount.listdir() == ["d"]
        with counted.cost() as cost:
            assert len(await counted.mount.listdir("d")) == 501
    assert cost.calls == Counter(list_folder=2)
    # The feed may tell of them meanwhile: each look is at up to 25 of them.
    assert cost.down <= 501 * (ROW_BYTES + 100) + cost.looks * 25 * ROW_BYTES


async def test_renaming_and_removing_take_a_call_each(counted: Counted) -> None:
    await counted.mount.mkdir("d")
    await counted.mount.write("f", b"content")
    await counted.mount.settle()
    await counted.mount.catch_up()
    with counted.cost() as rename:
        await counted.mount.rename("f", "g")
        await counted.mount.settle()
    assert rename.calls == Counter(rename=1)
    assert rename.looks <= LOOKS_MOST
    assert rename.up + rename.down <= 4 * ANSWER_BYTES
    await counted.mount.catch_up()
    # The first listing of a folder that was made here goes on behind its first use.
    assert await counted.mount.listdir("d") == []
    await counted.mount.parts.refresher.compare(counted.mount.inode("d"))
    with counted.cost() as move:
        await counted.mount.rename("g", "d/g")
        await counted.mount.settle()
    assert move.calls == Counter(move=1)
    assert move.looks <= LOOKS_MOST
    await counted.mount.catch_up()
    with counted.cost() as removal:
        await counted.mount.unlink("d/g")
        await counted.mount.settle()
    assert removal.calls == Counter(trash=1)
    assert removal.looks <= LOOKS_MOST
