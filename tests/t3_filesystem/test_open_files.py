"""Files that stay open while they are written to are sent at intervals, and each state as it stood."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio

from mountfs.model.disk import DiskStep
from mountfs.model.filesystem import AttributeChange
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.test_fencing import Program, holder_that_wrote
from tests.t3_filesystem.test_restart import CHUNKED
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount

LINE = b"a line of a log that goes on and on\n"


@pytest.fixture(params=[True, False], ids=["passthrough", "ordinary"])
async def mount(mounting: Mounting, request: pytest.FixtureRequest) -> AsyncIterator[WorkspaceMount]:
    options = MountOptions(passthrough=request.param, open_file_interval_s=2.0, upload_delay_s=0.1)
    async with mounting(options=options) as made:
        yield made


@pytest.mark.parametrize("chunked", [False, True])
async def test_log_that_is_never_closed_is_sent_at_intervals(
    mount: WorkspaceMount, workspace: MemoryWorkspace, chunked: bool
) -> None:
    if chunked:
        workspace.limits = CHUNKED
    async with mount.opened("log", os.O_WRONLY | os.O_CREAT) as log:
        size = 0
        for _ in range(3):
            await log.write(LINE * 20, size)
            size += len(LINE) * 20
            await mount.wait_until(lambda: workspace.files().get("log") == LINE * (size // len(LINE)))  # noqa: B023 - called at once
            assert mount.inode("log").writers
    await mount.settle()
    assert workspace.files() == {"log": LINE * 60}


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_is_written_while_a_state_is_sent_is_no_part_of_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, chunked: bool
) -> None:
    """Also where it is written all the time: each version is a state that stood."""
    if chunked:
        workspace.limits = CHUNKED
    call = "send_chunk" if chunked else "upload_small"
    mount.remote.hang(call)
    async with mount.opened("log", os.O_RDWR | os.O_CREAT) as log:
        await log.write(b"1" * 4000)
        await mount.remote.wait_hanging(call)
        await log.write(b"2" * 5000)
        mount.remote.release()
        await mount.wait_until(lambda: workspace.files().get("log") == b"1" * 4000)
        await mount.wait_until(lambda: workspace.files().get("log") == b"2" * 5000)
    node = workspace.find("log")
    await mount.settle()
    assert [version.content for version in workspace.versions(node)] == [b"1" * 4000, b"2" * 5000]


async def test_locked_file_is_sent_when_it_is_unlocked(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    async with mount.opened("b", os.O_WRONLY | os.O_CREAT) as beside:
        await beside.write(b"beside it")
        await mount.wait_until(lambda: workspace.files().get("b") == b"beside it")
        assert workspace.files()["a"] == b"old"
        await program.unlock()
        assert workspace.files()["a"] == b"ours"
        await program.close()


async def test_small_content_under_a_lock_takes_one_step_of_the_disk_to_be_sent(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """An unlock waits for each: it is settled once, for its hash and its sending, and copied in memory."""
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.lock()
    await program.file.write(b"new")
    counts = mount.disk.counts.copy()
    await program.unlock()
    assert workspace.files() == {"a": b"new"}
    took = mount.disk.counts - counts
    assert took[DiskStep.WRITE_BACK_CONTENT] == (1 if mount.options.passthrough else 0)
    assert took[DiskStep.STAGE_CONTENT] == 0
    await program.close()


async def test_fsync_of_a_locked_file_sends_it_under_its_lease(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    await program.file.fsync()
    await mount.wait_until(lambda: workspace.files()["a"] == b"ours")
    assert workspace.lease_holder(workspace.find("a"), trio.current_time()) is not None
    await program.unlock()
    await program.close()


async def test_file_that_became_too_big_is_told_of_while_it_is_open(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.limits = replace(workspace.limits, file_max_bytes=10_000)
    async with mount.opened("big", os.O_WRONLY | os.O_CREAT) as file:
        await file.write(b"x" * 5000)
        await mount.wait_until(lambda: "big" in workspace.files())
        await file.write(b"x" * 10_001)
        await mount.wait_until(mount.failures)
        assert "more than the 10000 bytes" in mount.failures()["big"]
        calls = dict(mount.changing_calls())
    await mount.settle()
    assert mount.changing_calls() == calls, "nothing of it was sent"


async def test_truncation_by_name_is_sent_though_somebody_has_the_file_open_to_read(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """No close is to come that would tell that the content is complete."""
    await mount.write("a", b"content")
    await mount.settle()
    async with mount.opened("a") as reader:
        await mount.filesystem.set_attributes(reader.ino, AttributeChange(size=3), None)
        await mount.settle()
        assert workspace.files() == {"a": b"con"}
