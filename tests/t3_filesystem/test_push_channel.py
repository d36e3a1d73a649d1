"""What is pushed is known at once; what the channel loses, or one that is not there, costs time only."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.locks import lease_agent
from mountfs.model.errors import RemoteUnavailable
from mountfs.model.filesystem import LockKind, LockOwner
from mountfs.model.ids import NodeId
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.rules.backoff import Backoff
from mountfs.sync.follower import PUSHED_PAUSE_S
from tests.t3_filesystem.lock_world import done
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, WorkspaceMount


@pytest.fixture
async def mount(tmp_path: Path, workspace: MemoryWorkspace) -> AsyncIterator[WorkspaceMount]:
    """A mount that is pushed to."""
    async with trio.open_nursery() as nursery:
        made = WorkspaceMount(nursery, tmp_path / "here", workspace, "here", MountOptions())
        made.memory.has_push = True
        await made.start()
        await made.wait_live()
        await until(lambda: is_true(made.parts.follower.is_pushed_to))
        yield made
        if made.is_running:
            await made.stop()


async def is_true(condition: bool) -> bool:
    return condition


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await condition():
            await wait_all_tasks_blocked(0.001)


async def shows(mount: WorkspaceMount, expected: dict[str, bytes | None]) -> None:
    async def does() -> bool:
        return await mount.contents() == expected

    await until(does)


@asynccontextmanager
async def held_elsewhere(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Another host has the lock of the file `a`, and nobody here tries to take it without news; yields how
    that host gives it back."""
    monkeypatch.setattr(lease_agent, "ACQUIRING", Backoff(3600, 3600))
    node = workspace.put("a", b"a")
    await shows(mount, {"a": b"a"})
    other = MemoryRemote(workspace)
    theirs = await other.acquire_lease(node, duration_s=3600, holder="there")
    # The mount's clock: what was told until now is asked for again by then, and counted by no test.
    await trio.sleep(2)
    yield partial(other.release_lease, node, theirs.token)


@asynccontextmanager
async def waiting_for_lock(mount: WorkspaceMount) -> AsyncIterator[None]:
    """A program waits for the lock of the file `a`, has it in the end, and gives it back."""
    async with mount.opened("a") as file:
        flock = partial(mount.parts.locks.flock, file.ino, file.handle, LockOwner(1), wait=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(done, partial(flock, LockKind.EXCLUSIVE))
            await until(lambda: is_true(mount.parts.locks.awaiting_others))
            yield
        await done(partial(flock, None))


async def hang_feed(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    """From now on the feed tells nothing; what it was asked before it tells of a folder."""
    mount.remote.hang("changes")
    workspace.put("told last/x", b"")
    await mount.remote.wait_hanging("changes")
    await shows(mount, {"told last": None, "told last/x": b""})


async def test_what_is_pushed_is_known_though_the_feed_says_nothing(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await hang_feed(mount, workspace)
    node = workspace.put("told last/a", b"a")
    await shows(mount, {"told last": None, "told last/x": b"", "told last/a": b"a"})
    workspace.rename(node, "b")
    await shows(mount, {"told last": None, "told last/x": b"", "told last/b": b"a"})
    workspace.trash(node)
    await shows(mount, {"told last": None, "told last/x": b""})
    assert mount.parts.refresher.live_since is not None
    mount.remote.release("changes")


async def test_feed_tells_what_the_channel_loses(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def losing() -> AsyncIterator[AsyncIterator[frozenset[NodeId]]]:
        await trio.lowlevel.checkpoint()
        yield _Silence()

    monkeypatch.setattr(mount.memory, "pushed", losing)
    await mount.restart()
    await mount.wait_live()
    await until(lambda: is_true(mount.parts.follower.is_pushed_to))
    workspace.put("a", b"a")
    await shows(mount, {"a": b"a"})
    workspace.put("a", b"newer")
    await shows(mount, {"a": b"newer"})


class _Silence:
    def __aiter__(self) -> "_Silence":
        return self

    async def __anext__(self) -> frozenset[NodeId]:
        await trio.sleep_forever()
        raise AssertionError


async def test_what_both_tell_is_asked_for_at_once_and_once_more(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    node = workspace.put("a", b"a")
    await shows(mount, {"a": b"a"})
    # The mount's clock, here and below: what comes second is asked for by then, whenever it came.
    await trio.sleep(3)
    before = mount.memory.calls["nodes"]
    workspace.rename(node, "b")
    await shows(mount, {"b": b"a"})
    await trio.sleep(3)
    assert mount.memory.calls["nodes"] - before == 2


async def test_channel_that_breaks_is_opened_again(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    mount.remote.fail("pushed", RemoteUnavailable("the channel broke"), after_effect=True)
    await mount.restart()
    await mount.wait_live()
    await until(lambda: is_true(mount.parts.follower.is_pushed_to))
    opened = mount.memory.calls["pushed"]
    workspace.put("a", b"a")
    await shows(mount, {"a": b"a"})
    workspace.put("b", b"b")
    await shows(mount, {"a": b"a", "b": b"b"})
    await until(lambda: is_true(mount.memory.calls["pushed"] > opened))
    await until(lambda: is_true(mount.parts.follower.is_pushed_to))
    mount.remote.hang("changes")
    workspace.put("c", b"c")
    await mount.remote.wait_hanging("changes")
    workspace.put("d", b"d")
    await shows(mount, {"a": b"a", "b": b"b", "c": b"c", "d": b"d"})
    mount.remote.release("changes")


async def test_service_without_a_channel_is_left_alone(
    mounting: Callable[..., AbstractAsyncContextManager[WorkspaceMount]], workspace: MemoryWorkspace
) -> None:
    async with mounting() as mount:
        workspace.put("a", b"a")
        await mount.catch_up()
        cast("MockClock", trio.lowlevel.current_clock()).jump(3600)
        await mount.catch_up()
        assert mount.memory.calls["pushed"] == 1
        assert await mount.contents() == {"a": b"a"}


async def test_push_that_cannot_be_looked_into_is_looked_into_later(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await hang_feed(mount, workspace)
    mount.remote.fail("nodes", RemoteUnavailable("the network is down"), times=1)
    workspace.put("told last/a", b"a")
    await shows(mount, {"told last": None, "told last/x": b"", "told last/a": b"a"})
    mount.remote.release("changes")


async def test_lock_that_another_host_gives_back_is_taken_when_that_is_pushed(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_elsewhere(mount, workspace, monkeypatch) as give_back:
        mount.remote.hang("changes")
        workspace.put("told last", b"")
        await mount.remote.wait_hanging("changes")
        async with waiting_for_lock(mount):
            await wait_all_tasks_blocked(0.05)
            await give_back()
            node, ours = workspace.find("a"), mount.parts.holder
            await until(lambda: is_true(workspace.lease_holder(node, trio.current_time()) == ours))
            # What the lock makes fresh is the feed's matter.
            mount.remote.release("changes")


async def test_whoever_waits_for_a_lock_is_not_told_by_the_feed_what_is_pushed(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_elsewhere(mount, workspace, monkeypatch) as give_back, waiting_for_lock(mount):
        tries, polls = mount.memory.calls["acquire_lease"], mount.memory.calls["changes"]
        for number in range(6):
            workspace.put("a", b"%d" % number)
            await wait_all_tasks_blocked()
        # At every other version the file is looked at, and the news after that are taken for the release.
        assert mount.memory.calls["acquire_lease"] - tries >= 3
        assert mount.memory.calls["changes"] - polls <= 3
        await give_back()


async def test_changes_of_a_file_that_is_locked_here_are_polled_for_seldom_where_they_are_pushed(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"a")
    await shows(mount, {"a": b"a"})
    async with mount.opened("a") as file:
        flock = partial(mount.parts.locks.flock, file.ino, file.handle, LockOwner(1), wait=True)
        await done(partial(flock, LockKind.EXCLUSIVE))
        began, polls = trio.current_time(), mount.memory.calls["changes"]
        for number in range(20):
            workspace.put("a", b"%d" % number)
            await trio.sleep(0.2)  # the mount's clock: how often it asks is what is counted
        passed_s = trio.current_time() - began
        assert mount.memory.calls["changes"] - polls <= passed_s / PUSHED_PAUSE_S + 3
        await done(partial(flock, None))
