"""A symlink is a file on the workspace that holds its target, and whose free text says that it is one."""

import stat
from collections.abc import AsyncIterator

import pytest

from mountfs.model.errors import AccessDenied, OutcomeUnknown
from mountfs.model.filesystem import RenameFlag
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.test_shared_attributes import text
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount


@pytest.fixture
async def there(mounting: Mounting) -> AsyncIterator[WorkspaceMount]:
    """Another host, which knows the root."""
    async with mounting(name="there") as made:
        await made.listdir()
        yield made


async def shown(mount: WorkspaceMount, path: str) -> str:
    """Return what a program sees: `-> TARGET` of a symlink, the content of a file."""
    attributes = await mount.stat(path)
    if stat.S_ISLNK(attributes.mode):
        target = await mount.readlink(path)
        assert attributes.size == len(target)
        return f"-> {target}"
    return (await mount.read(path)).decode()


async def test_link_reaches_another_mount_and_a_new_cache(
    mount: WorkspaceMount, there: WorkspaceMount, mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.symlink("d/link", "../some file")
    await mount.restart(cleanly=False)
    await mount.settle()
    assert workspace.files() == {"d/link": b"../some file"}
    assert text(workspace, "d/link") == "[mountfs link=../some%20file]"
    await there.catch_up()
    assert await shown(there, "d/link") == "-> ../some file"
    await there.restart()
    assert await shown(there, "d/link") == "-> ../some file"
    async with mounting(name="new") as new:
        assert await shown(new, "d/link") == "-> ../some file"
    assert await shown(mount, "d/link") == "-> ../some file"


async def test_renamed_and_removed_anywhere(
    mount: WorkspaceMount, there: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.symlink("one", "target")
    await mount.symlink("two", "target")
    await mount.settle()
    await there.catch_up()
    before = (await mount.stat("one")).ino
    await there.rename("one", "renamed")
    await there.unlink("two")
    await there.settle()
    await mount.catch_up()
    assert await mount.listdir() == ["renamed"]
    assert (await mount.stat("renamed")).ino == before
    await mount.unlink("renamed")
    await mount.settle()
    await there.catch_up()
    assert await there.listdir() == []
    assert workspace.files() == {}


@pytest.mark.parametrize("old", ["file", "link"])
@pytest.mark.parametrize("new", ["file", "link"])
async def test_replaced_by_rename_is_one_version_and_never_something_between(
    mount: WorkspaceMount, there: WorkspaceMount, workspace: MemoryWorkspace, old: str, new: str
) -> None:
    expected = {"file": "content", "link": "-> target"}
    if old == "link":
        await mount.symlink("it", "before")
    else:
        await mount.write("it", b"before")
    await mount.settle()
    node = workspace.find("it")
    await there.catch_up()
    seen = [await shown(there, "it")]
    if new == "link":
        await mount.symlink("it.new", "target")
    else:
        await mount.write("it.new", b"content")
    await mount.rename("it.new", "it")
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    while mount.tree.pending:
        await mount.parts.sender.wait_progress()
        await there.catch_up()
        seen.append(await shown(there, "it"))
    await there.catch_up()
    seen.append(await shown(there, "it"))
    assert list(dict.fromkeys(seen)) == ["-> before" if old == "link" else "before", expected[new]]
    assert workspace.find("it") == node
    assert len(workspace.versions(node)) == 2
    assert text(workspace, "it") == ("[mountfs link=target]" if new == "link" else "")


async def test_exchanged(mount: WorkspaceMount, there: WorkspaceMount) -> None:
    await mount.symlink("a", "target")
    await mount.write("b", b"content")
    await mount.settle()
    await mount.rename("a", "b", RenameFlag.EXCHANGE)
    await mount.settle()
    await there.catch_up()
    assert [await shown(there, "a"), await shown(there, "b")] == ["content", "-> target"]


async def test_lost_answers_make_no_second_one(
    mount: WorkspaceMount, there: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    for call in ("upload_small", "upload_batch", "describe"):
        mount.remote.fail(call, OutcomeUnknown("the answer was lost"), after_effect=True)
    await mount.symlink("link", "target")
    await mount.settle()
    await there.catch_up()
    assert await there.listdir() == ["link"]
    assert await shown(there, "link") == "-> target"
    assert mount.parts.conflicts.noticed == 0


async def test_both_hosts_make_one_of_the_same_name(
    mount: WorkspaceMount, there: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.symlink("link", "ours")
    await there.symlink("link", "theirs")
    await mount.settle()
    await there.catch_up()
    await there.settle()
    await mount.catch_up()
    names = await mount.listdir()
    assert {await shown(mount, name) for name in names} == {"-> ours", "-> theirs"}
    assert await there.listdir() == names


async def test_content_of_somebody_who_knows_no_links_is_a_file(
    mount: WorkspaceMount, there: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.symlink("link", "target")
    await mount.settle()
    workspace.put("link", b"words")
    for each in (mount, there):
        await each.catch_up()
        assert await shown(each, "link") == "words"
    workspace.set_text(workspace.find("link"), "[mountfs link=words]")
    for each in (mount, there):
        await each.catch_up()
        assert await shown(each, "link") == "-> words"
    workspace.set_text(workspace.find("link"), "a user's text")
    await mount.catch_up()
    assert await shown(mount, "link") == "-> words", "what is told of it makes no file of it"


async def test_switched_off_it_stays_here_and_is_a_small_file_elsewhere(
    mount: WorkspaceMount, there: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    there.tree.shares_attributes = False
    await mount.symlink("link", "target")
    await mount.settle()
    await there.symlink("local", "elsewhere")
    await there.settle()
    await there.catch_up()
    assert await shown(there, "link") == "target"
    assert workspace.files() == {"link": b"target"}
    assert (
        await there.filesystem.get_xattr((await there.stat("local")).ino, b"user.mountfs.state") == b"local"
    )
    await there.restart()  # the switch is on again
    await there.settle()
    assert text(workspace, "local") == "[mountfs link=elsewhere]"


async def test_link_of_another_host_leads_out_only_where_that_is_allowed(
    mount: WorkspaceMount, there: WorkspaceMount
) -> None:
    await mount.mkdir("d")
    for name, target in {"absolute": "/etc", "up": "../..", "inside": "../x"}.items():
        await mount.symlink(f"d/{name}", target)
        assert await mount.readlink(f"d/{name}") == target
    await mount.settle()
    await there.catch_up()
    for name in ("absolute", "up"):
        assert stat.S_ISLNK((await there.stat(f"d/{name}")).mode)
        with pytest.raises(AccessDenied):
            await there.readlink(f"d/{name}")
    assert await there.readlink("d/inside") == "../x"
    await there.rename("d/inside", "inside")
    with pytest.raises(AccessDenied):
        await there.readlink("inside")
    there.tree.links_may_leave = True
    assert await there.readlink("d/absolute") == "/etc"


@pytest.mark.parametrize("mount_options", [MountOptions(local_only=("venv/",))])
async def test_link_below_a_local_folder_stays(
    mounting: Mounting, workspace: MemoryWorkspace, mount_options: MountOptions
) -> None:
    async with mounting(options=mount_options) as mount:
        await mount.mkdir("venv")
        await mount.symlink("venv/python", "/usr/bin/python3")
        await mount.settle()
        assert workspace.files() == {}
        await mount.rename("venv/python", "python")
        await mount.settle()
        assert workspace.files() == {"python": b"/usr/bin/python3"}
