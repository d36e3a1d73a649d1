"""What was written under a lock that is lost is kept aside, and descriptors stay with the path; long, as a
lock may be lost at so many moments."""

import os
from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from mountfs.model.errors import (
    AccessDenied,
    ContentSetAside,
    LeaseLost,
    RemoteUnavailable,
    RequestRefused,
    WouldBlock,
)
from mountfs.model.filesystem import LockKind, LockOwner
from mountfs.model.ids import ROOT_INO, NodeId
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.rules.happenings import Kind
from mountfs.rules.lease import RENEW_BY
from mountfs.sync.cached_range import ContentChanged
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.lock_world import done
from tests.t3_filesystem.path_operations import OpenPath
from tests.t3_filesystem.workspace_mount import (
    PATIENCE_S,
    MountOptions,
    WorkspaceMount,
    counted_calls,
)
from tests.waiting import eventually

LEASE_S = 1200
"""By the fast clock: longer than a slow machine stands still."""

BRISK_LEASE_S = 90

OWNER = LockOwner(5)


@pytest.fixture(params=[True, False], ids=["passthrough", "ordinary"])
async def mount(mounting: Mounting, request: pytest.FixtureRequest) -> AsyncIterator[WorkspaceMount]:
    async with mounting(options=MountOptions(passthrough=request.param, lease_s=LEASE_S)) as made:
        yield made


@pytest.fixture(params=[True, False], ids=["passthrough", "ordinary"])
async def brisk(mounting: Mounting, request: pytest.FixtureRequest) -> AsyncIterator[WorkspaceMount]:
    """Its renewals are due before an unlock gives up."""
    async with mounting(options=MountOptions(passthrough=request.param, lease_s=BRISK_LEASE_S)) as made:
        yield made


class Program:
    """Has one file open, and locks it by flock as the kernel tells of it."""

    def __init__(self, mount: WorkspaceMount, file: OpenPath) -> None:
        self.mount = mount
        self.file = file

    @classmethod
    async def opened(cls, mount: WorkspaceMount, path: str) -> "Program":
        await mount.read(path)
        return cls(mount, await mount.open(path, os.O_RDWR))

    async def lock(self, *, wait: bool = True) -> None:
        await self._flock(LockKind.EXCLUSIVE, wait=wait)

    async def unlock(self) -> None:
        await self._flock(None)

    async def _flock(self, kind: LockKind | None, *, wait: bool = True) -> None:
        with trio.fail_after(PATIENCE_S):
            await done(
                partial(
                    self.mount.filesystem.flock,
                    *(self.file.ino, self.file.handle, OWNER, kind),
                    wait=wait,
                    granted=lambda: None,
                )
            )

    async def close(self) -> None:
        try:
            await self.mount.filesystem.flush(self.file.handle)
        finally:
            self.mount.filesystem.drop_flock(self.file.ino, OWNER)
            await self.mount.filesystem.release(self.file.handle)


async def holder_that_wrote(mount: WorkspaceMount, workspace: MemoryWorkspace) -> Program:
    """Return a program that has the lock of `a`, which had `old`, and wrote `ours` to it."""
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.lock()
    await program.file.write(b"ours")
    return program


def pass_time(seconds: float) -> None:
    cast("MockClock", trio.lowlevel.current_clock()).jump(seconds)


async def lose_lease(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    """The workspace frees it; return when the mount, whose next renewal is due, knows."""
    lost = mount.parts.locks.statistics().leases_lost
    workspace.drop_leases()
    pass_time(RENEW_BY * mount.options.lease_s)
    await eventually(lambda: mount.parts.locks.statistics().leases_lost > lost, limit_s=PATIENCE_S)


def aside(workspace: MemoryWorkspace) -> list[bytes]:
    """Return the contents of the conflict copies."""
    return [content for path, content in workspace.files().items() if "(conflict" in path]


async def compare(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await mount.settle()
    await mount.catch_up()
    await mount.settle()
    assert await mount.contents() == workspace.files()


async def test_descriptors_of_a_lost_lock_fail_and_the_content_is_kept_aside(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    await lose_lease(mount, workspace)
    workspace.put("a", b"theirs")
    filesystem, handle = mount.filesystem, program.file.handle
    for operation in (
        lambda: filesystem.read(handle, 0, 10),
        lambda: filesystem.write(handle, 0, b"more"),
        lambda: filesystem.fsync(handle, data_only=False),
        program.close,
    ):
        with pytest.raises(LeaseLost):
            await operation()
    assert mount.tree.happenings.counts[Kind.LOCK_LOST] == 1
    await compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs"
    assert aside(workspace) == [b"ours"]


async def test_a_descriptor_that_locked_nothing_goes_on(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    async with mount.opened("a") as other:
        await program.lock()
        await lose_lease(mount, workspace)
        assert await other.read() == b"old"
    with pytest.raises(LeaseLost):
        await program.close()


async def test_after_the_unlock_the_descriptor_is_one_of_the_path(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    await lose_lease(mount, workspace)
    workspace.put("a", b"theirs")
    with pytest.raises(LeaseLost):
        await program.lock()
    with pytest.raises(LeaseLost):
        await program.unlock()
    await program.lock()
    assert await program.file.read() == b"theirs"
    await program.file.write(b" and ours", offset=6)
    await program.unlock()
    assert workspace.files()["a"] == b"theirs and ours"
    await program.close()
    await compare(mount, workspace)
    assert aside(workspace) == [b"ours"]


async def test_what_a_lost_lease_covered_is_not_committed_though_nobody_wrote_since(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.lock()
    await program.file.write(b"ours")
    await lose_lease(mount, workspace)
    with pytest.raises(LeaseLost):
        await program.unlock()
    await mount.settle()
    await mount.parts.content.superseding.ended(mount.inode("a"))
    assert await program.file.read() == b"old", "somebody may have read it under the lock by now"
    await program.close()
    await compare(mount, workspace)
    assert [version.content for version in workspace.versions(node)] == [b"old"]
    assert aside(workspace) == [b"ours"]


async def lose_lease_during(
    step: str, program: Program, workspace: MemoryWorkspace, *, then: bytes | None = None
) -> None:
    """Unlock, and lose the lease while the upload is at this step; then somebody else writes."""
    mount, told = program.mount, False
    mount.remote.hang(step)

    async def unlock() -> None:
        nonlocal told
        try:
            await program.unlock()
        except LeaseLost:
            told = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unlock)
        await mount.remote.wait_hanging(step)
        await lose_lease(mount, workspace)
    assert told
    if then is not None:
        workspace.put("a", then)
    mount.remote.release()


async def test_an_upload_under_way_is_not_committed_when_the_lease_is_lost(
    brisk: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(brisk, workspace)
    with counted_calls(brisk) as calls:
        await lose_lease_during("upload_small", program, workspace, then=b"theirs")
        await brisk.settle()
    assert "commit" not in calls
    await program.close()
    await compare(brisk, workspace)
    assert workspace.files()["a"] == b"theirs"
    assert aside(workspace) == [b"ours"]


@pytest.mark.parametrize("then", [b"theirs", None])
async def test_a_commit_on_its_way_counts_as_the_workspace_has_it(
    brisk: WorkspaceMount, workspace: MemoryWorkspace, then: bytes | None
) -> None:
    program = await holder_that_wrote(brisk, workspace)
    await lose_lease_during("commit", program, workspace, then=then)
    await program.close()
    await compare(brisk, workspace)
    assert workspace.files()["a"] == (then or b"ours")
    assert aside(workspace) == ([b"ours"] if then else [])
    await brisk.write("a", b"later")
    await compare(brisk, workspace)
    assert workspace.files()["a"] == b"later", "what comes later is not held back"


async def test_a_descriptor_that_is_open_over_a_conflict_shows_theirs(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"old")
    ino = (await mount.stat("a")).ino
    program = await Program.opened(mount, "a")
    await program.file.write(b"ours")
    await program.file.fsync()
    workspace.put("a", b"theirs, which is longer")
    await mount.settle()
    await mount.parts.content.superseding.ended(mount.inode("a"))
    assert await program.file.read() == b"theirs, which is longer"
    await program.file.write(b"and more", offset=23)
    await program.close()
    await compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs, which is longerand more"
    assert aside(workspace) == [b"ours"]
    assert (await mount.stat("a")).ino == ino
    assert mount.node("a") == node


async def test_a_write_over_a_conflict_is_sent_with_what_is_kept_aside(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.file.write(b"ours")
    await program.file.fsync()
    workspace.put("a", b"theirs")
    mount.remote.hang("commit")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.settle)
        await mount.remote.wait_hanging("commit")
        await program.file.write(b"ours, changed")
        mount.remote.release()
    await program.close()
    await compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs"
    assert aside(workspace) == [b"ours, changed"]


async def test_a_file_that_got_theirs_by_a_still_newer_version_is_held_back_no_more(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    await lose_lease(mount, workspace)
    with pytest.raises(LeaseLost):
        await program.unlock()
    mount.remote.hang("read")
    workspace.put("a", b"theirs")
    await mount.settle()
    workspace.put("a", b"newer")
    await mount.catch_up()
    mount.remote.release()
    await program.lock()
    assert await program.file.read() == b"newer"
    await program.file.write(b"ours!")
    await program.unlock()
    assert workspace.files()["a"] == b"ours!"
    await program.close()
    assert aside(workspace) == [b"ours"]


async def test_what_was_written_and_not_sealed_is_never_read_for_an_upload(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """A close during the reading would seal it together with what came since, unseen."""
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.file.write(b"not sealed")
    inode = mount.inode("a")
    with pytest.raises(ContentChanged):
        await mount.parts.uploads.sha256(inode)
    with pytest.raises(ContentChanged):
        await mount.parts.uploads.send(inode, None)
    await program.close()
    await mount.settle()
    assert workspace.files()["a"] == b"not sealed"


async def test_a_crash_between_the_copy_and_the_arrival_of_theirs_loses_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.file.write(b"ours")
    await program.file.fsync()
    workspace.put("a", b"theirs")
    mount.remote.hang("read")
    await mount.settle()
    await mount.crash()
    mount.remote.release()
    await mount.start()
    await mount.wait_live()
    await compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs"
    assert aside(workspace) == [b"ours"]


async def reads_theirs_under_the_lock(
    mount: WorkspaceMount, workspace: MemoryWorkspace, program: Program
) -> None:
    await program.lock()
    assert await program.file.read() == b"theirs"
    await program.unlock()
    await program.close()
    await compare(mount, workspace)
    assert aside(workspace) == [b"ours"]


async def test_taking_a_lock_settles_what_was_written_before(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.file.write(b"ours")
    workspace.put("a", b"theirs")
    await reads_theirs_under_the_lock(mount, workspace, program)


async def test_an_unlock_tells_when_somebody_wrote_without_the_lock(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    workspace.put("a", b"theirs")
    with pytest.raises(ContentSetAside):
        await program.unlock()
    await program.close()
    await compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs"
    assert aside(workspace) == [b"ours"]


async def failed_before(mount: WorkspaceMount, workspace: MemoryWorkspace) -> Program:
    """Return a program that has `a` open, whose change by an earlier run could not be sent, while others
    changed it, too."""
    workspace.put("a", b"old")
    await mount.read("a")
    mount.remote.fail("upload_small", AccessDenied("no right to write"), times=None)
    await mount.write("a", b"ours")
    await mount.settle()
    await mount.tree.journal.synced()
    await mount.crash()
    workspace.put("a", b"theirs")
    await mount.start()
    await mount.wait_live()
    assert mount.failures()
    return await Program.opened(mount, "a")


async def test_taking_a_lock_settles_what_an_earlier_run_could_not_send(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await failed_before(mount, workspace)
    mount.remote.heal()
    await reads_theirs_under_the_lock(mount, workspace, program)


async def test_no_lock_is_granted_over_a_change_that_hides_what_others_published(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await failed_before(mount, workspace)
    with pytest.raises(RequestRefused):
        await program.lock()
    mount.remote.heal()
    await program.close()


async def test_an_unlock_tells_of_a_conflict_that_was_noticed_before_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    await program.file.fsync()
    workspace.put("a", b"theirs")
    await mount.settle()
    assert aside(workspace) == [b"ours"]
    with pytest.raises(ContentSetAside):
        await program.unlock()
    await program.close()


async def test_an_unlock_tells_of_an_upload_that_failed_before(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    program = await holder_that_wrote(mount, workspace)
    await program.file.fsync()
    mount.remote.fail("upload_small", AccessDenied("no right to write"), times=None)
    await mount.settle()
    assert mount.failures()
    with pytest.raises(RequestRefused):
        await program.unlock()
    mount.remote.heal()
    # The unlock tells of the failure before, and not of the try that it began itself.
    await mount.wait_until(lambda: not mount.inode("a").sending)
    mount.parts.sender.retry([mount.inode("a")])
    await mount.wait_until(lambda: workspace.files()["a"] == b"ours")
    await program.close()


async def crash_under_lock(mount: WorkspaceMount, workspace: MemoryWorkspace) -> NodeId:
    """Write under a lock, seal it, and die before it is sent."""
    node = workspace.put("a", b"old")
    program = await Program.opened(mount, "a")
    await program.lock()
    await program.file.write(b"ours")
    await program.file.fsync()
    await mount.crash()
    assert workspace.lease_holder(node, trio.current_time()) == mount.parts.holder
    return node


async def start_again(mount: WorkspaceMount) -> None:
    await mount.start()
    await until_settled(mount)


async def until_settled(mount: WorkspaceMount) -> None:
    """Return when nothing is left of the locks of an earlier run."""
    await mount.wait_live()
    await eventually(lambda: not mount.parts.locks.statistics().files, limit_s=PATIENCE_S)


async def test_a_lease_that_still_holds_after_a_crash_publishes_and_is_given_back(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = await crash_under_lock(mount, workspace)
    mount.remote.hang("renew_lease")
    await mount.start()
    await mount.remote.wait_hanging("renew_lease")
    mount.parts.sender.expedite(mount.tree.pending.values())
    # What was sent is given back to be sent again: it could not be placed.
    await eventually(lambda: mount.memory.calls["cancel_upload"], limit_s=PATIENCE_S)
    assert workspace.files()["a"] == b"old", "whether it still holds is not known yet"
    mount.remote.release()
    await eventually(lambda: not workspace.lease_holder(node, trio.current_time()), limit_s=PATIENCE_S)
    assert workspace.files() == {"a": b"ours"}


@pytest.mark.parametrize("then", [b"theirs", None])
async def test_a_lease_that_ended_after_a_crash_leaves_it_to_the_version(
    mount: WorkspaceMount, workspace: MemoryWorkspace, then: bytes | None
) -> None:
    await crash_under_lock(mount, workspace)
    workspace.drop_leases()
    if then is not None:
        workspace.put("a", then)
    await start_again(mount)
    await compare(mount, workspace)
    assert workspace.files()["a"] == (then or b"ours")
    assert aside(workspace) == ([b"ours"] if then else [])


async def test_what_was_written_under_a_lease_that_ended_needs_another(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = await crash_under_lock(mount, workspace)
    workspace.drop_leases()
    mount.remote.hang("commit")
    await mount.start()
    await mount.remote.wait_hanging("commit")
    assert workspace.lease_holder(node, trio.current_time()) == mount.parts.holder
    mount.remote.release()
    await eventually(lambda: not workspace.lease_holder(node, trio.current_time()), limit_s=PATIENCE_S)
    assert workspace.files() == {"a": b"ours"}


async def test_nobody_gets_a_lock_that_was_taken_again_before_what_others_wrote(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await crash_under_lock(mount, workspace)
    workspace.drop_leases()
    workspace.put("a", b"theirs")
    mount.remote.fail("upload_small", RemoteUnavailable("the network is down"), times=None)
    await mount.start()
    await mount.wait_live()
    program = await Program.opened(mount, "a")
    with pytest.raises((RemoteUnavailable, WouldBlock)):
        await program.lock(wait=False)
    mount.remote.heal()
    await reads_theirs_under_the_lock(mount, workspace, program)


async def test_what_cannot_be_published_under_a_lock_that_was_taken_again_gives_it_up(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = await crash_under_lock(mount, workspace)
    workspace.drop_leases()
    workspace.put("a", b"theirs")
    mount.remote.fail("upload_small", AccessDenied("no right to write"), times=None)
    await start_again(mount)
    assert not workspace.lease_holder(node, trio.current_time())
    assert mount.parts.locks.statistics().leases_lost == 1
    mount.remote.heal()
    mount.parts.sender.retry(list(mount.tree.pending.values()))
    await compare(mount, workspace)
    assert (workspace.files()["a"], aside(workspace)) == (b"theirs", [b"ours"])


@pytest.mark.parametrize("is_away", [False, True], ids=["there", "away at first"])
async def test_a_lease_that_another_has_after_a_crash_is_lost(
    mount: WorkspaceMount, workspace: MemoryWorkspace, is_away: bool
) -> None:
    """What they write under their lock is based on what they read under it."""
    node = await crash_under_lock(mount, workspace)
    workspace.drop_leases()
    other = MemoryRemote(workspace)
    theirs = await other.acquire_lease(node, duration_s=10**6, holder="there")
    if is_away:
        mount.remote.hang("renew_lease")
        mount.remote.fail("renew_lease", RemoteUnavailable("the network is down"))
    await mount.start()
    if is_away:
        await mount.remote.wait_hanging("renew_lease")
        pass_time(2 * LEASE_S)
        mount.remote.release()
        mount.remote.hang("renew_lease")
        await mount.remote.wait_hanging("renew_lease")
        mount.remote.release()
    await until_settled(mount)
    await mount.settle()
    assert (workspace.files()["a"], aside(workspace)) == (b"old", [b"ours"])
    assert mount.parts.locks.statistics().leases_lost == 1
    assert mount.tree.happenings.counts[Kind.LOCK_LOST] == 1
    workspace.put("a", b"theirs")
    await other.release_lease(node, theirs.token)
    await compare(mount, workspace)
    assert workspace.files()["a"] == b"theirs"


async def test_who_does_not_want_to_wait_is_told_that_nobody_knows_of_the_lease_before(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await crash_under_lock(mount, workspace)
    mount.remote.fail("renew_lease", RemoteUnavailable("the network is down"), times=None)
    await mount.start()
    await mount.wait_live()
    program = await Program.opened(mount, "a")
    # Not only when the time for that is over, which is told in other words.
    with pytest.raises(RemoteUnavailable, match="the network is down"):
        await program.lock(wait=False)
    mount.remote.heal()
    await program.lock()
    await program.unlock()
    await program.close()


async def test_a_lock_can_be_taken_at_once_after_the_restart(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await crash_under_lock(mount, workspace)
    await mount.start()
    await mount.wait_live()
    program = await Program.opened(mount, "a")
    await program.lock()
    assert workspace.files()["a"] == await program.file.read() == b"ours"
    await program.unlock()
    await program.close()


async def test_a_number_that_the_kernel_has_at_the_path_leads_to_theirs(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """Else a program that opens the path just then would lock, and change, the conflict copy."""
    workspace.put("a", b"old")
    await mount.catch_up()
    ino = (await mount.filesystem.lookup(ROOT_INO, b"a")).ino
    await mount.write("a", b"ours")
    workspace.put("a", b"theirs")
    await mount.settle()
    opened = await mount.filesystem.open(ino, os.O_RDONLY)
    assert await mount.filesystem.read(opened.handle, 0, 100) == b"theirs"
    await mount.filesystem.release(opened.handle)
    assert aside(workspace) == [b"ours"]
