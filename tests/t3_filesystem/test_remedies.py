"""What is decided about conflicts and about failed uploads is done, and what goes by it is saved before."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mountfs.daemon.remedies import MountRemedies
from mountfs.model.conflict import Keep
from mountfs.model.errors import AccessDenied, FileInUse, FileNotFound, InvalidArgument, RemoteUnavailable
from mountfs.remotes.memory import DEFAULT_LIMITS, MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount, workspace_contents


def remedies(mount: WorkspaceMount) -> MountRemedies:
    return MountRemedies(mount.parts)


def content_of(path: str) -> bytes:
    return Path(path).read_bytes()


async def settle_and_compare(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await mount.settle()
    await mount.catch_up()
    await mount.settle()
    assert await mount.contents() == workspace_contents(workspace)
    assert await remedies(mount).conflicts(None) == []
    assert mount.failures() == {}


async def conflict_of_edits(mount: WorkspaceMount, workspace: MemoryWorkspace, *, settled: bool) -> str:
    """Return the path of our copy of `d/a.txt`, which others edited."""
    workspace.put("d/a.txt", b"old")
    await mount.contents()
    await mount.write("d/a.txt", b"ours")
    workspace.put("d/a.txt", b"theirs")
    await mount.settle()
    if not settled:
        # The copy cannot be sent yet.
        (path,) = [state.ours or "" for state in await remedies(mount).conflicts(None)]
        await mount.write(path, b"ours, later")
    (state,) = await remedies(mount).conflicts(b"d")
    assert (state.kind, state.arose_at, state.theirs) == ("edit/edit", "d/a.txt", "d/a.txt")
    assert state.ours is not None
    return state.ours


async def test_keeping_ours_makes_it_the_next_version_of_theirs(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    copy = await conflict_of_edits(mount, workspace, settled=True)
    node = workspace.find("d/a.txt")
    assert await remedies(mount).resolve(copy.encode(), Keep.OURS) == []
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"d/a.txt": b"ours"}
    assert [each.content for each in workspace.versions(node)] == [b"old", b"theirs", b"ours"]


@pytest.mark.parametrize("settled", [True, False], ids=["sent", "not sent"])
async def test_keeping_theirs_removes_ours_and_saves_what_was_not_sent(
    mount: WorkspaceMount, workspace: MemoryWorkspace, settled: bool
) -> None:
    await conflict_of_edits(mount, workspace, settled=settled)
    saved = await remedies(mount).resolve(b"d/a.txt", Keep.THEIRS)
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"d/a.txt": b"theirs"}
    assert [content_of(copy) for copy in saved] == ([] if settled else [b"ours, later"])


async def test_keeping_both_ends_the_conflict_only(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    copy = await conflict_of_edits(mount, workspace, settled=True)
    await remedies(mount).resolve(copy.encode(), Keep.BOTH)
    await mount.restart()
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"d/a.txt": b"theirs", copy: b"ours"}


async def test_base_ours_and_theirs_are_extracted(
    mount: WorkspaceMount, workspace: MemoryWorkspace, tmp_path: Path
) -> None:
    copy = await conflict_of_edits(mount, workspace, settled=True)
    sides = await remedies(mount).extract(copy.encode(), str(tmp_path / "merge"))
    assert {side.side: content_of(side.file) for side in sides} == {
        "base": b"old",
        "ours": b"ours",
        "theirs": b"theirs",
    }
    assert sorted(os.listdir(tmp_path / "merge")) == ["a.txt.base", "a.txt.ours", "a.txt.theirs"]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (Keep.OURS, [b"ours"]),
        (Keep.THEIRS, [b"theirs"]),
        (Keep.BOTH, [b"ours", b"theirs"]),
    ],
)
async def test_last_writer_wins_can_be_undone(
    mounting: Mounting, workspace: MemoryWorkspace, keep: Keep, expected: list[bytes]
) -> None:
    workspace.put("a", b"old")
    async with mounting(options=MountOptions(conflict="last-writer-wins")) as mount:
        await mount.contents()
        await mount.write("a", b"ours")
        workspace.put("a", b"theirs")
        await mount.settle()
        await remedies(mount).resolve(b"a", keep)
        await settle_and_compare(mount, workspace)
    assert sorted(workspace.files().values()) == expected


@pytest.mark.parametrize(("keep", "expected"), [(Keep.OURS, {"a": b"ours"}), (Keep.THEIRS, {})])
async def test_edit_of_what_others_deleted_is_decided(
    mount: WorkspaceMount, workspace: MemoryWorkspace, keep: Keep, expected: dict[str, bytes]
) -> None:
    node = workspace.put("a", b"old")
    await mount.contents()
    await mount.write("a", b"ours")
    workspace.trash(node)
    await mount.settle()
    await remedies(mount).resolve(b"a", keep)
    await settle_and_compare(mount, workspace)
    assert workspace.files() == expected


@pytest.mark.parametrize(("keep", "expected"), [(Keep.OURS, {}), (Keep.THEIRS, {"a": b"theirs"})])
async def test_deletion_of_what_others_edited_is_decided(
    mount: WorkspaceMount, workspace: MemoryWorkspace, keep: Keep, expected: dict[str, bytes]
) -> None:
    workspace.put("a", b"old")
    await mount.contents()
    await mount.unlink("a")
    workspace.put("a", b"theirs")
    await mount.catch_up()
    await remedies(mount).resolve(b"a", keep)
    await settle_and_compare(mount, workspace)
    assert workspace.files() == expected


@pytest.mark.parametrize(("keep", "name"), [(Keep.OURS, "ours"), (Keep.THEIRS, "theirs"), (Keep.BOTH, None)])
async def test_rename_on_both_sides_is_decided(
    mount: WorkspaceMount, workspace: MemoryWorkspace, keep: Keep, name: str | None
) -> None:
    node = workspace.put("a", b"1")
    await mount.contents()
    await mount.rename("a", "ours")
    workspace.rename(node, "theirs")
    await mount.catch_up()
    await mount.settle()
    if name is None:
        with pytest.raises(InvalidArgument, match="both names"):
            await remedies(mount).resolve(b"ours", keep)
        return
    await remedies(mount).resolve(b"ours", keep)
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {name: b"1"}


async def test_what_is_in_no_conflict_cannot_be_resolved(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"1")
    with pytest.raises(InvalidArgument, match="no conflict"):
        await remedies(mount).resolve(b"a", Keep.OURS)
    with pytest.raises(FileNotFound):
        await remedies(mount).resolve(b"b", Keep.OURS)


async def test_conflict_stays_where_theirs_cannot_be_fetched(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    async with mounting(options=MountOptions(conflict="last-writer-wins")) as mount:
        await mount.contents()
        await mount.write("a", b"ours")
        workspace.put("a", b"theirs")
        await mount.settle()
        mount.remote.go_offline()
        with pytest.raises(RemoteUnavailable):
            await remedies(mount).resolve(b"a", Keep.THEIRS)
        assert len(await remedies(mount).conflicts(None)) == 1
        assert await mount.read("a") == b"ours"


# Uploads that cannot succeed.


@pytest.fixture
def workspace() -> MemoryWorkspace:
    """Return a workspace that takes neither more than 11 bytes nor a name with a question mark."""
    limits = replace(DEFAULT_LIMITS, file_max_bytes=11)
    return MemoryWorkspace(limits=limits, accepts_name=lambda name: "?" not in name)


async def test_retry_sends_when_the_cause_is_gone(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    for method in ("upload_small", "upload_batch"):
        mount.remote.fail(method, AccessDenied("not allowed"), times=None)
    await mount.write("a", b"1")
    await mount.write("b", b"2")
    await mount.settle()
    outcome = await remedies(mount).retry(b"a", timeout_s=20)
    assert [(each.path, each.reason) for each in outcome.failed] == [("a", "not allowed")]
    mount.remote.heal()
    assert (await remedies(mount).retry(b"a", timeout_s=20)).confirmed
    assert workspace.files() == {"a": b"1"}
    assert (await remedies(mount).retry(None, timeout_s=20)).confirmed
    await settle_and_compare(mount, workspace)


@pytest.mark.parametrize("crash", [False, True])
async def test_discarding_a_new_file_saves_a_copy_and_removes_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, tmp_path: Path, crash: bool
) -> None:
    await mount.mkdir("d")
    await mount.write("d/a", b"more than eleven bytes")
    await mount.settle()
    (copy,) = await remedies(mount).discard(b"d/a", str(tmp_path / "copies"))
    assert copy == str(tmp_path / "copies" / "d" / "a")
    assert content_of(copy) == b"more than eleven bytes"
    if crash:
        await mount.restart(cleanly=False)
    await settle_and_compare(mount, workspace)
    assert await mount.listdir("d") == []


@pytest.mark.parametrize("crash", [False, True])
async def test_discarding_an_edit_brings_the_content_of_the_workspace_back(
    mount: WorkspaceMount, workspace: MemoryWorkspace, crash: bool
) -> None:
    workspace.put("a", b"old")
    await mount.contents()
    await mount.restart()
    await mount.write("a", b"more than eleven bytes")
    await mount.settle()
    (copy,) = await remedies(mount).discard(b"a", None)
    assert content_of(copy) == b"more than eleven bytes"
    if crash:
        await mount.restart(cleanly=False)
    assert await mount.read("a") == b"old"
    await settle_and_compare(mount, workspace)
    assert workspace.files() == {"a": b"old"}


async def test_discarding_a_rename_gives_the_name_back(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    await mount.contents()
    await mount.rename("a", "a?")
    await mount.settle()
    assert set(mount.failures()) == {"a?"}
    assert await remedies(mount).discard(b"a?", None) == []
    await settle_and_compare(mount, workspace)
    assert await mount.contents() == {"a": b"old"}


async def test_discarding_a_deletion_brings_the_file_back(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("d/a", b"old")
    await mount.contents()
    mount.remote.fail("trash", AccessDenied("not allowed"))
    await mount.unlink("d/a")
    await mount.settle()
    (failed,) = [remedies(mount).failed(inode) for inode in mount.tree.pending.values()]
    assert (failed.path, failed.reason) == ("d/a", "not allowed")
    assert await remedies(mount).discard(b"d/a", None) == []
    await settle_and_compare(mount, workspace)
    assert await mount.contents() == {"d": None, "d/a": b"old"}


async def test_discarding_a_folder_takes_what_waits_for_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("moved", b"old")
    await mount.contents()
    await mount.mkdir("d?")
    await mount.write("d?/a", b"new")
    await mount.rename("moved", "d?/moved")
    await mount.settle()
    saved = await remedies(mount).discard(b"d?", None)
    assert [content_of(copy) for copy in saved] == [b"new"]
    await settle_and_compare(mount, workspace)
    assert await mount.contents() == {"moved": b"old"}


async def test_discarding_a_new_folder_takes_its_symlinks(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d?")
    await mount.symlink("d?/link", "some/target")
    await mount.settle()
    saved = await remedies(mount).discard(b"d?", None)
    assert [content_of(copy) for copy in saved] == [b"some/target"]
    await settle_and_compare(mount, workspace)
    assert await mount.contents() == {}


async def test_only_what_failed_can_be_discarded(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await mount.write("a", b"1")
    with pytest.raises(InvalidArgument, match="has not failed"):
        await remedies(mount).discard(b"a", None)
    await mount.write("b", b"more than eleven bytes")
    await mount.settle()
    async with mount.opened("b", os.O_RDWR):
        with pytest.raises(FileInUse, match="open"):
            await remedies(mount).discard(b"b", None)
    assert await mount.read("b") == b"more than eleven bytes"
