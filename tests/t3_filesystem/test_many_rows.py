"""A folder of many entries is merged by the portion, with the same outcome as entry by entry."""

from mountfs.model.errors import RemoteUnavailable
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.refresher import ROWS_AT_ONCE
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import WorkspaceMount

FILES = 2 * ROWS_AT_ONCE + 1


async def _list(mount: WorkspaceMount, path: str) -> None:
    """Compare the folder with the workspace, whatever time that takes: a program would not wait for long."""
    await mount.parts.refresher.compare(mount.inode(path))


async def test_the_kernel_is_told_of_the_folder_once_for_each_portion(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    workspace.create_folder(workspace.find(""), "many")
    for number in range(FILES):
        workspace.put(f"many/file{number}", b"%d" % number)
    async with mounting() as mount:
        folder = (await mount.stat("many")).ino
        mount.kernel.told.clear()
        await _list(mount, "many")
        assert len(await mount.listdir("many")) == FILES
        assert mount.kernel.told.count(("attributes", folder, b"")) == 3
        shown = await mount.stat("many")
        await mount.restart()
        assert (await mount.stat("many")).mtime_ns == shown.mtime_ns


async def test_what_was_moved_here_from_a_folder_out_of_memory_is_the_same_file(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    for name in ("from", "to"):
        workspace.create_folder(workspace.find(""), name)
    moved = [f"moved{number}" for number in range(3)]
    for name in moved:
        workspace.put(f"from/{name}", name.encode())
    async with mounting() as mount:
        await mount.listdir("from")
        before = {name: (await mount.stat(f"from/{name}")).ino for name in moved}
        await mount.stop()
        for number in range(FILES):
            workspace.put(f"to/file{number}", b"%d" % number)
        for name in moved:
            workspace.move(workspace.find(f"from/{name}"), workspace.find("to"))
        await mount.start()
        await mount.wait_live()
        await mount.stat("to")
        await _list(mount, "to")
        assert len(await mount.listdir("to")) == FILES + len(moved)
        assert {name: (await mount.stat(f"to/{name}")).ino for name in moved} == before
        assert await mount.listdir("from") == []


async def test_what_is_in_the_way_of_a_row_is_looked_at_first(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    workspace.create_folder(workspace.find(""), "many")
    workspace.put("many/name", b"the old one")
    async with mounting() as mount:
        await mount.listdir("many")
        mount.remote.fail("changes", RemoteUnavailable("the feed is down"), times=None)
        workspace.put("elsewhere", b"")
        await mount.wait_until_blind()
        workspace.rename(workspace.find("many/name"), "another name")
        workspace.put("many/name", b"the new one")
        for number in range(FILES):
            workspace.put(f"many/file{number}", b"%d" % number)
        await _list(mount, "many")
        assert await mount.read("many/name") == b"the new one"
        assert await mount.read("many/another name") == b"the old one"
        assert len(await mount.listdir("many")) == FILES + 2
