"""A file is renamed over another, which gives its node away, while the workspace is asked about that node."""

import os
from collections.abc import Sequence

import pytest
import trio

from mountfs.model.errors import OutcomeUnknown
from mountfs.model.ids import NodeId
from mountfs.model.node import RemoteNode
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.workspace_mount import WorkspaceMount, workspace_contents


async def _versions_of_both(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    for path in ("a", "b"):
        workspace.put(path, path.encode())
    await mount.contents()
    for call in ("changes", "list_folder"):
        mount.remote.hang(call)


async def _check(mount: WorkspaceMount, workspace: MemoryWorkspace, content: bytes) -> None:
    mount.remote.release()
    await mount.settle()
    await mount.catch_up()
    assert workspace_contents(workspace) == await mount.contents() == {"b": content}
    versions = workspace.versions(workspace.find("b"))
    assert [version.content for version in versions] == [b"b", content]
    assert not mount.tree.conflicts


async def test_own_version_found_meanwhile_is_not_taken_for_that_of_the_other(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """The commit of an earlier state happened, with its answer lost; the next one learns of it."""
    await _versions_of_both(mount, workspace)
    mount.remote.fail("commit", OutcomeUnknown("the answer was lost"), after_effect=True)
    mount.remote.hang("nodes")
    await mount.write("a", b"22")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("nodes")
    async with mount.opened("a", os.O_WRONLY) as file:
        # The doubt is looked into while the file is not closed.
        await file.write(b"333")
        mount.parts.content.notice(mount.inode("a"))
        mount.remote.release("nodes")
        await mount.wait_until(lambda: not mount.inode("a").sending)
    mount.remote.hang("nodes")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("nodes")
    await mount.rename("a", "b")
    await _check(mount, workspace, b"333")


async def test_deletion_learnt_of_meanwhile_is_not_that_of_the_other(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await _versions_of_both(mount, workspace)
    mount.remote.fail("commit", OutcomeUnknown("the answer was lost"))
    await mount.write("a", b"22")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.wait_until(lambda: mount.parts.sender._attempts)
    workspace.trash(workspace.find("a"))
    mount.remote.hang("nodes")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("nodes")
    await mount.rename("a", "b")
    await _check(mount, workspace, b"22")


async def test_answer_from_before_is_not_believed_of_who_has_the_node_now(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("a", "b"):
        workspace.put(path, path.encode())
    await mount.contents()
    node = mount.node("a")
    told, go_on, ask = trio.Event(), trio.Event(), mount.memory.nodes

    async def late(ids: Sequence[NodeId]) -> dict[NodeId, RemoteNode]:
        answer = await ask(ids)
        told.set()
        await go_on.wait()
        return answer

    async with trio.open_nursery() as nursery:
        monkeypatch.setattr(mount.memory, "nodes", late)
        nursery.start_soon(mount.parts.refresher.look_at, [node])
        await told.wait()
        monkeypatch.undo()
        await mount.write("a", b"22")
        await mount.settle()
        await mount.rename("a", "b")
        go_on.set()
    assert await mount.contents() == {"b": b"22"}
    await _check(mount, workspace, b"22")
