"""Entries that nobody uses go out of memory, and nobody notices."""

import os
import stat
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.errors import FileNotFound, OperationNotPermitted
from mountfs.model.filesystem import AttributeChange, Attributes, Caller
from mountfs.model.ids import ROOT_INO, Ino
from mountfs.tree.folder_uses import SOON_S, FolderUses
from mountfs.tree.ino_set import InoSet
from mountfs.tree.inode import Inode
from mountfs.tree.unloading import make_room
from tests.t1_storage.records import folder
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, WorkspaceMount

FOLDERS, FILES = 4, 6
SMALL = MountOptions(most_resident=12)


async def _fill(mount: WorkspaceMount) -> dict[str, Attributes]:
    """Write files, send them, and return what is told of each."""
    for number in range(FOLDERS):
        await mount.mkdir(f"d{number}")
        for file in range(FILES):
            await mount.write(f"d{number}/f{file}", b"%d" % file)
    await mount.settle()
    await mount.parts.content.upkeep.save_index()
    return {path: await mount.stat(path) for path, content in (await mount.contents()).items() if content}


async def _unload(mount: WorkspaceMount) -> None:
    """Let everything go that can."""
    mount.tree.most_resident = 0
    mount.tree.uses.note(mount.tree.inodes[ROOT_INO])
    await mount.tree.journal.synced()
    await wait_all_tasks_blocked()  # who has just sent something still refers to it
    while make_room(mount.tree):
        pass


async def test_memory_is_within_its_limit_and_what_comes_back_is_the_same(mounting: Mounting) -> None:
    async with mounting(options=SMALL) as mount:
        before = await _fill(mount)
        with trio.fail_after(PATIENCE_S):
            while len(mount.tree.inodes) > SMALL.most_resident:
                await wait_all_tasks_blocked(0.001)
        for path, attributes in before.items():
            assert await mount.filesystem.attributes(attributes.ino) == attributes
            assert await mount.stat(path) == attributes
            assert await mount.read(path) == path[-1].encode()


async def test_each_operation_by_number_finds_what_is_not_in_memory(mounting: Mounting) -> None:
    async with mounting() as mount:
        filesystem, before = mount.filesystem, await _fill(mount)
        operations: list[Callable[[Ino], Awaitable[object]]] = [
            lambda ino: filesystem.set_attributes(ino, AttributeChange(mode=0o600), None),
            lambda ino: filesystem.set_attributes(ino, AttributeChange(size=1), None),
            lambda ino: filesystem.set_xattr(ino, b"user.a", b"2"),
            lambda ino: filesystem.get_xattr(ino, b"user.given"),
            lambda ino: filesystem.list_xattrs(ino),
            lambda ino: filesystem.remove_xattr(ino, b"user.given"),
        ]
        # In a folder that is asked for again and again they come back together, and stay for a while.
        inos = [before[f"d{number % FOLDERS}/f0"].ino for number in range(len(operations))]
        for ino in inos[:FOLDERS]:
            await filesystem.set_xattr(ino, b"user.given", b"1")
        for ino, operation in zip(inos, operations, strict=True):
            await mount.settle()
            await mount.parts.content.upkeep.save_index()
            await trio.sleep(SOON_S)  # by the mount's clock: by then it may be unloaded again
            await _unload(mount)
            assert ino not in mount.tree.inodes
            await operation(ino)
        await mount.settle()
        await _unload(mount)
        with pytest.raises(OperationNotPermitted):
            await filesystem.link(inos[-1], ROOT_INO, b"link")


async def test_bits_that_give_rights_go_from_what_is_not_in_memory(mounting: Mounting) -> None:
    async with mounting() as mount:
        ino = (await _fill(mount))["d0/f0"].ino
        await mount.filesystem.set_attributes(ino, AttributeChange(mode=0o6777), None)
        await mount.settle()
        with trio.fail_after(PATIENCE_S):
            while ino in mount.tree.inodes:
                await _unload(mount)
        mount.filesystem.clear_set_id(ino, Caller(uid=1234, gid=1234, pid=0))
        changed = await mount.filesystem.set_attributes(ino, AttributeChange(size=0), None)
        assert stat.S_IMODE(changed.mode) == 0o777


async def test_what_is_in_use_stays(mounting: Mounting) -> None:
    async with mounting() as mount:
        await _fill(mount)
        held = mount.inode("d0/f0")
        async with mount.opened("d0/f1") as opened:
            await mount.append("d1/f0", b"not sent")
            await _unload(mount)
            in_memory = {inode.path() for inode in mount.tree.inodes.values() if inode.is_file}
            assert in_memory == {b"d0/f0", b"d0/f1", b"d1/f0"}
            assert mount.tree.inodes[held.ino] is held
            assert mount.tree.by_node[mount.node("d0/f0")] is held
            assert await opened.read() == b"1"
            assert mount.inode("d0").loaded is False
        assert await mount.listdir("d0") == [f"f{number}" for number in range(FILES)]
        assert mount.inode("d0/f0") is held


async def test_open_directory_shows_all_its_entries_whenever_it_is_read(mounting: Mounting) -> None:
    async with mounting() as mount:
        filesystem, _ = mount.filesystem, await _fill(mount)
        handle = (await filesystem.open_directory(mount.inode("d0").ino)).handle
        await _unload(mount)
        shown: list[bytes] = []
        offset = 0
        while portion := filesystem.list_directory(handle, offset):
            shown += [entry.name for entry in portion]
            offset = portion[-1].next_offset
        assert shown == [b".", b"..", *(b"f%d" % number for number in range(FILES))]
        await filesystem.release_directory(handle)
        await _unload(mount)
        assert not mount.inode("d0").children


async def test_what_the_journal_does_not_have_yet_stays(mounting: Mounting) -> None:
    async with mounting() as mount:
        await _fill(mount)
        inode = mount.inode("d2/f2")
        ino, inode.mtime_ns = inode.ino, 1
        mount.tree.save(inode)
        del inode
        mount.tree.most_resident = 0
        make_room(mount.tree)
        assert ino in mount.tree.inodes
        await _unload(mount)
        assert ino not in mount.tree.inodes
        assert (await mount.filesystem.attributes(ino)).mtime_ns == 1


async def test_changes_of_others_reach_what_is_not_in_memory(
    mounting: Mounting, other: WorkspaceMount
) -> None:
    async with mounting() as mount:
        await _fill(mount)
        await other.catch_up()
        await _unload(mount)
        await other.write("d1/f1", b"newer")
        await other.unlink("d1/f2")
        await other.rename("d1/f3", "d2/f9")
        await other.write("d2/new", b"new")
        await other.settle()
        await mount.catch_up()
        assert await mount.contents() == await other.contents()


async def test_removed_file_that_the_kernel_refers_to_is_known_until_it_is_forgotten(
    mounting: Mounting,
) -> None:
    async with mounting() as mount:
        await _fill(mount)
        parent = (await mount.filesystem.lookup(ROOT_INO, b"d3")).ino
        ino = (await mount.filesystem.lookup(parent, b"f3")).ino
        await mount.filesystem.lookup(parent, b"f3")
        await _unload(mount)
        assert ino not in mount.tree.inodes
        await mount.filesystem.unlink(parent, b"f3")
        await mount.settle()
        assert (await mount.filesystem.attributes(ino)).nlink == 0
        mount.filesystem.forget([(ino, 2)])
        with pytest.raises(FileNotFound):
            await mount.filesystem.attributes(ino)


async def test_folder_comes_back_as_a_whole_after_some_of_its_files(mounting: Mounting) -> None:
    async with mounting() as mount:
        before = await _fill(mount)
        await mount.catch_up()  # news of them brings them back as well
        await _unload(mount)
        inos = [before[f"d0/f{number}"].ino for number in range(FILES)]
        for ino in inos[:2]:
            handle = (await mount.filesystem.open(ino, os.O_RDONLY)).handle
            await mount.filesystem.release(handle)
        assert [ino in mount.tree.inodes for ino in inos] == [True, True, *[False] * (FILES - 2)]
        await mount.filesystem.attributes(inos[2])
        assert all(ino in mount.tree.inodes for ino in inos)


def test_folder_that_is_needed_again_soon_stays() -> None:
    uses = FolderUses()
    first, second, last = (Inode(folder(ino), None) for ino in (2, 3, 4))
    for each in (first, second, last):
        uses.loaded(each, now=0.0)
    assert uses.least_used(now=1.0) == [first, second]
    uses.note(first)
    assert uses.least_used(now=1.0) == [second, last]
    with uses.keeping(second):
        assert uses.least_used(now=1.0) == [last]
    uses.unloaded(second, now=1.0, wholly=True)
    uses.loaded(second, now=2.0)
    uses.note(last)
    assert uses.least_used(now=2.0) == [first]
    assert uses.least_used(now=2.0 + SOON_S) == [first, second]


def test_set_of_inode_numbers() -> None:
    numbers = InoSet()
    for ino in (7, 8, 100_000):
        numbers.add(Ino(ino))
    numbers.discard(Ino(8))
    numbers.discard(Ino(200_000))
    assert [ino for ino in range(120_000) if Ino(ino) in numbers] == [7, 100_000]
