"""Where two sides claim one path nothing is lost, and equal bytes are no conflict."""

import os
from pathlib import Path

import pytest
import trio

from mountfs.model.conflict import ConflictKind
from mountfs.model.errors import RemoteUnavailable
from mountfs.model.ids import ROOT_NODE, Ino, NodeId, UploadId, VersionId
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.rules.happenings import Kind
from mountfs.sync.sender import LARGE_BYTES
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount, mounted, workspace_contents

LAST_WRITER_WINS = MountOptions(conflict="last-writer-wins")


def copies(workspace: MemoryWorkspace, content: bytes) -> list[str]:
    """Return the conflict copies with this content."""
    return [path for path, found in workspace.files().items() if found == content and "(conflict" in path]


async def settle_and_compare(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await mount.settle()
    await mount.catch_up()
    await mount.settle()
    assert await mount.contents() == workspace.files()
    assert mount.failures() == {}


async def settle_and_compare_all(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    """Like `settle_and_compare`, of folders as well."""
    await mount.settle()
    await mount.catch_up()
    await mount.settle()
    assert await mount.contents() == workspace_contents(workspace)
    assert mount.failures() == {}


@pytest.mark.parametrize("feed_is_first", [True, False])
async def test_edit_on_both_sides_keeps_both(
    mount: WorkspaceMount, workspace: MemoryWorkspace, feed_is_first: bool
) -> None:
    workspace.put("a.txt", b"old")
    await mount.write("a.txt", b"ours")
    if not feed_is_first:
        mount.remote.hang("changes")
    workspace.put("a.txt", b"theirs")
    if feed_is_first:
        await mount.catch_up()
    await mount.settle()
    mount.remote.release()
    await settle_and_compare(mount, workspace)
    assert workspace.files()["a.txt"] == b"theirs"
    (copy,) = copies(workspace, b"ours")
    assert copy.startswith("a (conflict here ")
    assert copy.endswith(").txt")
    assert mount.parts.conflicts.noticed == 1


@pytest.mark.parametrize("call", ["send_chunk", "complete_upload"])
async def test_what_others_create_while_a_large_file_is_sent_is_not_covered(
    mount: WorkspaceMount, workspace: MemoryWorkspace, call: str
) -> None:
    large = bytes(LARGE_BYTES + 1)
    mount.remote.hang(call)
    await mount.write("a.bin", large)
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.remote.wait_hanging(call)
    theirs = workspace.put("a.bin", b"theirs")
    await mount.catch_up()
    assert mount.inode("a.bin").ino in mount.parts.changes.rivals
    mount.remote.release()
    await settle_and_compare(mount, workspace)
    assert workspace.files()["a.bin"] == b"theirs"
    assert len(workspace.versions(theirs)) == 1
    assert len(copies(workspace, large)) == 1


async def test_edit_on_both_sides_with_equal_bytes_is_no_conflict(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    await mount.write("a", b"new")
    workspace.put("a", b"new")
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"a": b"new"}
    assert len(workspace.versions(node)) == 2


async def test_last_writer_wins_and_the_other_stays_in_the_history(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    async with mounting(options=LAST_WRITER_WINS) as mount:
        await mount.write("a", b"ours")
        workspace.put("a", b"theirs")
        await settle_and_compare(mount, workspace)
    assert workspace.files() == {"a": b"ours"}
    assert [version.content for version in workspace.versions(node)] == [b"old", b"theirs", b"ours"]


async def test_last_writer_wins_where_both_created_the_file(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    async with mounting(options=LAST_WRITER_WINS) as mount:
        await mount.write("a", b"ours")
        node = workspace.put("a", b"theirs")
        await mount.catch_up()
        await settle_and_compare(mount, workspace)
    assert workspace.files() == {"a": b"ours"}
    assert [version.content for version in workspace.versions(node)] == [b"theirs", b"ours"]


async def test_create_on_both_sides_with_equal_bytes_is_no_conflict(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"same")
    node = workspace.put("a", b"same")
    await mount.catch_up()
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"a": b"same"}
    assert len(workspace.versions(node)) == 1


async def test_create_on_both_sides_with_other_bytes_keeps_both(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"ours")
    workspace.put("a", b"theirs")
    await mount.catch_up()
    await settle_and_compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs"
    assert len(copies(workspace, b"ours")) == 1


async def test_create_on_both_sides_before_the_feed_tells_keeps_both_in_the_history(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """The remote takes ours as a new version of theirs: nothing there can refuse it."""
    await mount.listdir()
    mount.remote.hang("changes")
    await mount.write("a", b"ours")
    node = workspace.put("a", b"theirs")
    mount.remote.release()
    await settle_and_compare(mount, workspace)
    kept = {version.content for version in workspace.versions(node)} | set(workspace.files().values())
    assert kept == {b"ours", b"theirs"}


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("options", [MountOptions(), LAST_WRITER_WINS], ids=["keep-both", "last-writer-wins"])
async def test_empty_file_that_another_created_with_content_is_theirs(
    mounting: Mounting, workspace: MemoryWorkspace, options: MountOptions, is_open: bool
) -> None:
    """As a log that two hosts open at once, and only one has locked so far."""
    async with mounting(options=options) as mount:
        await mount.write("log.txt", b"")
        opened = [await mount.open("log.txt", os.O_RDWR)] if is_open else []
        workspace.put("log.txt", b"theirs")
        await mount.catch_up()
        await mount.settle()
        await mount.parts.publisher.refresh(mount.inode("log.txt").ino)
        await settle_and_compare(mount, workspace)
        assert workspace.files() == {"log.txt": b"theirs"}
        assert mount.parts.conflicts.noticed == 0
        for file in opened:
            assert await file.read(0, 10) == b"theirs"
            await file.close()


@pytest.mark.parametrize("options", [MountOptions(), LAST_WRITER_WINS], ids=["keep-both", "last-writer-wins"])
async def test_empty_file_covers_nothing_that_another_wrote_to_an_empty_one(
    mounting: Mounting, workspace: MemoryWorkspace, options: MountOptions
) -> None:
    """What another host wrote under its lock while this one was about to create the file for its own."""
    async with mounting(options=options) as mount:
        await mount.listdir()
        mount.remote.hang("changes")
        mount.remote.hang("upload_small")
        file = await mount.open("log.txt", os.O_RDWR | os.O_CREAT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.parts.publisher.ensure_remote, mount.inode("log.txt").ino)
            await mount.remote.wait_hanging("upload_small")
            workspace.put("log.txt", b"")
            workspace.put("log.txt", b"theirs")
            mount.remote.release()
        await mount.parts.publisher.refresh(mount.inode("log.txt").ino)
        await settle_and_compare(mount, workspace)
        assert await file.read(0, 10) == b"theirs"
        assert workspace.files() == {"log.txt": b"theirs"}
        assert mount.parts.conflicts.noticed == 0
        await file.close()


async def test_rename_onto_a_name_that_another_took_keeps_both(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"ours")
    await mount.read("a")
    await mount.rename("a", "b")
    workspace.put("b", b"theirs")
    await settle_and_compare(mount, workspace)
    assert sorted(workspace.files().values()) == [b"ours", b"theirs"]
    assert workspace.files()["b"] == b"theirs"
    (copy,) = copies(workspace, b"ours")
    assert workspace.find(copy) == node


async def test_move_onto_a_name_that_another_took_sends_nothing_to_the_trash(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"ours")
    workspace.put("d/x", b"")
    await mount.contents()
    await mount.rename("a", "d/a")
    workspace.put("d/a", b"theirs")
    await mount.catch_up()
    await mount.settle()
    await mount.catch_up()
    assert sorted(workspace.files().values()) == [b"", b"ours", b"theirs"]
    assert await mount.contents() == {"d": None, **workspace.files()}
    assert workspace.trash_names() == []


async def test_folder_created_where_another_created_a_file_keeps_both(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("a")
    await mount.write("a/x", b"ours")
    workspace.put("a", b"theirs")
    await mount.settle()
    await mount.catch_up()
    assert workspace.files()["a"] == b"theirs"
    assert sorted(workspace.files().values()) == [b"ours", b"theirs"]
    assert mount.failures() == {}


async def test_file_created_where_another_created_a_folder_keeps_both(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"ours")
    workspace.put("a/x", b"theirs")
    await mount.catch_up()
    await mount.settle()
    await mount.catch_up()
    assert workspace.files()["a/x"] == b"theirs"
    assert sorted(workspace.files().values()) == [b"ours", b"theirs"]
    assert mount.failures() == {}


async def test_two_hosts_editing_one_file_agree_at_the_end(
    mount: WorkspaceMount, other: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    await mount.write("a", b"here")
    await other.write("a", b"there")
    await mount.settle()
    await other.settle()
    await mount.catch_up()
    await other.catch_up()
    assert await mount.contents() == await other.contents() == workspace.files()
    assert sorted(workspace.files().values()) == [b"here", b"there"]


# What is remembered of a conflict.


def recorded(mount: WorkspaceMount) -> dict[str, ConflictKind]:
    """Return path of our side -> kind."""
    return {
        mount.tree.inodes[ino].path().decode(): conflict.kind
        for ino, conflict in mount.tree.conflicts.items()
    }


async def test_edit_conflict_is_remembered_with_its_base_over_a_crash(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a.txt", b"old")
    await mount.write("a.txt", b"ours")
    workspace.put("a.txt", b"theirs")
    await settle_and_compare(mount, workspace)
    assert mount.tree.happenings.counts[Kind.CONFLICT] == 1
    await mount.restart(cleanly=False)
    (conflict,) = mount.tree.conflicts.values()
    old, theirs = workspace.versions(node)
    assert (conflict.kind, conflict.path) == (ConflictKind.EDIT_EDIT, b"a.txt")
    assert conflict.theirs is not None
    assert conflict.base is not None
    assert (conflict.theirs.node, conflict.theirs.version) == (node, theirs.id)
    assert (conflict.base.node, conflict.base.version) == (node, old.id)
    assert mount.tree.inodes[conflict.ino].path().startswith(b"a (conflict here ")


async def test_edit_of_what_others_deleted_is_kept(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    node = workspace.put("a", b"old")
    await mount.write("a", b"ours")
    workspace.trash(node)
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"a": b"ours"}
    assert recorded(mount) == {"a": ConflictKind.EDIT_DELETE}


@pytest.mark.parametrize("told", [True, False], ids=["told", "looked at"])
async def test_file_removed_here_comes_back_where_others_edited_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, told: bool
) -> None:
    workspace.put("d/a", b"old")
    await mount.contents()
    if not told:
        mount.remote.fail("changes", RemoteUnavailable("the feed is down"), times=None)
        workspace.put("elsewhere", b"")
        await mount.wait_until_blind()
    await mount.unlink("d/a")
    workspace.put("d/a", b"theirs")
    if told:
        await mount.catch_up()
    await mount.settle()
    mount.remote.heal()
    await mount.listdir()
    await settle_and_compare_all(mount, workspace)
    assert workspace.files()["d/a"] == b"theirs"
    assert recorded(mount) == {"d/a": ConflictKind.DELETE_EDIT}


async def test_file_edited_by_others_in_a_removed_tree_comes_back_with_its_folders(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/e/a", b"old")
    workspace.put("d/e/b", b"goes")
    await mount.contents()
    await mount.remove_tree("d")
    workspace.put("d/e/a", b"theirs")
    await mount.catch_up()
    await settle_and_compare_all(mount, workspace)
    assert workspace.files() == {"d/e/a": b"theirs"}
    assert recorded(mount) == {"d/e/a": ConflictKind.DELETE_EDIT}


async def test_file_removed_here_and_renamed_elsewhere_goes(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    await mount.read("a")
    await mount.unlink("a")
    workspace.rename(node, "b")
    await mount.catch_up()
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {}
    assert recorded(mount) == {}


async def test_renamed_on_both_sides_has_our_name_and_theirs_is_remembered(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"1")
    await mount.read("a")
    await mount.rename("a", "ours")
    workspace.rename(node, "theirs")
    await mount.catch_up()
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"ours": b"1"}
    assert recorded(mount) == {"ours": ConflictKind.RENAME_RENAME}
    (conflict,) = mount.tree.conflicts.values()
    assert conflict.theirs is not None
    assert (conflict.theirs.parent, conflict.theirs.name) == (ROOT_NODE, "theirs")


async def test_renamed_to_the_same_name_on_both_sides_is_no_conflict(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"1")
    await mount.read("a")
    await mount.rename("a", "b")
    workspace.rename(node, "b")
    await mount.catch_up()
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"b": b"1"}
    assert recorded(mount) == {}


@pytest.mark.parametrize("passthrough", [True, False], ids=["passthrough", "ordinary"])
async def test_changes_follow_a_directory_that_others_moved_away(
    mounting: Mounting, workspace: MemoryWorkspace, passthrough: bool
) -> None:
    workspace.put("d/a", b"old")
    workspace.put("x/y/z/deep", b"")
    # Only now: a mount that is there is told of each folder as it is made, and would know all of them.
    async with mounting(options=MountOptions(passthrough=passthrough)) as mount:
        assert await mount.listdir() == ["d", "x"]
        await mount.write("d/a", b"edited")
        await mount.write("d/new", b"created")
        edited, created = mount.inode("d/a"), mount.inode("d/new")
        workspace.move(workspace.find("d"), workspace.find("x/y/z"))
        await mount.catch_up()
        # At once, though nobody has listed the folder that it is in now: else it would be moved back.
        assert (edited.path(), created.path()) == (b"x/y/z/d/a", b"x/y/z/d/new")
        await mount.restart(cleanly=False)
        await mount.wait_live()
        await settle_and_compare_all(mount, workspace)
        assert workspace.files() == {"x/y/z/d/a": b"edited", "x/y/z/d/new": b"created", "x/y/z/deep": b""}
        assert recorded(mount) == {}


async def test_folders_moved_into_each_other_end_where_the_first_put_them(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"1")
    workspace.put("e/b", b"2")
    await mount.contents()
    await mount.rename("e", "d/e")
    workspace.move(workspace.find("d"), workspace.find("e"))
    await mount.catch_up()
    await settle_and_compare_all(mount, workspace)
    assert workspace.files() == {"e/d/a": b"1", "e/b": b"2"}


async def test_conflict_ends_when_one_side_is_removed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    for name in ("a", "b", "c"):
        workspace.put(name, b"old")
    await mount.catch_up()
    for name in ("a", "b", "c"):
        await mount.write(name, b"ours " + name.encode())
        workspace.put(name, b"theirs " + name.encode())
    await settle_and_compare(mount, workspace)
    copy = {mount.tree.conflicts[ino].path: path for ino, path in paths_of_conflicts(mount).items()}
    assert set(copy) == {b"a", b"b", b"c"}
    await mount.unlink(copy[b"a"])
    await mount.unlink("b")
    await mount.rename(copy[b"c"], "c")
    assert recorded(mount) == {}
    await settle_and_compare(mount, workspace)
    await mount.restart()
    assert recorded(mount) == {}


def paths_of_conflicts(mount: WorkspaceMount) -> dict[Ino, str]:
    return {ino: mount.tree.inodes[ino].path().decode() for ino in mount.tree.conflicts}


async def test_last_writer_wins_is_remembered_as_well(mounting: Mounting, workspace: MemoryWorkspace) -> None:
    node = workspace.put("a", b"old")
    async with mounting(options=LAST_WRITER_WINS) as mount:
        await mount.write("a", b"ours")
        workspace.put("a", b"theirs")
        await settle_and_compare(mount, workspace)
        (conflict,) = mount.tree.conflicts.values()
        assert conflict.kind is ConflictKind.EDIT_EDIT
        assert conflict.theirs is not None
        assert (conflict.theirs.node, conflict.theirs.version) == (node, workspace.versions(node)[1].id)


class OvertakingWorkspace(MemoryWorkspace):
    """Others make a version on each that is committed, before that is shown."""

    def commit(self, node: NodeId, upload: UploadId, base: VersionId) -> None:
        super().commit(node, upload, base)
        self.put("f", b"theirs, on ours")


async def test_version_that_others_made_right_behind_ours_is_no_conflict(tmp_path: Path) -> None:
    workspace = OvertakingWorkspace()
    workspace.put("f", b"old")
    async with mounted(tmp_path, workspace) as mount:
        await mount.write("f", b"ours")
        await mount.settle()
        assert await mount.contents() == {"f": b"theirs, on ours"}
        await settle_and_compare(mount, workspace)
        assert mount.parts.conflicts.noticed == 0
