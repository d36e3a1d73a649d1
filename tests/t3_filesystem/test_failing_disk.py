"""A disk that refuses: whoever asked is told, nothing that was closed is lost, and the mount goes on."""

import errno
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio

from mountfs.model.disk import DiskStep
from mountfs.model.errors import StorageError
from mountfs.model.filesystem import AttributeChange
from mountfs.model.ids import ROOT_INO
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.storage import journal
from mountfs.storage.system_disk import SystemDisk
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.path_operations import CALLER
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount, workspace_contents

pytestmark = pytest.mark.usefixtures("_soon_again")

BASE = {f"{name}{number}": name.encode() * 50_000 for name in ("cached", "remote") for number in range(3)}


@pytest.fixture
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "RETRY_S", 0.01)


async def _synced(mount: WorkspaceMount) -> None:
    async with mount.opened("cached0", os.O_RDWR) as file:
        await file.write(b"synced", 50_000)
        await file.fsync()


async def _evict(mount: WorkspaceMount) -> None:
    await mount.parts.content.upkeep.evict(limit_bytes=0)


OPERATIONS: dict[str, Callable[[WorkspaceMount], Awaitable[object]]] = {
    "create": lambda mount: mount.write("new", b"content" * 9000),
    "overwrite": lambda mount: mount.write("cached1", b"other" * 9000),
    "append": lambda mount: mount.append("cached0", b"more"),
    "truncate": lambda mount: mount.truncate("cached2", 10),
    "fsync": _synced,
    "mkdir": lambda mount: mount.mkdir("folder"),
    "rename": lambda mount: mount.rename("closed", "renamed"),
    "unlink": lambda mount: mount.unlink("cached1"),
    "upkeep": lambda mount: mount.parts.content.upkeep.save_index(),
    "read": lambda mount: mount.read("remote1"),
    "evict": _evict,
    "read what may be evicted": lambda mount: mount.read("remote1"),
}

STEPS = [
    *(DiskStep.CREATE_CONTENT, DiskStep.WRITE_CONTENT, DiskStep.RESIZE_CONTENT, DiskStep.SYNC_CONTENT),
    *(DiskStep.SYNC_CONTENT_FOLDER, DiskStep.REMOVE_CONTENT, DiskStep.EVICT_CONTENT, DiskStep.FETCH_CONTENT),
    *(DiskStep.FIT_CONTENT, DiskStep.SAVE_INDEX, DiskStep.FORGET_INDEX, DiskStep.APPEND_LOG),
    *(DiskStep.COMMIT_JOURNAL, DiskStep.SYNC_JOURNAL),
]


@pytest.mark.parametrize("step", STEPS)
async def test_program_is_told_and_everything_goes_on_when_the_disk_recovers(
    mount: WorkspaceMount, workspace: MemoryWorkspace, step: DiskStep
) -> None:
    number = errno.EIO if mount.options.passthrough else errno.ENOSPC
    for path, content in BASE.items():
        workspace.put(path, content)
    for path in ("cached0", "cached1", "cached2"):
        await mount.read(path)
    await mount.write("closed", b"closed before")
    told = set()
    for operation in OPERATIONS.values():
        mount.disk.fail(step, errno=number)
        try:
            await operation(mount)
        except StorageError as error:
            told.add(error.errno)
        mount.disk.heal()
        await _until_accepted(mount)
    assert told <= {number}
    assert mount.disk.counts[step] or mount.options.passthrough, "the step was not tried"
    await mount.settle()
    here = await mount.contents()
    assert {**here, "renamed": b""}.keys() >= {"renamed", *(path for path in BASE if path != "cached1")}
    assert b"closed before" in (here.get("closed"), here.get("renamed"))
    for path in ("remote0", "remote1", "remote2"):
        assert here[path] == BASE[path]
    assert workspace_contents(workspace) == here
    await mount.write("again", b"it goes on")
    await mount.restart(cleanly=False)
    assert await mount.contents() == {**here, "again": b"it goes on"}
    await mount.settle()
    assert workspace_contents(workspace) == {**here, "again": b"it goes on"}


async def _until_accepted(mount: WorkspaceMount) -> None:
    """Return when the journal has tried again."""
    while True:
        try:
            await mount.tree.journal.committed()
        except StorageError:
            await mount._journal._waiting.park()
        else:
            return


@pytest.mark.parametrize("way", ["create", "mknod"])
async def test_file_that_could_not_be_created_is_not_there(
    mount: WorkspaceMount, workspace: MemoryWorkspace, way: str
) -> None:
    """Whoever made a lock file of it could never make it again, nor take away what is not his."""

    async def make() -> None:
        if way == "create":
            await (await mount.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)).close()
        else:
            await mount.filesystem.make_node(ROOT_INO, b"new", stat.S_IFREG | 0o644, 0, CALLER)

    for step in (DiskStep.NAME_CONTENT, DiskStep.CREATE_CONTENT):
        mount.disk.fail(step, errno=errno.ENOSPC)
    with pytest.raises(StorageError):
        await make()
    mount.disk.heal()
    assert await mount.listdir("") == []
    await mount.settle()
    assert workspace.files() == {}
    await make()
    await mount.settle()
    assert workspace.files() == {"new": b""}


@pytest.mark.parametrize("step", [DiskStep.WRITE_CONTENT, DiskStep.APPEND_LOG, DiskStep.FETCH_CONTENT])
async def test_short_write_loses_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace, step: DiskStep
) -> None:
    """A program is told how much was written; whatever we write for ourselves is whole or not there."""
    workspace.put("remote", BASE["remote0"])
    mount.disk.shorten(step, times=1)
    written = b"content" * 1000
    async with mount.opened("new", os.O_WRONLY | os.O_CREAT) as file:
        position = 0
        while position < len(written):
            position += await mount.filesystem.write(file.handle, position, written[position:])
    if step is DiskStep.FETCH_CONTENT:
        with pytest.raises(StorageError) as caught:
            await mount.read("remote")
        assert caught.value.errno == errno.ENOSPC
    assert await mount.read("remote") == BASE["remote0"]
    await mount.restart(cleanly=False)
    expected = {"new": written, "remote": BASE["remote0"]}
    assert await mount.contents() == expected
    await mount.settle()
    assert workspace.files() == expected


@pytest.mark.parametrize("step", [DiskStep.STAGE_CONTENT, DiskStep.REPLACE_CONTENT])
@pytest.mark.parametrize("how", ["error", "short", "killed"])
async def test_newer_version_of_an_open_file_comes_when_the_disk_recovers(
    mounting: Mounting, workspace: MemoryWorkspace, step: DiskStep, how: str
) -> None:
    older, newer = b"older" * 50_000, b"newer" * 60_000
    workspace.put("a", older)
    async with mounting() as mount:
        await mount.read("a")
        file = await mount.open("a")
        assert file.backing is not None
        if how == "short":
            mount.disk.shorten(step, times=1)
        else:
            mount.disk.fail(step, errno=errno.ENOSPC)
        workspace.put("a", newer)
        await mount.catch_up()
        superseding = mount.parts.content.superseding
        if how != "short":
            with pytest.raises(StorageError) as refused:
                await superseding.ended(mount.inode("a"))
            assert refused.value.errno == errno.ENOSPC
        if how == "killed":
            await mount.crash()
            mount.disk.heal()
            await mount.start()
            assert await mount.read("a") == newer
            return
        mount.disk.heal()
        while superseding.is_under_way(mount.inode("a")):
            with suppress(StorageError):
                await superseding.ended(mount.inode("a"))
            await trio.lowlevel.checkpoint()
        assert await file.read() == newer
        await file.close()
        assert workspace.files() == {"a": newer}


async def test_content_in_conflict_goes_aside_when_the_disk_recovers(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"base")
    async with mount.opened("a", os.O_RDWR) as file:
        await file.write(b"ours")
        await file.fsync()
        workspace.put("a", b"theirs")
        mount.disk.fail(DiskStep.COPY_ASIDE, errno=errno.EIO)
        mount.parts.sender.expedite([mount.inode("a")])
        await mount.wait_until(mount.failures)
        assert await file.read() == b"ours"
        mount.disk.heal()
        mount.parts.sender.retry([mount.inode("a")])
        await mount.settle()
    await mount.settle()
    contents = await mount.contents()
    assert contents.pop("a") == b"theirs"
    assert list(contents.values()) == [b"ours"]
    assert workspace_contents(workspace) == await mount.contents()


@pytest.mark.parametrize("copied", [False, True])
async def test_content_that_goes_aside_outlives_a_kill(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def copy(step: DiskStep, source: int, offset: int, target: int, target_offset: int, size: int) -> int:
        if step is not DiskStep.COPY_ASIDE:
            return SystemDisk.copy(mount.disk, step, source, offset, target, target_offset, size)
        count = (
            SystemDisk.copy(mount.disk, step, source, offset, target, target_offset, size) if copied else 0
        )
        reached.set()
        go_on.wait()
        return count

    workspace.put("a", b"base")
    file = await mount.open("a", os.O_RDWR)
    await file.write(b"ours")
    await file.fsync()
    workspace.put("a", b"theirs")
    monkeypatch.setattr(mount.disk, "copy", copy)
    mount.parts.sender.expedite([mount.inode("a")])
    await trio.to_thread.run_sync(reached.wait)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.crash)
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    monkeypatch.undo()
    await mount.start()
    await mount.settle()
    contents = await mount.contents()
    assert contents.pop("a") == b"theirs"
    assert list(contents.values()) == [b"ours"]
    assert workspace_contents(workspace) == await mount.contents()


async def test_seal_during_a_truncation_is_no_state_to_send(
    mounting: Mounting,
    workspace: MemoryWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another descriptor is closed while a thread is at it: what there is then stood at no close."""
    reached, go_on = threading.Event(), threading.Event()

    def resize(step: DiskStep, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)
        reached.set()
        go_on.wait()

    async with mounting(options=MountOptions(passthrough=False)) as mount:
        first = await mount.open("a", os.O_RDWR | os.O_CREAT)
        second = await mount.open("a", os.O_RDWR)
        await first.write(b"x" * 1000)
        monkeypatch.setattr(mount.disk, "resize", resize)
        async with trio.open_nursery() as nursery:
            change = AttributeChange(size=10)
            nursery.start_soon(mount.filesystem.set_attributes, first.ino, change, first.handle)
            await trio.to_thread.run_sync(reached.wait)
            await second.close()
            mount.parts.sender.expedite([mount.inode("a")])
            await mount.wait_until(lambda: not mount.inode("a").sending)
            go_on.set()
        monkeypatch.undo()
        assert workspace.files() == {}
        assert not mount.failures()
        await first.close()
        await mount.settle()
        assert workspace.files() == {"a": b"x" * 10}
        assert "shorter in the cache" not in caplog.text
