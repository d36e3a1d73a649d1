"""Paths that match `local_only`: never sent, kept over restarts, and what a rename across the border does."""

from collections.abc import AsyncIterator

import pytest

from mountfs.model.errors import AcrossFilesystems
from mountfs.model.filesystem import RenameFlag
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount

OPTIONS = MountOptions(local_only=("node_modules/", "*.tmp"))


@pytest.fixture
async def keeping(mounting: Mounting) -> AsyncIterator[WorkspaceMount]:
    async with mounting(options=OPTIONS) as mount:
        yield mount


async def state(mount: WorkspaceMount, path: str) -> bytes:
    ino = (await mount.stat(path)).ino
    return await mount.filesystem.get_xattr(ino, b"user.mountfs.state")


@pytest.mark.parametrize("cleanly", [True, False])
async def test_nothing_of_it_reaches_the_workspace_and_nothing_is_lost(
    keeping: WorkspaceMount, workspace: MemoryWorkspace, cleanly: bool
) -> None:
    await keeping.mkdir("app")
    await keeping.mkdir("app/node_modules")
    await keeping.mkdir("app/node_modules/deep")
    await keeping.write("app/node_modules/deep/index.js", b"x" * 100_000)
    await keeping.write("app/a.tmp", b"temporary")
    await keeping.write("app/main.js", b"main")
    await keeping.settle()
    for _ in range(2):
        assert workspace.files() == {"app/main.js": b"main"}
        assert workspace.folders() == {"app"}
        assert not keeping.tree.pending
        assert await state(keeping, "app/node_modules") == b"local"
        assert await state(keeping, "app/node_modules/deep/index.js") == b"local"
        assert await state(keeping, "app/main.js") == b"clean"
        assert await keeping.read("app/node_modules/deep/index.js") == b"x" * 100_000
        assert await keeping.read("app/a.tmp") == b"temporary"
        await keeping.restart(cleanly=cleanly)
        await keeping.settle()
    await keeping.write("app/node_modules/deep/index.js", b"edited")
    await keeping.remove_tree("app/node_modules/deep")
    await keeping.settle()
    assert await keeping.listdir("app/node_modules") == []
    assert workspace.folders() == {"app"}


async def test_what_moves_out_is_sent_with_all_below_it(
    keeping: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await keeping.mkdir("node_modules")
    await keeping.mkdir("node_modules/one")
    await keeping.write("node_modules/one/file", b"content")
    await keeping.write("save.tmp", b"saved")
    await keeping.settle()
    await keeping.restart()
    await keeping.rename("node_modules/one", "one")
    await keeping.rename("save.tmp", "saved")
    await keeping.settle()
    assert workspace.files() == {"one/file": b"content", "saved": b"saved"}


async def test_file_that_moves_in_leaves_the_workspace_and_is_whole_here(
    keeping: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    content = bytes(range(256)) * 20_000
    workspace.put("file", content)
    await keeping.catch_up()
    await keeping.rename("file", "file.tmp")
    await keeping.settle()
    assert workspace.files() == {}
    await keeping.catch_up()
    await keeping.restart(cleanly=False)
    assert await keeping.read("file.tmp") == content
    assert await state(keeping, "file.tmp") == b"local"
    assert keeping.tree.conflicts == {}
    await keeping.rename("file.tmp", "file")
    await keeping.settle()
    assert workspace.files() == {"file": content}


async def test_saving_by_a_local_only_name_is_one_new_version(
    keeping: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await keeping.write("file", b"first")
    await keeping.settle()
    node = workspace.find("file")
    await keeping.write("file.tmp", b"second")
    await keeping.settle()
    await keeping.rename("file.tmp", "file")
    await keeping.settle()
    assert workspace.find("file") == node
    assert [version.content for version in workspace.versions(node)] == [b"first", b"second"]
    assert workspace.trash_names() == []


async def test_directory_that_the_workspace_knows_is_moved_in_file_by_file(
    keeping: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await keeping.mkdir("lib")
    await keeping.write("lib/file", b"content")
    await keeping.settle()
    for flag in (RenameFlag.REPLACE, RenameFlag.NO_REPLACE):
        with pytest.raises(AcrossFilesystems):
            await keeping.rename("lib", "node_modules", flag)
    assert await keeping.read("lib/file") == b"content"
    await keeping.mkdir("new")
    await keeping.write("new/file", b"content")
    await keeping.rename("new", "node_modules")
    await keeping.settle()
    assert workspace.folders() == {"lib"}


async def test_file_moved_in_while_it_is_sent_leaves_the_workspace(
    keeping: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    keeping.remote.hang("upload_small")
    await keeping.write("file", b"content")
    keeping.parts.sender.expedite([keeping.inode("file")])
    await keeping.remote.wait_hanging("upload_small")
    await keeping.rename("file", "file.tmp")
    keeping.remote.release()
    inode = keeping.inode("file.tmp")
    await keeping.wait_until(lambda: not inode.sending)
    await keeping.settle()
    assert workspace.files() == {}
    assert await keeping.read("file.tmp") == b"content"
    assert await state(keeping, "file.tmp") == b"local"


async def test_what_others_made_there_is_an_ordinary_entry(
    keeping: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("theirs.tmp", b"theirs")
    await keeping.catch_up()
    assert await keeping.read("theirs.tmp") == b"theirs"
    await keeping.write("theirs.tmp", b"edited")
    await keeping.settle()
    assert workspace.files() == {"theirs.tmp": b"edited"}
    assert workspace.trash_names() == []


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_what_is_kept_here_hides_what_others_made_at_its_place_until_it_goes(
    keeping: WorkspaceMount, workspace: MemoryWorkspace, kind: str
) -> None:
    """Set aside under another name it might match no pattern, and be sent."""
    if kind == "file":
        await keeping.write("notes.tmp", b"ours")
    else:
        await keeping.mkdir("notes.tmp")
        await keeping.write("notes.tmp/file", b"ours")
    workspace.put("notes.tmp", b"theirs")
    for cleanly in (True, False):
        await keeping.catch_up()
        await keeping.settle()
        assert await keeping.listdir("") == ["notes.tmp"]
        assert await keeping.read("notes.tmp" if kind == "file" else "notes.tmp/file") == b"ours"
        assert workspace.files() == {"notes.tmp": b"theirs"}
        await keeping.restart(cleanly=cleanly)
    await keeping.listdir("")
    await keeping.rename("notes.tmp", "moved.tmp")
    assert sorted(await keeping.listdir("")) == ["moved.tmp", "notes.tmp"]
    assert await keeping.read("notes.tmp") == b"theirs"
    await keeping.settle()
    assert workspace.files() == {"notes.tmp": b"theirs"}
    assert keeping.tree.conflicts == {}


async def test_changed_patterns_count_from_the_next_start(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    async with mounting(options=OPTIONS) as mount:
        await mount.write("a.tmp", b"content")
        await mount.settle()
        assert workspace.files() == {}
        mount.options = MountOptions()
        await mount.restart()
        await mount.settle()
        assert workspace.files() == {"a.tmp": b"content"}
