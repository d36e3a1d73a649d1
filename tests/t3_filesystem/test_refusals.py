"""Lost answers double nothing, refusals hold up nobody else, and outages end by themselves."""

import pytest

from mountfs.model.errors import (
    ContentUnavailable,
    FileTooBig,
    NameRefused,
    NodeNotFound,
    OutcomeUnknown,
    QuotaExceeded,
    RemoteError,
    RemoteUnavailable,
    UploadFailed,
)
from mountfs.model.remote import UploadLimits
from mountfs.remotes.memory import DEFAULT_LIMITS, MemoryWorkspace
from mountfs.rules.happenings import Kind
from mountfs.sync.sender import FAILED_HINT
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount, workspace_contents

LOST = OutcomeUnknown("the answer was lost")
BY_ITSELF = MountOptions(upload_delay_s=0.5)
CHUNKED = UploadLimits(
    single_call_bytes=100,
    chunk_min_bytes=100,
    chunk_max_bytes=1000,
    chunks_max=100,
    file_max_bytes=DEFAULT_LIMITS.file_max_bytes,
    parallel_chunks=3,
)


async def test_lost_answer_of_create_folder_makes_one_folder(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount.remote.fail("create_folder", LOST, after_effect=True)
    await mount.mkdir("d")
    await mount.write("d/a", b"content")
    await mount.settle()
    assert workspace_contents(workspace) == await mount.contents() == {"d": None, "d/a": b"content"}


@pytest.mark.parametrize("content", [b"", b"content"])
async def test_lost_answer_of_a_new_small_file_makes_one_version(
    mount: WorkspaceMount, workspace: MemoryWorkspace, content: bytes
) -> None:
    mount.remote.fail("upload_small", LOST, after_effect=True)
    await mount.write("a", content)
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": content}
    assert len(workspace.versions(workspace.find("a"))) == 1


async def test_one_wrong_404_does_not_hide_what_was_created(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.listdir()
    mount.remote.hang("upload_small")
    await mount.write("a", b"content")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("upload_small")
    await mount.unlink("a")
    mount.remote.fail("upload_small", LOST, after_effect=True)
    mount.remote.fail("list_folder", NodeNotFound("the folder"))
    mount.remote.release()
    await mount.settle()
    await mount.catch_up()
    assert await mount.contents() == workspace.files() == {}


async def test_file_written_again_after_a_lost_answer_is_its_second_version(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.listdir()
    mount.remote.fail("upload_small", LOST, after_effect=True)
    mount.remote.hang("nodes")
    mount.remote.hang("list_folder")
    await mount.write("a", b"first")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("list_folder")
    async with mount.opened("a", 1) as file:
        await file.write(b"other")
    mount.remote.release()
    await mount.settle()
    await mount.catch_up()
    assert workspace.files() == await mount.contents() == {"a": b"other"}


async def test_lost_answer_of_commit_makes_one_version(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    mount.remote.fail("commit", LOST, after_effect=True)
    await mount.write("a", b"new")
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"new"}
    assert [version.content for version in workspace.versions(node)] == [b"old", b"new"]


@pytest.mark.parametrize("call", ["open_upload", "send_chunk", "complete_upload", "upload_state", "add_file"])
async def test_lost_answer_in_a_chunked_upload_makes_one_version(
    mounting: Mounting, workspace: MemoryWorkspace, call: str
) -> None:
    workspace.limits = CHUNKED
    content = bytes(range(250)) * 20
    async with mounting() as mount:
        mount.remote.fail(call, LOST, after_effect=True)
        await mount.write("a", content)
        await mount.settle()
        assert workspace.files() == await mount.contents() == {"a": content}
        assert len(workspace.versions(workspace.find("a"))) == 1


async def test_lost_answer_of_rename_renames_once(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    node = workspace.put("a", b"content")
    await mount.read("a")
    mount.remote.fail("rename", LOST, after_effect=True)
    await mount.rename("a", "b")
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"b": b"content"}
    assert workspace.find("b") == node
    assert mount.memory.calls["rename"] == 1


async def test_lost_answer_of_move_moves_once(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    node = workspace.put("d/a", b"content")
    await mount.contents()
    mount.remote.fail("move", LOST, after_effect=True)
    await mount.rename("d/a", "a")
    await mount.settle()
    assert workspace_contents(workspace) == await mount.contents() == {"a": b"content", "d": None}
    assert workspace.find("a") == node
    assert mount.memory.calls["move"] == 1


async def test_lost_answer_of_trash_deletes_once(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    workspace.put("a", b"content")
    await mount.read("a")
    mount.remote.fail("trash", LOST, after_effect=True)
    await mount.unlink("a")
    await mount.settle()
    assert workspace.files() == await mount.contents() == {}
    assert mount.memory.calls["trash"] == 1


async def test_rename_whose_answer_was_lost_may_be_undone(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"content")
    await mount.read("a")
    mount.remote.fail("rename", LOST, after_effect=True)
    mount.remote.hang("nodes")
    await mount.rename("a", "b")
    mount.parts.sender.expedite([mount.inode("b")])
    await mount.remote.wait_hanging("nodes")
    await mount.rename("b", "a")
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == await mount.contents() == {"a": b"content"}


@pytest.mark.parametrize(
    "refusal",
    [FileTooBig("the file is too big"), NameRefused("the name is bad"), QuotaExceeded("no credits are left")],
)
async def test_refusal_stops_one_file_alone_and_is_told(
    mount: WorkspaceMount, workspace: MemoryWorkspace, refusal: RemoteError
) -> None:
    mount.remote.fail("upload_small", refusal)
    await mount.write("bad", b"content")
    mount.parts.sender.expedite([mount.inode("bad")])
    await mount.settle()
    await mount.write("good", b"less")
    await mount.settle()
    assert workspace.files() == {"good": b"less"}
    assert mount.failures() == {"bad": refusal.message}
    assert mount.tree.happenings.counts[Kind.FAILED] == 1
    assert mount.parts.sender.hints[mount.inode("bad").ino] == (refusal.hint or FAILED_HINT)
    assert await mount.read("bad") == b"content"
    await mount.append("bad", b" and more")
    await mount.settle()
    if isinstance(refusal, QuotaExceeded):
        # Nobody tries it for a while: somebody has to say that there is room, or something to be taken.
        mount.parts.sender.retry([mount.inode("bad")])
        await mount.settle()
    assert workspace.files() == {"bad": b"content and more", "good": b"less"}
    assert mount.failures() == {}


async def test_refused_name_is_sent_after_a_rename(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    mount.remote.fail("upload_small", NameRefused("the name is bad"))
    await mount.write("bad", b"content")
    await mount.settle()
    assert list(mount.failures()) == ["bad"]
    await mount.rename("bad", "line")
    await mount.settle()
    assert workspace.files() == {"line": b"content"}


async def test_what_somebody_can_heal_is_tried_again_by_itself(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    async with mounting(options=BY_ITSELF) as mount:
        mount.remote.fail("upload_small", QuotaExceeded("no credits are left"))
        await mount.write("a", b"content")
        await mount.wait_idle()
        assert list(mount.failures()) == ["a"]
        await mount.wait_until(lambda: not mount.failures())
    assert workspace.files() == {"a": b"content"}


async def test_upload_that_the_workspace_gave_up_is_begun_anew(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    mount.remote.fail("upload_small", UploadFailed("assembly broke"), times=2)
    await mount.write("a", b"content")
    await mount.settle()
    assert workspace.files() == {"a": b"content"}


async def test_offline_mount_goes_on_and_sends_when_the_workspace_is_back(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    for path in ("kept", "moved", "removed", "d/x"):
        workspace.put(path, path.encode())
    async with mounting(options=BY_ITSELF) as mount:
        before = await mount.contents()
        mount.remote.go_offline()
        assert await mount.contents() == before
        await mount.write("new", b"1")
        await mount.append("kept", b" and more")
        await mount.rename("moved", "d/moved")
        await mount.unlink("removed")
        await mount.mkdir("e")
        await mount.write("e/y", b"2")
        await mount.wait_until(lambda: not mount.parts.connection.online)
        here = await mount.contents()
        assert workspace.files()["kept"] == b"kept"
        mount.remote.heal()
        await mount.wait_idle()
        assert workspace_contents(workspace) == here == await mount.contents()
        assert mount.failures() == {}


async def test_offline_read_of_what_is_not_cached_is_an_error_and_no_absence(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"content")
    await mount.listdir()
    mount.remote.go_offline()
    with pytest.raises((RemoteUnavailable, ContentUnavailable)):
        await mount.read("a")
    assert (await mount.stat("a")).size == 7
    mount.remote.heal()
    assert await mount.read("a") == b"content"


async def test_read_that_breaks_off_goes_on_where_it_stopped(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    content = bytes(range(256)) * 2048
    workspace.put("a", content)
    mount.remote.fail("read", RemoteUnavailable("cut"), times=3, after_effect=True)
    assert await mount.read("a") == content
