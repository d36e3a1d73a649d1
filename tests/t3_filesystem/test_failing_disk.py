"""A disk that refuses: whoever asked is told, nothing that was closed is lost, and the mount goes on."""

import errno
import os
from collections.abc import Awaitable, Callable

import pytest

from mountfs.model.disk import DiskStep
from mountfs.model.errors import StorageError
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.storage import journal
from tests.t3_filesystem.workspace_mount import WorkspaceMount, workspace_contents

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
