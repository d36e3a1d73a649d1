"""`.mountfs/versions` over a real tree, without a kernel."""

import os
import stat
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.filesystem.virtual_tree import TOP, VirtualTree
from mountfs.model.errors import (
    ContentDamaged,
    ContentUnavailable,
    FileNotFound,
    Interrupted,
    MountfsError,
    NotADirectory,
    OperationNotSupported,
    ReadOnlyMount,
    RemoteError,
    RemoteUnavailable,
)
from mountfs.model.filesystem import AttributeChange, Attributes
from mountfs.model.ids import NodeId
from mountfs.model.interruption import InterruptibleWaits, serving
from mountfs.model.virtual import StaticDirectory
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.past_versions import BLOCK_BYTES, BLOCKS_KEPT, STREAM_IDLE_S
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.memory_history import NOON
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, WorkspaceMount, clock_standing_still


class World:
    def __init__(self, mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
        self.mount = mount
        self.workspace = workspace
        self.history = mount.history
        self.past = mount.parts.past
        top = StaticDirectory({b"versions": self.past.top})
        self.tree = VirtualTree(top, name=b".mountfs", uid=0, gid=0)

    async def find(self, path: str) -> Attributes:
        attributes = await self.tree.lookup(TOP, b"versions")
        for name in filter(None, path.split("/")):
            attributes = await self.tree.lookup(attributes.ino, name.encode())
        return attributes

    async def names(self, path: str) -> list[str]:
        handle = (await self.tree.open_directory((await self.find(path)).ino)).handle
        found: list[str] = []
        offset = 0
        while entries := self.tree.list_directory(handle, offset):
            found += [entry.name.decode() for entry in entries]
            offset = entries[-1].next_offset
        await self.tree.release_directory(handle)
        return sorted(found)[2:]

    async def read(self, path: str, offset: int = 0, size: int = 1 << 20) -> bytes:
        opened = await self.tree.open((await self.find(path)).ino, os.O_RDONLY)
        try:
            return await self.tree.read(opened.handle, offset, size)
        finally:
            await self.tree.release(opened.handle)

    @property
    def reads(self) -> int:
        return self.mount.memory.calls["read"]


@pytest.fixture
async def world(mounting: Mounting, workspace: MemoryWorkspace) -> AsyncIterator[World]:
    async with mounting(options=MountOptions()) as mount:
        yield World(mount, workspace)


def _put(workspace: MemoryWorkspace, path: str, *contents: bytes) -> NodeId:
    for content in contents:
        node = workspace.put(path, content)
    return node


async def test_versions_are_files_below_the_path_of_their_file(world: World) -> None:
    node = _put(world.workspace, "folder/a.txt", b"one", b"second")
    first, second = world.workspace.versions(node)
    assert await world.names("") == ["folder"]
    assert await world.names("folder") == ["a.txt"]
    names = [f"2026-01-09T120000Z-{first.id}.txt", f"2026-01-09T120001Z-{second.id}.txt"]
    assert await world.names("folder/a.txt") == names
    shown = await world.find(f"folder/a.txt/{names[0]}")
    assert (stat.filemode(shown.mode), shown.size, shown.mtime_ns) == ("-r--r--r--", 3, NOON)
    assert await world.read(f"folder/a.txt/{names[0]}") == b"one"
    assert await world.read(f"folder/a.txt/{names[1]}", 2, 3) == b"con"
    assert await world.read(f"folder/a.txt/{names[1]}", 6, 3) == b""
    assert world.reads == 2
    assert world.history.calls == 1


async def test_short_names_follow_the_newest(world: World) -> None:
    _put(world.workspace, "a", b"one", b"two")
    assert await world.read("a/~1") == b"one"
    assert await world.read("a/current") == b"two"
    await world.mount.write("a", b"three")
    await world.mount.settle()
    assert await world.read("a/~0") == b"three"
    assert await world.read("a/~2") == b"one"
    assert "~1" not in await world.names("a")
    opened = await world.tree.open((await world.find("a/~1")).ino, os.O_RDONLY)
    assert opened.uncached
    for absent in ("~3", "~", "x", "2026-01-09T120000Z-"):
        with pytest.raises(FileNotFound):
            await world.find(f"a/{absent}")


async def test_what_has_no_past(world: World) -> None:
    await world.mount.write("new", b"not sent")
    await world.mount.symlink("link", "new")
    assert await world.names("") == ["new"]
    assert await world.names("new") == []
    for absent in ("link", "nothing"):
        with pytest.raises(FileNotFound):
            await world.find(absent)


async def test_what_moved_or_became_another_kind_is_found_anew(world: World) -> None:
    _put(world.workspace, "a", b"one")
    place = (await world.find("a")).ino
    await world.mount.rename("a", "b")
    with pytest.raises(FileNotFound):
        await world.tree.open_directory(place)
    await world.mount.mkdir("a")
    with pytest.raises(NotADirectory):
        await world.tree.open_directory(place)
    assert await world.names("a") == []
    assert await world.read("b/~0") == b"one"


async def test_nobody_reads_the_past_of_what_he_may_not_read(world: World) -> None:
    _put(world.workspace, "folder/secret", b"one")
    owner = 4711
    await world.mount.set_attributes("folder/secret", AttributeChange(mode=0o640, uid=owner, gid=owner))
    await world.mount.set_attributes("folder", AttributeChange(mode=0o700))
    assert stat.filemode((await world.find("folder")).mode) == "dr-x------"
    assert stat.filemode((await world.find("folder/secret")).mode) == "dr-xr-x---"
    shown = await world.find("folder/secret/current")
    assert (stat.filemode(shown.mode), shown.uid, shown.gid) == ("-r--r-----", owner, owner)


async def test_nothing_is_opened_for_writing(world: World) -> None:
    _put(world.workspace, "a", b"one")
    with pytest.raises(ReadOnlyMount):
        await world.tree.open((await world.find("a/~0")).ino, os.O_WRONLY)


async def test_large_versions_come_in_blocks_that_readers_share(world: World) -> None:
    content = os.urandom(BLOCK_BYTES + 1000)
    _put(world.workspace, "large", content, b"")
    found: list[bytes] = []

    async def read(offset: int) -> None:
        found.append(await world.read("large/~1", offset, 4096))

    async with trio.open_nursery() as nursery:
        for offset in range(0, 16 * 4096, 4096):
            nursery.start_soon(read, offset)
    assert world.reads == 1
    assert sorted(found) == sorted(content[offset : offset + 4096] for offset in range(0, 16 * 4096, 4096))
    assert await world.read("large/~1", BLOCK_BYTES - 10, 5000) == content[BLOCK_BYTES - 10 :]
    assert world.reads == 2


async def _whole(world: World, path: str, step: int = 1 << 20) -> bytes:
    parts: list[bytes] = []
    while part := await world.read(path, step * len(parts), step):
        parts.append(part)
    return b"".join(parts)


async def test_version_of_a_service_without_ranges_is_sent_once(world: World) -> None:
    world.mount.memory.serves_ranges = False
    content = os.urandom(3 * BLOCK_BYTES + 1000)
    _put(world.workspace, "large", content, b"")
    _put(world.workspace, "other", content, b"")
    with clock_standing_still():
        assert await _whole(world, "large/~1") == content
        assert (world.reads, world.mount.memory.bytes_read) == (1, len(content))
        # A reader that comes elsewhere, and one that comes late, begin again.
        assert await world.read("other/~1", 2 * BLOCK_BYTES, 10) == content[2 * BLOCK_BYTES :][:10]
        assert await world.read("other/~1", 0, 10) == content[:10]
    await trio.sleep(2 * STREAM_IDLE_S)
    assert await world.read("other/~1", BLOCK_BYTES, 10) == content[BLOCK_BYTES:][:10]
    assert world.reads == 4


@pytest.mark.parametrize("way", ["fails", "is damaged"])
async def test_version_of_a_service_without_ranges_that_breaks_off(world: World, way: str) -> None:
    world.mount.memory.serves_ranges = False
    content = os.urandom(BLOCK_BYTES - 10 if way == "is damaged" else 2 * BLOCK_BYTES)
    _put(world.workspace, "large", content, b"")
    if way == "fails":
        world.mount.remote.fail("read", RemoteUnavailable("the network broke"), after_effect=True)
        assert await _whole(world, "large/~1") == content
        return
    world.history.spoils_hashes = True
    with pytest.raises(ContentDamaged):
        await world.read("large/~1")


async def test_memory_is_bounded(world: World) -> None:
    for number in range(BLOCKS_KEPT + 1):
        _put(world.workspace, f"file{number}", b"%d" % number)
    for number in range(BLOCKS_KEPT + 1):
        assert await world.read(f"file{number}/~0") == b"%d" % number
    assert await world.read(f"file{BLOCKS_KEPT}/~0") == b"%d" % BLOCKS_KEPT
    assert world.reads == BLOCKS_KEPT + 1
    assert await world.read("file0/~0") == b"0"
    assert world.reads == BLOCKS_KEPT + 2


async def test_a_broken_stream_is_continued(world: World) -> None:
    _put(world.workspace, "a", bytes(1 << 20))
    world.mount.remote.fail("read", RemoteUnavailable("broke off"), times=3, after_effect=True)
    assert await world.read("a/~0") == bytes(1 << 20)


async def test_spoilt_content_is_no_content(world: World) -> None:
    _put(world.workspace, "a", b"one")
    world.history.spoils_hashes = True
    with pytest.raises(ContentDamaged):
        await world.read("a/~0")


async def test_unknown_size_is_refused(world: World) -> None:
    _put(world.workspace, "a", b"one")
    world.history.tells_sizes = False
    (name,) = await world.names("a")
    shown = await world.find(f"a/{name}")
    assert shown.size == 0
    with pytest.raises(OperationNotSupported):
        await world.tree.open(shown.ino, os.O_RDONLY)


async def test_outage_is_an_error_at_once_and_known_lists_stay(world: World) -> None:
    _put(world.workspace, "a", b"one", b"two")
    _put(world.workspace, "b", b"one")
    names = await world.names("a")
    assert await world.read("a/~0") == b"two"
    await world.names("")
    world.mount.remote.go_offline()
    world.history.error = RemoteUnavailable("the network is down")
    world.mount.parts.connection.note_failure(world.history.error)
    calls = world.history.calls
    await trio.sleep(10)  # of a clock that is faster: the list is out of date
    with clock_standing_still():
        assert await world.names("a") == names
        assert await world.read("a/~0") == b"two"
        for attempt in (world.read("a/~1"), world.names("b")):
            with pytest.raises(RemoteUnavailable, match="down"):
                await attempt
    assert world.history.calls == calls


@pytest.mark.parametrize("what", ["list", "content"])
async def test_workspace_that_hangs_ends_in_an_error(world: World, what: str) -> None:
    _put(world.workspace, "a", b"one")
    await world.find("a")
    with trio.fail_after(PATIENCE_S), pytest.raises(ContentUnavailable):
        await _hang(world, what)
    if what == "content":
        with clock_standing_still(), pytest.raises(ContentUnavailable):
            await world.read("a/~0")


@pytest.mark.parametrize("what", ["list", "content"])
async def test_signal_ends_the_wait(world: World, what: str) -> None:
    _put(world.workspace, "a", b"one")
    await world.find("a")
    waits = InterruptibleWaits()

    async def wait() -> None:
        serving.set((waits, 1, 1))
        with pytest.raises(Interrupted):
            await _hang(world, what)

    with clock_standing_still():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while waits.program_of(1) is None:
                await wait_all_tasks_blocked()
            waits.interrupt(1)


async def _hang(world: World, what: str) -> None:
    if what == "list":
        world.history.hangs = True
        await world.names("a")
    else:
        world.mount.remote.hang("read")
        await world.read("a/~0")


async def test_refusal_reaches_the_program(world: World) -> None:
    _put(world.workspace, "a", b"one")
    world.history.error = RemoteError("no")
    with pytest.raises(MountfsError, match="no"):
        await world.names("a")
