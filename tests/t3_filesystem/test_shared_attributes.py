"""What other hosts need of a file's attributes travels in its node's free text, beside what people wrote."""

import stat
import time

import pytest
import trio

from mountfs.model.filesystem import AttributeChange
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import WorkspaceMount


async def mode(mount: WorkspaceMount, path: str) -> int:
    return stat.S_IMODE((await mount.stat(path)).mode)


def text(workspace: MemoryWorkspace, path: str) -> str:
    told = workspace.describe(workspace.find(path), 0)
    assert told is not None
    return told.text


async def chmod(mount: WorkspaceMount, path: str, bits: int) -> None:
    await mount.set_attributes(path, AttributeChange(mode=bits))


async def test_bit_reaches_another_mount_and_comes_back(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    async with mounting(name="here") as here, mounting(name="there") as there:
        await here.write("script", b"#!/bin/sh\n")
        await here.settle()
        await there.catch_up()
        assert await mode(there, "script") == 0o644
        before = await here.stat("script")
        await chmod(here, "script", 0o750)
        await here.settle()
        assert text(workspace, "script") == "[mountfs x]"
        await there.catch_up()
        assert await mode(there, "script") == 0o755
        assert await mode(here, "script") == 0o750
        assert (await here.stat("script")).mtime_ns == before.mtime_ns
        await chmod(there, "script", 0o600)
        await there.settle()
        assert text(workspace, "script") == ""
        await here.catch_up()
        assert await mode(here, "script") == 0o640
        assert len(workspace.versions(workspace.find("script"))) == 1


async def test_new_executable_is_one_in_a_new_cache(mounting: Mounting, workspace: MemoryWorkspace) -> None:
    async with mounting(name="here") as here:
        await here.write("script", b"#!/bin/sh\n")
        await chmod(here, "script", 0o755)
        await here.restart(cleanly=False)
        await here.settle()
        await here.restart()
        await here.settle()
        assert await mode(here, "script") == 0o755
    async with mounting(name="there") as there:
        assert await mode(there, "script") == 0o755
        await there.write("script", b"#!/bin/bash\n")
        await there.settle()
        assert text(workspace, "script") == "[mountfs x]"


async def test_what_people_wrote_stays_and_may_change_meanwhile(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("file", b"content")
    await mount.settle()
    workspace.set_text(workspace.find("file"), "first words")
    await chmod(mount, "file", 0o755)
    await mount.settle()
    assert text(workspace, "file") == "first words\n[mountfs x]"
    workspace.set_text(workspace.find("file"), "other words\n[mountfs x]")
    await mount.catch_up()
    assert await mode(mount, "file") == 0o755
    await chmod(mount, "file", 0o644)
    await mount.settle()
    assert text(workspace, "file") == "other words"
    workspace.set_text(workspace.find("file"), "")
    await mount.catch_up()
    assert await mode(mount, "file") == 0o644


async def test_other_bits_and_ordinary_files_cost_no_call(mount: WorkspaceMount) -> None:
    await mount.write("file", b"content")
    await chmod(mount, "file", 0o600)
    await mount.mkdir("folder")
    await chmod(mount, "folder", 0o700)
    await mount.settle()
    await chmod(mount, "file", 0o640)
    await mount.settle()
    assert "describe" not in mount.changing_calls()


@pytest.mark.parametrize("save", ["rename", "rewrite"])
async def test_bit_of_a_saved_file_is_that_of_the_new_content(
    mount: WorkspaceMount, workspace: MemoryWorkspace, save: str
) -> None:
    await mount.write("script", b"first")
    await chmod(mount, "script", 0o755)
    await mount.settle()
    if save == "rename":
        await mount.write("script.new", b"second")
        await mount.rename("script.new", "script")
    else:
        await mount.write("script", b"second")
    await mount.settle()
    assert text(workspace, "script") == ("" if save == "rename" else "[mountfs x]")


async def test_switched_off_nothing_is_told_or_taken(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount.tree.shares_attributes = False
    await mount.write("file", b"content")
    await chmod(mount, "file", 0o755)
    await mount.settle()
    assert text(workspace, "file") == ""
    workspace.put("other", b"content")
    workspace.set_text(workspace.find("other"), "[mountfs x]")
    await mount.catch_up()
    assert await mode(mount, "other") == 0o644


OLD_NS = 1_000_000_000_123_456_789
"""A time of long ago: 2001-09-09."""


async def utime(mount: WorkspaceMount, path: str, mtime_ns: int) -> None:
    await mount.set_attributes(path, AttributeChange(mtime_ns=mtime_ns))


async def mtime(mount: WorkspaceMount, path: str) -> int:
    return (await mount.stat(path)).mtime_ns


async def test_time_that_a_program_set_reaches_another_mount(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    async with mounting(name="here") as here, mounting(name="there") as there:
        await there.listdir()
        await here.write("file", b"content")
        await utime(here, "file", OLD_NS)
        await here.settle()
        await there.catch_up()
        assert await mtime(there, "file") == OLD_NS
        assert text(workspace, "file") == "[mountfs m=1000000000.123456789:ed7002b4]"
        await there.rename("file", "renamed")
        await there.settle()
        await here.catch_up()
        await utime(there, "renamed", OLD_NS + 1_000_000_000)
        await there.settle()
        await here.catch_up()
        assert await mtime(here, "renamed") == await mtime(there, "renamed") == OLD_NS + 1_000_000_000
        await here.restart()
        assert await mtime(here, "renamed") == OLD_NS + 1_000_000_000


async def test_time_belongs_to_the_content_it_was_set_for(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    async with mounting(name="here") as here, mounting(name="there") as there:
        await there.listdir()
        await here.write("file", b"content")
        await utime(here, "file", OLD_NS)
        await here.settle()
        workspace.put("file", b"of somebody else")
        for mount in (here, there):
            await mount.catch_up()
            assert abs(await mtime(mount, "file") - time.time_ns()) < 60_000_000_000
        await there.write("file", b"ours")
        await there.settle()
        assert text(workspace, "file") == ""


async def test_ordinary_writes_and_sends_tell_of_no_time(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("file", b"content")
    await mount.settle()
    await utime(mount, "file", time.time_ns())
    await mount.settle()
    await mount.rename("file", "other")
    await mount.settle()
    assert "describe" not in mount.changing_calls()


async def test_answer_from_before_a_change_does_not_take_it_back(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("file", b"content")
    await mount.settle()
    mount.remote.hang("describe")
    await chmod(mount, "file", 0o755)
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.remote.wait_hanging("describe")
    asked = trio.current_time()
    late = workspace.describe(workspace.find("file"), asked)
    assert late is not None
    mount.remote.release()
    await mount.settle()
    await mount.parts.refresher._adopt(late, asked)
    assert await mode(mount, "file") == 0o755


async def test_bit_that_is_on_its_way_is_none_of_the_file_that_is_saved_over_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("file", b"old")
    await mount.settle()
    mount.remote.hang("describe")
    await chmod(mount, "file", 0o755)
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.remote.wait_hanging("describe")
    await mount.write("new", b"new")
    await mount.rename("new", "file")
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.wait_until(lambda: mount.inode("file").pending is None)
    mount.remote.release()
    for _ in range(2):
        await mount.settle()
        await mount.catch_up()
        assert await mode(mount, "file") == 0o644
    assert text(workspace, "file") == ""
    assert workspace.files() == {"file": b"new"}
