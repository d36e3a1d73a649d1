"""The control directory over a real file system, without a kernel: what it adds, hides and refuses."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.daemon.control_files import AUDIT_NAME, DiskFile, lock_lines, upload_lines
from mountfs.daemon.event_stream import MOST_READERS, EventStream
from mountfs.daemon.running import LockState, WaitingUpload
from mountfs.filesystem.overlay import OverlaidFilesystem
from mountfs.filesystem.virtual_tree import FIRST, TIMES, TOP, VirtualTree
from mountfs.model.errors import (
    FileInUse,
    FileNotFound,
    IsADirectory,
    MountfsError,
    NotADirectory,
    OperationNotSupported,
    ReadOnlyMount,
    WouldBlock,
)
from mountfs.model.filesystem import AttributeChange, Caller, Handle, LockKind, LockOwner, RenameFlag
from mountfs.model.ids import ROOT_INO, Ino
from mountfs.model.virtual import Look, Snapshot, StaticDirectory, VirtualContent, VirtualNode
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.rules.happenings import Happenings, Kind
from tests.t3_filesystem.workspace_mount import WorkspaceMount

NAME = b".mountfs"
CALLER = Caller(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())


FIXED = Look(fixed=True)


class Text:
    def __init__(self, text: bytes, look: Look = FIXED) -> None:
        self.text = text
        self.look = look

    async def open(self, flags: int) -> VirtualContent:
        return Snapshot(self.text)


class Growing:
    """A branch whose entries come and go."""

    look = Look(permissions=0o500)

    def __init__(self) -> None:
        self.nodes: dict[bytes, VirtualNode] = {}

    async def find(self, name: bytes) -> VirtualNode:
        if name not in self.nodes:
            raise FileNotFound
        return self.nodes[name]

    async def entries(self) -> Sequence[tuple[bytes, VirtualNode]]:
        return list(self.nodes.items())


class World:
    def __init__(self, mount: WorkspaceMount, *, listed: bool = False) -> None:
        self.branch = Growing()
        top = StaticDirectory({b"a.txt": Text(b"hello", Look(size=5, fixed=True)), b"branch": self.branch})
        self.tree = VirtualTree(top, name=NAME, uid=1, gid=2)
        self.overlaid = OverlaidFilesystem(mount.filesystem, self.tree, name=NAME, listed=listed)

    async def names(self, ino: Ino) -> list[bytes]:
        handle = (await self.overlaid.open_directory(ino)).handle
        found: list[bytes] = []
        offset = 0
        while entries := self.overlaid.list_directory(handle, offset):
            found += [entry.name for entry in entries]
            offset = entries[-1].next_offset
        await self.overlaid.release_directory(handle)
        return found


@pytest.fixture
async def world(mount: WorkspaceMount) -> World:
    return World(mount)


async def test_directory_is_found_and_read_but_not_listed(world: World, workspace: MemoryWorkspace) -> None:
    workspace.put("b", b"theirs")
    fs = world.overlaid
    top = await fs.lookup(ROOT_INO, NAME)
    assert (top.ino, oct(top.mode), top.uid, top.gid) == (TOP, "0o40555", 1, 2)
    assert await world.names(ROOT_INO) == [b".", b"..", b"b"]
    assert await world.names(TOP) == [b".", b"..", b"a.txt", b"branch"]
    file = await fs.lookup(TOP, b"a.txt")
    assert (oct(file.mode), file.size) == ("0o100444", 5)
    opened = await fs.open(file.ino, os.O_RDONLY)
    assert (opened.keep_cache, opened.uncached) == (True, False)
    assert await fs.read(opened.handle, 1, 3) == b"ell"
    await fs.flush(opened.handle)
    await fs.release(opened.handle)
    assert fs.cache_times(file.ino) == TIMES
    assert (await fs.lookup(ROOT_INO, b"b")).ino < FIRST


async def test_listed_only_on_request(mount: WorkspaceMount) -> None:
    assert await World(mount, listed=True).names(ROOT_INO) == [b".", b"..", NAME]


async def test_entry_of_the_workspace_with_this_name_is_hidden_and_untouched(
    world: World, workspace: MemoryWorkspace
) -> None:
    workspace.put(".mountfs/theirs", b"kept")
    assert await world.names(ROOT_INO) == [b".", b".."]
    assert (await world.overlaid.lookup(ROOT_INO, NAME)).ino == TOP
    with pytest.raises(FileNotFound):
        await world.overlaid.lookup(TOP, b"theirs")
    with pytest.raises(ReadOnlyMount):
        await world.overlaid.remove_directory(ROOT_INO, NAME)
    assert workspace.files()[".mountfs/theirs"] == b"kept"


async def test_name_below_the_root_is_an_ordinary_one(world: World) -> None:
    fs = world.overlaid
    folder = await fs.make_directory(ROOT_INO, b"folder", 0o755, CALLER)
    made = await fs.make_directory(folder.ino, NAME, 0o755, CALLER)
    assert made.ino < FIRST
    await fs.remove_directory(folder.ino, NAME)


async def test_nothing_can_be_changed(world: World) -> None:
    fs = world.overlaid
    file = await fs.lookup(TOP, b"a.txt")
    refused = [
        fs.make_directory(ROOT_INO, NAME, 0o755, CALLER),
        fs.make_directory(TOP, b"x", 0o755, CALLER),
        fs.make_node(TOP, b"x", 0o100644, 0, CALLER),
        fs.make_symlink(TOP, b"x", b"y", CALLER),
        fs.create(TOP, b"x", 0o644, os.O_WRONLY, CALLER),
        fs.create_unnamed(TOP, 0o644, os.O_WRONLY, CALLER),
        fs.unlink(TOP, b"a.txt"),
        fs.remove_directory(TOP, b"branch"),
        fs.rename(TOP, b"a.txt", ROOT_INO, b"b", RenameFlag.REPLACE),
        fs.rename(ROOT_INO, b"b", TOP, b"c", RenameFlag.REPLACE),
        fs.rename(ROOT_INO, NAME, ROOT_INO, b"c", RenameFlag.EXCHANGE),
        fs.link(file.ino, ROOT_INO, b"b"),
        fs.open(file.ino, os.O_WRONLY),
        fs.open(file.ino, os.O_RDONLY | os.O_TRUNC),
        fs.set_attributes(file.ino, AttributeChange(mode=0o777), None),
        fs.set_xattr(file.ino, b"user.a", b"b"),
    ]
    for attempt in refused:
        with pytest.raises(ReadOnlyMount):
            await attempt
    with pytest.raises(OperationNotSupported):
        fs.flock(
            file.ino, Handle(FIRST + 1), LockOwner(1), LockKind.EXCLUSIVE, wait=False, granted=lambda: None
        )
    with pytest.raises(NotADirectory):
        await fs.lookup(file.ino, b"x")
    with pytest.raises(IsADirectory):
        await fs.open(TOP, os.O_RDONLY)


async def test_branch_is_asked_each_time_and_memory_follows_the_kernel(world: World) -> None:
    fs, nodes = world.overlaid, world.branch.nodes
    branch = await fs.lookup(TOP, b"branch")
    assert oct(branch.mode) == "0o40500"
    with pytest.raises(FileNotFound):
        await fs.lookup(branch.ino, b"v1")
    nodes[b"v1"] = Text(b"one")
    first = await fs.lookup(branch.ino, b"v1")
    again = await fs.lookup(branch.ino, b"v1")
    assert first.ino == again.ino
    nodes[b"v1"] = StaticDirectory({})
    assert (await fs.lookup(branch.ino, b"v1")).ino != first.ino
    known = len(world.tree)
    assert await world.names(branch.ino) == [b".", b"..", b"v1"]
    assert len(world.tree) == known
    fs.forget([(first.ino, 2), (ROOT_INO, 0)])
    assert len(world.tree) == known - 1
    with pytest.raises(FileNotFound):
        await fs.attributes(first.ino)


async def test_number_that_a_listing_shows_stays_known_while_it_is_open(world: World) -> None:
    fs = world.overlaid
    world.branch.nodes |= {b"%d" % number: Text(b"") for number in range(300)}
    branch = await fs.lookup(TOP, b"branch")
    handle = (await fs.open_directory(branch.ino)).handle
    first = (await fs.lookup(branch.ino, b"0")).ino
    fs.forget([(first, 1)])
    offset, shown = 0, 0
    while entries := fs.list_directory(handle, offset):
        for entry in entries[2 if offset == 0 else 0 :]:
            fs.remember(entry.attributes.ino)
        shown += len(entries)
        offset = entries[-1].next_offset
    assert shown == 302
    await fs.release_directory(handle)


# Events.


async def _read_lines(content: VirtualContent, size: int = 4096) -> list[dict[str, object]]:
    lines = await content.read(0, size)
    return [json.loads(line) for line in lines.splitlines()]


async def test_each_reader_has_its_own_lines_and_is_told_of_what_it_lost() -> None:
    happenings = Happenings()
    stream = EventStream(happenings)
    slow, quick = await stream.open(os.O_RDONLY), await stream.open(os.O_RDONLY)
    assert [line["event"] for line in await _read_lines(quick)] == ["listening"]
    for number in range(1_002):
        happenings.tell(Kind.CHANGED, b"%d" % number)
        if number % 100 == 0:
            assert (await _read_lines(quick, 1 << 20))[0]["path"] is not None
    lines = await _read_lines(slow, 1 << 20)
    assert [line["event"] for line in lines[:3]] == ["listening", "dropped", "changed"]
    assert (lines[1]["count"], lines[2]["path"], len(lines)) == (2, "2", 1_002)


async def test_reader_waits_until_something_happens_and_its_lines_are_whole() -> None:
    happenings = Happenings()
    stream = EventStream(happenings)
    content = await stream.open(os.O_RDONLY)
    await content.read(0, 4096)
    got: list[bytes] = []

    async def read() -> None:
        got.append(await content.read(0, 100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        with pytest.raises(WouldBlock):
            await content.read(0, 100)
        assert got == []
        happenings.tell(Kind.MOVED, b"n\xffew", **{"from": b"old"})
        happenings.tell(Kind.CONFLICT, b"x" * 100)
    assert json.loads(got[0])["from"] == "old"
    assert json.loads(got[0])["path"] == "n\\xffew"
    rest = b""
    while not rest.endswith(b"\n"):
        rest += await content.read(0, 50)
    assert json.loads(rest)["path"] == "x" * 100


async def test_stream_ends_and_does_not_wait_where_it_must_not() -> None:
    happenings = Happenings()
    stream = EventStream(happenings)
    content = await stream.open(os.O_RDONLY | os.O_NONBLOCK)
    await content.read(0, 4096)
    with pytest.raises(WouldBlock):
        await content.read(0, 4096)
    happenings.tell(Kind.LOCK_LOST, b"a")
    stream.end()
    assert (await _read_lines(content))[0]["event"] == "lock-lost"
    assert await content.read(0, 4096) == b""
    late = await stream.open(os.O_RDONLY)
    await late.read(0, 4096)
    assert await late.read(0, 4096) == b""


async def test_readers_are_bounded_and_closing_makes_room() -> None:
    stream = EventStream(Happenings())
    readers = [await stream.open(os.O_RDONLY) for _ in range(MOST_READERS)]
    with pytest.raises(FileInUse):
        await stream.open(os.O_RDONLY)
    readers[0].close()
    await stream.open(os.O_RDONLY)


async def test_program_without_a_way_to_be_interrupted_does_not_wait_for_ever() -> None:
    content = await EventStream(Happenings()).open(os.O_RDONLY)
    await content.read(0, 4096)
    with trio.fail_after(200):
        assert await content.read(0, 4096) == b"\n"


# What happens is told.


async def test_what_others_do_and_what_is_confirmed_is_told(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("folder/old", b"1")
    workspace.put("folder/gone", b"1")
    await mount.contents()
    listener = mount.tree.happenings.listen()
    await mount.wait_live()
    workspace.put("folder/new", b"1")
    workspace.put("folder/old", b"22")
    await mount.catch_up()
    await mount.write("folder/mine", b"12345")
    await mount.settle()
    told = []
    while (happening := listener.take()) is not None:
        told.append((happening.kind, happening.path))
    assert set(told) >= {(Kind.CREATED, b"folder/new"), (Kind.CHANGED, b"folder/old")}
    assert told[-1] == (Kind.CONFIRMED, b"folder/mine")
    assert mount.tree.happenings.counts[Kind.CREATED] == 1, "what a first listing shows is no news"


# The other files.


def test_lines_hold_together_whatever_the_names() -> None:
    uploads = [WaitingUpload("failed", "a\tb\n\x1b[31mc", 10, 5, "name\nrefused")]
    assert upload_lines(uploads) == b"failed\t5\t10\ta\\x09b\\x0a\\x1b[31mc\tname\\x0arefused\n"
    assert lock_lines((LockState("a", "shared", 2, 1, None),)) == b"shared\t2\t1\t-\t0\ta\n"


async def test_audit_log_is_read_as_it_grows_and_never_through_a_symlink(tmp_path: Path) -> None:
    log = tmp_path / AUDIT_NAME
    assert await (await DiskFile(log).open(os.O_RDONLY)).read(0, 100) == b""
    log.write_bytes(b"1\n")
    content = await DiskFile(log).open(os.O_RDONLY)
    assert await content.read(0, 100) == b"1\n"
    with log.open("ab") as more:
        more.write(b"2\n")
    assert await content.read(2, 100) == b"2\n"
    content.close()
    (tmp_path / "other").symlink_to(log)
    with pytest.raises(MountfsError):
        await DiskFile(tmp_path / "other").open(os.O_RDONLY)
