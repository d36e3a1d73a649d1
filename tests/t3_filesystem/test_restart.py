"""Whatever was acknowledged before a stop or a crash is there after the next start, and goes on."""

from collections.abc import Awaitable, Callable

import pytest

from mountfs.model.errors import OutcomeUnknown
from mountfs.model.filesystem import AttributeChange, Attributes, RenameFlag
from mountfs.model.remote import UploadLimits
from mountfs.remotes.memory import DEFAULT_LIMITS, MemoryWorkspace
from tests.t3_filesystem.workspace_mount import WorkspaceMount, counted_calls, workspace_contents

CHUNKED = UploadLimits(
    single_call_bytes=100,
    chunk_min_bytes=100,
    chunk_max_bytes=1000,
    chunks_max=100,
    file_max_bytes=DEFAULT_LIMITS.file_max_bytes,
    parallel_chunks=1,
)
HOW = pytest.mark.parametrize("cleanly", [True, False], ids=["stopped", "killed"])


@HOW
async def test_everything_is_as_it_was_and_then_sent(
    mount: WorkspaceMount, workspace: MemoryWorkspace, cleanly: bool
) -> None:
    for path in ("kept", "moved", "removed", "changed", "d/x"):
        workspace.put(path, path.encode())
    await mount.contents()
    await mount.write("new", b"1")
    await mount.append("changed", b" and more")
    await mount.rename("moved", "d/moved")
    await mount.unlink("removed")
    await mount.mkdir("e")
    await mount.write("e/y", b"2")
    await mount.set_attributes("e/y", AttributeChange(mode=0o755, mtime_ns=1_234_567_891))
    before = await mount.contents()
    attributes = {path: await mount.stat(path) for path in before}
    await mount.restart(cleanly=cleanly)
    assert [path for path in before if _lasting(await mount.stat(path)) != _lasting(attributes[path])] == []
    assert await mount.contents() == before
    assert {path: await mount.stat(path) for path in before} == attributes
    await mount.settle()
    assert workspace_contents(workspace) == before
    assert {path: await mount.stat(path) for path in before} == attributes


def _lasting(attributes: Attributes) -> Attributes:
    """Return what does not depend on whether the children of a directory are known."""
    return attributes._replace(nlink=0)


Operation = Callable[[WorkspaceMount], Awaitable[None]]
OPERATIONS: dict[str, Operation] = {
    "write": lambda mount: mount.write("a", b"new"),
    "create": lambda mount: mount.write("new", b"content"),
    "truncate": lambda mount: mount.truncate("a", 1),
    "unlink": lambda mount: mount.unlink("a"),
    "mkdir": lambda mount: mount.mkdir("e"),
    "rmdir": lambda mount: mount.rmdir("empty"),
    "rename": lambda mount: mount.rename("a", "c"),
    "move": lambda mount: mount.rename("a", "d/c"),
    "replace": lambda mount: mount.rename("a", "b"),
    "exchange": lambda mount: mount.rename("a", "b", RenameFlag.EXCHANGE),
    "rename folder": lambda mount: mount.rename("d", "f"),
    "remove tree": lambda mount: mount.remove_tree("d"),
}


@HOW
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_operation_survives(
    mount: WorkspaceMount, workspace: MemoryWorkspace, operation: Operation, cleanly: bool
) -> None:
    for path in ("a", "b", "d/x"):
        workspace.put(path, b"content of " + path.encode())
    await mount.mkdir("empty")
    await mount.settle()
    await mount.contents()
    await operation(mount)
    before = await mount.contents()
    await mount.restart(cleanly=cleanly)
    assert await mount.contents() == before
    await mount.settle()
    assert workspace_contents(workspace) == before
    assert await mount.contents() == before


CALLS = ["upload_small", "commit", "create_folder", "rename", "move", "trash"]


@pytest.mark.parametrize("after_effect", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("call", CALLS)
async def test_kill_around_a_call_doubles_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace, call: str, after_effect: bool
) -> None:
    for path in ("changed", "renamed", "d/moved", "removed"):
        workspace.put(path, path.encode())
    await mount.contents()
    changed = workspace.find("changed")
    lost = OutcomeUnknown("the answer was lost")
    mount.remote.fail(call, lost, after_effect=after_effect, then_hang=["nodes"])
    # The feed would tell what the lost answer said.
    if call != "trash":
        # Before that the file is looked at.
        mount.remote.hang("nodes")
    mount.remote.hang("list_folder")
    mount.remote.hang("changes")
    await mount.mkdir("e")
    await mount.write("e/new", b"1")
    await mount.write("changed", b"2")
    await mount.rename("renamed", "name")
    await mount.rename("d/moved", "moved")
    await mount.unlink("removed")
    mount.parts.sender.expedite(list(mount.tree.pending.values()))
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    before = await mount.contents()
    await mount.crash()
    mount.remote.heal()
    mount.remote.release()
    await mount.start()
    await mount.settle()
    await mount.catch_up()
    assert workspace_contents(workspace) == await mount.contents() == before
    assert [version.content for version in workspace.versions(changed)] == [b"changed", b"2"]
    assert len(workspace.versions(workspace.find("e/new"))) == 1


async def _replace(mount: WorkspaceMount) -> None:
    await mount.write("tmp", b"3")
    await mount.rename("tmp", "a")


async def _replace_another(mount: WorkspaceMount) -> None:
    await mount.rename("a", "b")
    await mount.append("b", b"3")


FOLLOWING: dict[str, tuple[Operation, dict[str, bytes]]] = {
    "replaced": (_replace, {"a": b"3", "b": b"b"}),
    "removed": (lambda mount: mount.unlink("a"), {"b": b"b"}),
    "renamed": (lambda mount: mount.rename("a", "c"), {"b": b"b", "c": b"2"}),
    "renamed over another": (_replace_another, {"b": b"23"}),
}


@pytest.mark.parametrize("kills", [1, 2])
@pytest.mark.parametrize(("following", "expected"), FOLLOWING.values(), ids=FOLLOWING)
async def test_own_version_is_no_edit_of_others_whoever_has_its_node_by_then(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    following: Operation,
    expected: dict[str, bytes],
    kills: int,
) -> None:
    """The answer to a commit is lost with the process; what programs did since is no conflict."""
    for path in ("a", "b"):
        workspace.put(path, path.encode())
    await mount.contents()
    mount.remote.fail("commit", OutcomeUnknown("the answer was lost"), after_effect=True)
    for call in ("nodes", "list_folder", "changes"):
        mount.remote.hang(call)
    await mount.write("a", b"2")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    await following(mount)
    for _ in range(kills):
        await mount.crash()
        mount.remote.heal()
        mount.remote.release()
        await mount.start()
    assert await mount.contents() == expected
    await mount.settle()
    await mount.catch_up()
    assert workspace_contents(workspace) == await mount.contents() == expected
    assert not mount.tree.conflicts
    assert not mount.tree.open_uploads


@pytest.mark.parametrize("call", ["move", "rename"])
async def test_own_move_is_no_rename_of_others(
    mount: WorkspaceMount, workspace: MemoryWorkspace, call: str
) -> None:
    """It takes two calls; the answer to either is lost with the process."""
    workspace.put("d/e/x", b"x")
    await mount.contents()
    mount.remote.fail(call, OutcomeUnknown("the answer was lost"), after_effect=True)
    for asking in ("nodes", "list_folder", "changes"):
        mount.remote.hang(asking)
    await mount.rename("d/e", "moved")
    mount.parts.sender.expedite([mount.inode("moved")])
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    await mount.crash()
    mount.remote.heal()
    mount.remote.release()
    await mount.start()
    expected = {"d": None, "moved": None, "moved/x": b"x"}
    assert await mount.contents() == expected
    await mount.settle()
    await mount.catch_up()
    assert workspace_contents(workspace) == await mount.contents() == expected
    assert not mount.tree.conflicts


async def test_version_that_was_confirmed_for_the_file_it_replaced_is_remembered(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"1")
    await mount.read("a")
    await mount.write("a", b"2")
    mount.remote.hang("commit")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("commit")
    await mount.write("tmp", b"3")
    await mount.rename("tmp", "a")
    mount.remote.release("commit")
    replaced = mount.inode("a").base
    await mount.wait_until(lambda: mount.inode("a").base != replaced)
    mount.remote.go_offline()
    await mount.crash()
    mount.remote.heal()
    await mount.start()
    await mount.settle()
    assert await mount.contents() == workspace.files() == {"a": b"3"}
    assert not mount.tree.conflicts


@HOW
async def test_chunked_upload_goes_on_where_it_stopped(
    mount: WorkspaceMount, workspace: MemoryWorkspace, cleanly: bool
) -> None:
    workspace.limits = CHUNKED
    content = bytes(range(250)) * 40
    await mount.write("a", content)
    mount.remote.fail("send_chunk", OutcomeUnknown("cut off"), times=None)
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.wait_until(lambda: mount.memory.calls["open_upload"] and not mount.parts.connection.online)
    mount.remote.heal()
    mount.remote.hang("complete_upload")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("complete_upload")
    await mount.restart(cleanly=cleanly)
    mount.remote.release()
    with counted_calls(mount) as calls:
        await mount.settle()
    assert workspace.files() == {"a": content}
    assert "send_chunk" not in calls
    assert mount.changing_calls()["send_chunk"] == 10
    assert mount.changing_calls()["open_upload"] == 1


async def test_chunked_upload_of_content_that_changed_is_given_up(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.limits = CHUNKED
    await mount.write("a", bytes(5000))
    mount.remote.hang("complete_upload")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("complete_upload")
    await mount.crash()
    mount.remote.release()
    await mount.start()
    await mount.write("a", b"x" * 6000)
    await mount.settle()
    assert workspace.files() == {"a": b"x" * 6000}
    assert len(workspace.uploads()) == 1


@HOW
async def test_cached_content_is_not_fetched_again(
    mount: WorkspaceMount, workspace: MemoryWorkspace, cleanly: bool
) -> None:
    workspace.put("a", b"content")
    await mount.read("a")
    await mount.parts.content.upkeep.save_index()
    await mount.tree.journal.committed()
    await mount.restart(cleanly=cleanly)
    mount.remote.go_offline()
    assert await mount.read("a") == b"content"


async def test_killed_reader_never_takes_a_hole_for_content(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    content = bytes(range(1, 251)) * 400
    workspace.put("a", content)
    assert await mount.read("a") == content
    await mount.restart(cleanly=False)
    assert await mount.read("a") == content


async def test_killed_while_a_file_is_open_keeps_what_was_written(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    file = await mount.open("a", 1)
    await file.write(b"new and longer")
    await mount.restart(cleanly=False)
    assert await mount.read("a") == b"new and longer"
    await mount.settle()
    assert workspace.files() == {"a": b"new and longer"}


async def test_changes_of_others_while_stopped_are_seen(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    for path in ("a", "b", "d/c", "d/x"):
        workspace.put(path, path.encode())
    await mount.contents()
    await mount.stop()
    workspace.put("a", b"new")
    workspace.rename(workspace.find("b"), "e")
    workspace.move(workspace.find("d/c"), workspace.find(""))
    workspace.trash(workspace.find("d/x"))
    workspace.put("f/y", b"more")
    await mount.start()
    await mount.wait_live()
    await mount.catch_up()
    assert await mount.contents() == workspace_contents(workspace)


async def test_failure_is_still_told_after_a_restart(mount: WorkspaceMount) -> None:
    await mount.write("new\nline", b"content")
    await mount.settle()
    failures = mount.failures()
    await mount.restart()
    await mount.settle()
    assert mount.failures() == failures
    assert await mount.read("new\nline") == b"content"
