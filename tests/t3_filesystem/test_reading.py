"""Reading what is not in the cache: what is transferred, in how many calls, and who goes first."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.disk import DiskStep
from mountfs.model.errors import ContentDamaged, RemoteUnavailable
from mountfs.model.filesystem import FilePart
from mountfs.remotes.memory import PIECE_BYTES, MemoryWorkspace
from mountfs.rules.prefetch_plan import FIRST_BATCH_FILES, READS_BEFORE, SMALL_FILE_BYTES
from mountfs.rules.read_plan import BLOCK, FIRST_WINDOW, LAST_WINDOW, MIB
from mountfs.sync import running_hash
from mountfs.sync.content_in_memory import PART_BYTES
from mountfs.sync.fetcher import BACKGROUND_RANGES
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.path_operations import OpenPath
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, WorkspaceMount

BIG = 96 * MIB


@pytest.fixture(scope="module")
def big() -> bytes:
    """Content in which no two blocks are equal."""
    return b"".join(number.to_bytes(4, "big") * 256 for number in range(BIG // 1024))


@pytest.fixture
async def cold(mount: WorkspaceMount, workspace: MemoryWorkspace, big: bytes) -> WorkspaceMount:
    """Give a mount that knows of a big file, and has none of it."""
    workspace.put("big", big)
    await mount.catch_up()
    return mount


@pytest.fixture
async def hashed(mount: WorkspaceMount, workspace: MemoryWorkspace, big: bytes) -> WorkspaceMount:
    """Give a mount like `cold` that knows the hash of the file as well, as it does from most services."""
    await mount.listdir()
    workspace.put("big", big)
    await mount.catch_up()
    return mount


async def wait_downloads_ended(mount: WorkspaceMount, path: str, opens: int = 0) -> None:
    """Return when only `opens` programs hold the file."""
    with trio.fail_after(100):
        while mount.inode(path).opens > opens:
            await wait_all_tasks_blocked(0.01)


def counted(mount: WorkspaceMount) -> tuple[int, int]:
    """Return how many reads reached the workspace so far, and how many bytes left it."""
    return mount.memory.calls["read"], mount.memory.bytes_read


@asynccontextmanager
async def nothing_but_reads(mount: WorkspaceMount) -> AsyncIterator[None]:
    """Let every question about names and nodes hang, and fail where the block waits for one."""
    for method in ("list_folder", "nodes"):
        mount.remote.hang(method)
    with trio.fail_after(PATIENCE_S):
        yield
    mount.remote.release()


async def test_first_read_of_a_small_file_is_one_call(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("small", b"x" * 100_000)
    await mount.catch_up()
    await mount.listdir()
    async with nothing_but_reads(mount), mount.opened("small") as file:
        assert await file.read() == b"x" * 100_000
    assert counted(mount) == (1, 100_000)


async def test_many_bytes_that_are_in_memory_are_told_of_where_they_are(
    cold: WorkspaceMount, big: bytes
) -> None:
    async with cold.opened("big") as file:
        part = await cold.filesystem.locate(file.handle, 1000, 2 * PART_BYTES)
        assert isinstance(part, FilePart)
        assert os.pread(*part) == big[1000 : 1000 + 2 * PART_BYTES]
        assert await cold.filesystem.locate(file.handle, 0, 100) == big[:100]
        os.fsync(part.descriptor)
        os.posix_fadvise(part.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        assert await cold.filesystem.locate(file.handle, 1000, PART_BYTES) == big[1000 : 1000 + PART_BYTES]
        assert isinstance(await cold.filesystem.locate(file.handle, 1000, PART_BYTES), FilePart)


async def test_service_without_ranges_sends_each_byte_once(cold: WorkspaceMount, big: bytes) -> None:
    cold.memory.serves_ranges = False
    async with cold.opened("big") as file, cold.opened("big") as other:
        assert await file.read(offset=40 * MIB, size=1000) == big[40 * MIB : 40 * MIB + 1000]
        async with trio.open_nursery() as nursery:
            for offset in (0, 95 * MIB, 7 * MIB):
                nursery.start_soon(_reads, other, offset, big)
        assert await file.read() == big
        assert counted(cold) == (1, BIG)


async def _reads(file: OpenPath, offset: int, big: bytes) -> None:
    assert await file.read(offset=offset, size=1000) == big[offset : offset + 1000]


async def test_ranges_that_turn_out_not_to_be_served_cost_one_stream_more(
    cold: WorkspaceMount, big: bytes
) -> None:
    async with cold.opened("big") as file:
        await file.read(offset=50 * MIB, size=1000)
        cold.memory.serves_ranges = False
        assert await file.read() == big
        assert counted(cold)[0] == 2
        assert cold.memory.bytes_read <= BIG + BLOCK
    await wait_downloads_ended(cold, "big")
    async with cold.opened("big") as file, nothing_but_reads(cold):
        assert await file.read(offset=3, size=10) == big[3:13]
    assert counted(cold)[0] == 2


async def test_stream_brings_each_byte_once_in_few_calls(cold: WorkspaceMount, big: bytes) -> None:
    assert await cold.read("big") == big
    await wait_downloads_ended(cold, "big")
    calls, transferred = counted(cold)
    assert transferred == BIG
    assert calls <= 40


async def test_stream_has_four_ranges_under_way(cold: WorkspaceMount, big: bytes) -> None:
    async with cold.opened("big") as file:
        for offset in range(0, LAST_WINDOW // 2, MIB):
            await file.read(offset, MIB)
        await wait_downloads_ended(cold, "big", opens=1)
        cold.remote.hang("read")
        # All of this is here by now.
        for offset in range(LAST_WINDOW // 2, LAST_WINDOW + LAST_WINDOW // 2, MIB):
            assert await file.read(offset, MIB) == big[offset : offset + MIB]
        await cold.remote.wait_hanging("read")
        await wait_all_tasks_blocked(0.05)
        downloads = cold.parts.content._fetcher._active[cold.inode("big").ino]
        assert [fetch.end - fetch.start for fetch in downloads if fetch.started] == [LAST_WINDOW // 4] * 4
        cold.remote.release()
        await wait_downloads_ended(cold, "big", opens=1)


async def test_stream_is_hashed_as_it_comes_and_each_byte_once(
    hashed: WorkspaceMount, big: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[int, int]] = []
    add = running_hash._add

    def counting(
        digest: "hashlib._Hash", descriptor: int, start: int, end: int, may_go_on: Callable[[], object]
    ) -> int:
        parts.append((start, end))
        return add(digest, descriptor, start, end, may_go_on)

    monkeypatch.setattr(running_hash, "_add", counting)
    async with hashed.opened("big") as file:
        for offset in range(0, BIG, MIB):
            assert await file.read(offset, MIB) == big[offset : offset + MIB]
    assert [start for start, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] == BIG
    assert len(parts) >= 3


async def test_stream_that_is_damaged_on_its_way_is_found_at_its_end(
    hashed: WorkspaceMount, big: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = hashed.disk.write

    def damaging(step: DiskStep, descriptor: int, content: bytes, offset: int) -> int:
        spoilt = step is DiskStep.FETCH_CONTENT and offset <= 40 * MIB < offset + len(content)
        return write(step, descriptor, bytes(len(content)) if spoilt else content, offset)

    monkeypatch.setattr(hashed.disk, "write", damaging)
    with pytest.raises(ContentDamaged):
        await hashed.read("big")
    monkeypatch.undo()
    assert await hashed.read("big") == big


async def test_two_streams_of_one_file_share_what_comes(cold: WorkspaceMount, big: bytes) -> None:
    async def read() -> None:
        assert await cold.read("big") == big

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(read)
    await wait_downloads_ended(cold, "big")
    assert counted(cold)[1] == BIG


async def test_scattered_reads_bring_their_blocks_alone(cold: WorkspaceMount, big: bytes) -> None:
    offsets = [number * 7 * MIB + 12_345 for number in range(1, 12)]
    async with cold.opened("big") as file:
        for offset in offsets:
            assert await file.read(offset, 4096) == big[offset : offset + 4096]
        await wait_downloads_ended(cold, "big", opens=1)
    calls, transferred = counted(cold)
    assert calls == len(offsets)
    assert transferred <= len(offsets) * BLOCK


async def test_end_of_a_big_file_is_read_alone(cold: WorkspaceMount, big: bytes) -> None:
    async with cold.opened("big") as file:
        assert await file.read(BIG - MIB) == big[-MIB:]
    await wait_downloads_ended(cold, "big")
    assert counted(cold)[1] <= 4 * MIB


async def test_beginning_of_a_big_file_needs_one_answer(cold: WorkspaceMount, big: bytes) -> None:
    await cold.listdir()
    async with cold.opened("big") as file, nothing_but_reads(cold):
        assert await file.read(0, 4096) == big[:4096]
        await wait_downloads_ended(cold, "big", opens=1)
    assert counted(cold) == (1, FIRST_WINDOW)


async def test_reader_does_not_wait_for_a_long_range_to_come_to_it(cold: WorkspaceMount, big: bytes) -> None:
    async with cold.opened("big") as file:
        cold.remote.hang("read")
        cold.parts.content._fetcher.fetch_ahead(cold.inode("big"), 0, 8 * MIB, 8 * MIB)
        await cold.remote.wait_hanging("read")
        going_on = cold.remote.hang_no_more("read")
        with trio.fail_after(PATIENCE_S):
            assert await file.read(6 * MIB, 4096) == big[6 * MIB :][:4096]
        going_on.set()
        assert await file.read() == big
    assert counted(cold)[1] <= BIG + PIECE_BYTES


async def test_reader_goes_before_what_is_fetched_ahead(cold: WorkspaceMount, big: bytes) -> None:
    """The ranges of a stream hang; a reader elsewhere waits for none of them."""
    async with cold.opened("big") as stream, cold.opened("big") as jumper:
        await stream.read(0, 12 * MIB)
        cold.remote.hang("read")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.read, 12 * MIB, 40 * MIB)
            await cold.remote.wait_hanging("read")
            await wait_all_tasks_blocked(0.05)
            going_on = cold.remote.hang_no_more("read")
            with trio.fail_after(PATIENCE_S):
                assert await jumper.read(90 * MIB, 4096) == big[90 * MIB :][:4096]
            going_on.set()


async def test_range_that_was_queued_is_begun_for_a_reader_who_comes_to_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, big: bytes
) -> None:
    for number in range(BACKGROUND_RANGES + 1):
        workspace.put(f"{number}", big[: 2 * MIB])
    await mount.catch_up()
    await mount.listdir()
    fetcher = mount.parts.content._fetcher
    inodes = [mount.inode(f"{number}") for number in range(BACKGROUND_RANGES + 1)]
    handles = [await mount.open(f"{number}") for number in range(BACKGROUND_RANGES + 1)]
    mount.remote.hang("read")
    for inode in inodes:
        fetcher.fetch_ahead(inode, 0, 2 * MIB, 2 * MIB)
    await mount.remote.wait_hanging("read")
    await wait_all_tasks_blocked(0.05)
    going_on = mount.remote.hang_no_more("read")
    with trio.fail_after(PATIENCE_S):
        assert await handles[-1].read() == big[: 2 * MIB]
    going_on.set()
    for inode, handle in zip(inodes, handles, strict=True):
        await wait_downloads_ended(mount, f"{inode.name.decode()}", opens=1)
        await handle.close()
    assert counted(mount)[1] == len(inodes) * 2 * MIB


async def test_closing_stops_what_is_fetched_ahead_and_keeps_what_came(
    cold: WorkspaceMount, big: bytes
) -> None:
    file = await cold.open("big")
    await file.read(0, 16 * MIB)
    cold.remote.hang("read")
    await file.read(16 * MIB, BLOCK)
    await file.close()
    await wait_downloads_ended(cold, "big")
    cold.remote.release()
    transferred = counted(cold)[1]
    assert transferred < BIG
    async with cold.opened("big") as again:
        assert await again.read(0, 16 * MIB) == big[: 16 * MIB]
        await wait_downloads_ended(cold, "big", opens=1)
    assert await cold.read("big") == big


async def test_failing_range_is_repeated_and_fails_no_other(cold: WorkspaceMount, big: bytes) -> None:
    async with cold.opened("big") as file:
        cold.remote.fail("read", RemoteUnavailable("cut off"), times=3, after_effect=True)
        assert await file.read() == big
    await wait_downloads_ended(cold, "big")
    assert counted(cold)[1] <= BIG + 3 * PIECE_BYTES


async def test_stream_stays_within_its_window(cold: WorkspaceMount) -> None:
    async with cold.opened("big") as file:
        await file.read(0, 32 * MIB)
        await wait_downloads_ended(cold, "big", opens=1)
        assert counted(cold)[1] <= 32 * MIB + LAST_WINDOW


# The small files of one folder.


def put_small_files(workspace: MemoryWorkspace, count: int) -> dict[str, bytes]:
    files = {f"d/{number:03}": f"content of {number}".encode() * 100 for number in range(count)}
    for path, content in files.items():
        workspace.put(path, content)
    return files


async def test_files_read_one_after_the_other_bring_their_siblings(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    files = put_small_files(workspace, FIRST_BATCH_FILES)
    workspace.put("d/large", b"x" * (SMALL_FILE_BYTES + 1))
    await mount.catch_up()
    await mount.listdir("d")
    for path in list(files)[:READS_BEFORE]:
        await mount.read(path)
    with trio.fail_after(100):
        while not all(mount.inode(path).has_whole_content() for path in files):
            await wait_all_tasks_blocked(0.01)
    assert await mount.contents("d") == {**files, "d/large": b"x" * (SMALL_FILE_BYTES + 1)}
    assert mount.memory.calls["read"] == len(files) + 1
    assert mount.memory.bytes_read == sum(map(len, files.values())) + SMALL_FILE_BYTES + 1


async def test_two_files_of_a_folder_bring_no_siblings(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    files = put_small_files(workspace, 10)
    await mount.catch_up()
    for path in list(files)[: READS_BEFORE - 1]:
        await mount.read(path)
    await wait_all_tasks_blocked(0.1)
    assert mount.memory.calls["read"] == READS_BEFORE - 1


async def test_siblings_are_not_fetched_into_a_cache_that_is_full(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    files = put_small_files(workspace, 10)
    async with mounting(options=MountOptions(cache_limit_bytes=4096)) as mount:
        await mount.catch_up()
        for path, content in list(files.items())[:5]:
            assert await mount.read(path) == content
        await wait_all_tasks_blocked(0.1)
        assert mount.memory.calls["read"] == 5


async def test_file_that_is_changed_while_its_siblings_come_is_sent(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    files = put_small_files(workspace, 20)
    await mount.catch_up()
    await mount.listdir("d")
    for path in list(files)[:READS_BEFORE]:
        await mount.read(path)
    for path in files:
        await mount.truncate(path, 5)
    await mount.settle()
    assert workspace.files() == {path: content[:5] for path, content in files.items()}


async def test_nothing_of_a_longer_version_shows_behind_a_shorter_one(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"a long content")
    await mount.catch_up()
    assert await mount.read("a") == b"a long content"
    workspace.put("a", b"short")
    await mount.catch_up()
    assert [await mount.read("a") for _ in range(2)] == [b"short", b"short"]
