"""Room, holes and copies: what of it is a change, and what is fetched for it."""

import os

import pytest
import trio
import trio.testing

from mountfs.model.allocation import Allocation, AllocationKind, SeekTarget
from mountfs.model.errors import NothingThere
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.rules.read_plan import BLOCK, MIB
from mountfs.sync import ranges
from tests.t3_filesystem.path_operations import CALLER
from tests.t3_filesystem.workspace_mount import WorkspaceMount

HOLE = Allocation(AllocationKind.HOLE, BLOCK, 2 * BLOCK, keeps_size=True)
GROW = Allocation(AllocationKind.RESERVE, 0, 2 * MIB, keeps_size=False)


async def test_hole_and_growth_are_sent_and_room_is_not(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("file", b"x" * MIB)
    await mount.settle()
    inode = mount.inode("file")
    before, base = await mount.stat("file"), inode.base
    async with mount.opened("file", os.O_RDWR) as file:
        within = Allocation(AllocationKind.RESERVE, 100, 200, keeps_size=False)
        await mount.filesystem.allocate(file.handle, within, CALLER)
        behind = Allocation(AllocationKind.RESERVE, 0, 2 * MIB, keeps_size=True)
        await mount.filesystem.allocate(file.handle, behind, CALLER)
    await mount.settle()
    assert inode.base == base
    async with mount.opened("file", os.O_RDWR) as file:
        await mount.filesystem.allocate(file.handle, HOLE, CALLER)
        await mount.filesystem.allocate(file.handle, GROW, CALLER)
    expected = b"x" * BLOCK + bytes(BLOCK) + b"x" * (MIB - 2 * BLOCK) + bytes(MIB)
    assert await mount.read("file") == expected
    await mount.settle()
    assert workspace.files()["file"] == expected
    assert (await mount.stat("file")).mtime_ns > before.mtime_ns


async def test_hole_in_a_sealed_file_survives_a_crash(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("file", b"x" * MIB)
    await mount.settle()
    async with mount.opened("file", os.O_RDWR) as file:
        await mount.filesystem.allocate(file.handle, HOLE, CALLER)
    await mount.restart(cleanly=False)
    await mount.settle()
    assert workspace.files()["file"] == b"x" * BLOCK + bytes(BLOCK) + b"x" * (MIB - 2 * BLOCK)


async def test_what_is_not_here_counts_as_data(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    workspace.put("big", b"x" * (8 * MIB))
    await mount.catch_up()
    async with mount.opened("big") as file:
        assert await mount.filesystem.seek(file.handle, 5, SeekTarget.DATA) == 5
        assert await mount.filesystem.seek(file.handle, 5, SeekTarget.HOLE) == 8 * MIB
        for outside in (8 * MIB, -1):
            with pytest.raises(NothingThere):
                await mount.filesystem.seek(file.handle, outside, SeekTarget.HOLE)
    assert mount.memory.calls["read"] == 0


async def test_copy_fetches_only_what_it_copies(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    content = b"".join(number.to_bytes(4, "big") * 256 for number in range(32 * 1024))
    workspace.put("big", content)
    await mount.catch_up()
    async with mount.opened("big") as source, mount.opened("new", os.O_RDWR | os.O_CREAT) as target:
        copied = await mount.filesystem.copy_range(
            source.handle, 20 * MIB + 7, target.handle, 3, 1000, CALLER
        )
        assert copied == 1000
    assert await mount.read("new") == bytes(3) + content[20 * MIB + 7 :][:1000]
    assert mount.memory.bytes_read < MIB
    await mount.settle()
    assert workspace.files()["new"] == await mount.read("new")


async def test_copy_of_what_is_replaced_meanwhile_has_one_version_only(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("source", b"a" * (4 * MIB))
    await mount.catch_up()
    async with mount.opened("source") as source, mount.opened("new", os.O_RDWR | os.O_CREAT) as target:
        mount.remote.hang("read")

        async def copy() -> None:
            await mount.filesystem.copy_range(source.handle, 0, target.handle, 0, 4 * MIB, CALLER)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy)
            await trio.testing.wait_all_tasks_blocked(0.01)
            workspace.put("source", b"b" * (4 * MIB))
            await mount.catch_up()
            mount.remote.release()
    assert await mount.read("new") == b"b" * (4 * MIB)


async def test_one_call_copies_a_bounded_part(mount: WorkspaceMount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "COPY_BYTES", MIB)
    await mount.write("file", b"")
    await mount.truncate("file", MIB + 10)
    async with mount.opened("file", os.O_RDWR) as file:
        size = await mount.filesystem.copy_range(file.handle, 0, file.handle, 2 * MIB, 1 << 40, CALLER)
        assert size == MIB
        assert await mount.filesystem.copy_range(file.handle, 4 * MIB, file.handle, 0, 5, CALLER) == 0
