"""Where two sides claim one path nothing is lost, and equal bytes are no conflict."""

import pytest

from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount

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
    assert mount.parts.changes.conflicts == 1


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
