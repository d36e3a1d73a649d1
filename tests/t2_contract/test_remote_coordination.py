"""The contract of a Remote, for every implementation alike: leases, changes, cancelling."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import pytest
import trio

from mountfs.model.errors import (
    AccessDenied,
    LeaseHeld,
    LeaseNotHeld,
    LeaseNotOverridable,
    NodeNotFound,
    NotOffered,
)
from mountfs.model.ids import ROOT_NODE, ChangeCursor, LeaseToken, NodeId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.model.remote import LeaseHolder, Remote
from mountfs.server.behaviour import Behaviour
from tests.t2_contract import real_service

NOBODY = NodeId("2zzzzzzzzzzzzzzzzzzzzzzzzzzzz")

Store = Callable[[NodeId, str, bytes], Awaitable[NodeId]]


async def one(remote: Remote, node: NodeId) -> RemoteNode:
    return (await remote.nodes([node]))[node]


@pytest.fixture
async def folder(remote: Remote) -> NodeId:
    """A folder of this test's own: the server keeps the others' leavings."""
    return (await remote.create_folder(ROOT_NODE, f"test-{uuid4().hex}")).id


# Leases


async def test_lease_excludes_everybody(
    remote: Remote, other: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "f", b"x")
    lease = await remote.acquire_lease(node, duration_s=60, holder="host-a")
    assert lease.duration_s == 60
    assert (await one(remote, node)).locked
    with pytest.raises(LeaseHeld):
        await other.acquire_lease(node, duration_s=60, holder="host-b")
    try:
        again = await remote.acquire_lease(node, duration_s=60, holder="host-a")
    except LeaseHeld:
        assert promised.relock == "refused"
    else:
        assert (promised.relock, again.token) == ("renewed", lease.token)
    await remote.release_lease(node, lease.token)
    assert not (await one(remote, node)).locked
    theirs = await other.acquire_lease(node, duration_s=60, holder="host-b")
    await other.release_lease(node, theirs.token)


async def test_renewal_needs_the_living_token(remote: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"x")
    lease = await remote.acquire_lease(node, duration_s=60, holder="host")
    renewed = await remote.renew_lease(node, lease.token)
    assert (renewed.token, renewed.duration_s) == (lease.token, 60)
    with pytest.raises(LeaseNotHeld):
        await remote.renew_lease(node, LeaseToken("not-the-token"))
    await remote.release_lease(node, lease.token)
    await remote.release_lease(node, lease.token)
    with pytest.raises(LeaseNotHeld):
        await remote.renew_lease(node, lease.token)


async def test_lease_ends_by_itself(remote: Remote, other: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"x")
    lease = await remote.acquire_lease(node, duration_s=1, holder="host-a")
    with trio.fail_after(10):
        while True:
            try:
                theirs = await other.acquire_lease(node, duration_s=60, holder="host-b")
            except LeaseHeld:
                await trio.sleep(0.1)  # no event tells when a lease has ended
            else:
                break
    with pytest.raises(LeaseNotHeld):
        await remote.renew_lease(node, lease.token)
    await remote.release_lease(node, lease.token)
    assert (await one(other, node)).locked, "a dead token must not free the lock of another holder"
    await other.release_lease(node, theirs.token)


async def test_only_nodes_that_exist_can_be_locked(remote: Remote) -> None:
    with pytest.raises(NodeNotFound):
        await remote.acquire_lease(NOBODY, duration_s=60, holder="host")


async def test_holder_of_a_lease_is_told(
    remote: Remote, other: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "f", b"x")
    assert await other.lease_holder(node) is None
    lease = await remote.acquire_lease(node, duration_s=60, holder="host-a")
    told = await other.lease_holder(node)
    assert told is not None
    if promised.lock_answer == "full":
        assert told.holder == "host-a"
        assert 59e9 <= told.until_ns - told.since_ns <= 61e9
    else:
        assert told == LeaseHolder("", 0, 0)
    await remote.release_lease(node, lease.token)
    assert await other.lease_holder(node) is None
    with pytest.raises(NodeNotFound):
        await other.lease_holder(NOBODY)


async def test_overridden_lease_is_lost_and_free(
    remote: Remote, other: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "f", b"x")
    lease = await remote.acquire_lease(node, duration_s=60, holder="host-a")
    start = await remote.changes(None)
    may = promised.token_mode == "rwa"
    if not may or not promised.lock_override:
        with pytest.raises(LeaseNotOverridable if may else AccessDenied):
            await other.override_lease(node)
        await remote.renew_lease(node, lease.token)
        return
    await other.override_lease(node)
    await other.override_lease(node)
    told = await remote.changes(start.cursor, wait_s=10)
    assert node in told.nodes or told.everything
    with pytest.raises(LeaseNotHeld):
        await remote.renew_lease(node, lease.token)
    theirs = await other.acquire_lease(node, duration_s=60, holder="host-b")
    await other.release_lease(node, theirs.token)


# Changes


async def test_changes_name_the_nodes(remote: Remote, other: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"x")
    start = await remote.changes(None)
    assert (start.nodes, start.everything) == (frozenset(), False)
    quiet = await remote.changes(start.cursor)
    assert quiet.nodes == frozenset()
    await other.rename(node, "g")
    told = await remote.changes(start.cursor, wait_s=10)
    assert node in told.nodes or told.everything
    again = await remote.changes(told.cursor)
    assert node not in again.nodes
    assert not again.everything


@pytest.mark.parametrize("action", ["upload", "move", "trash", "create_folder"])
async def test_every_change_is_told(
    remote: Remote, folder: NodeId, store: Store, action: str, promised: Behaviour
) -> None:
    if action == "upload" and promised.file_onto_file != "version":
        pytest.skip("the service makes no version of what is uploaded onto a file")
    node = await store(folder, "f", b"x")
    inner = (await remote.create_folder(folder, "inner")).id
    start = await remote.changes(None)
    if action == "upload":
        await store(folder, "f", b"y")
    elif action == "move":
        await remote.move(node, inner)
    elif action == "trash":
        await remote.trash(node)
    else:
        node = (await remote.create_folder(inner, "deeper")).id
    told = await remote.changes(start.cursor, wait_s=10)
    assert node in told.nodes or told.everything


async def test_long_poll_wakes_at_once(remote: Remote, other: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"x")
    start = await remote.changes(None)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.rename, node, "g")
        told = await remote.changes(start.cursor, wait_s=60)
    assert node in told.nodes or told.everything
    assert trio.current_time() - began < 20


async def test_waiting_for_nothing_ends_in_time(remote: Remote) -> None:
    cursor = (await remote.changes(None)).cursor
    with trio.fail_after(15):
        told = await remote.changes(cursor, wait_s=1)
    assert told.nodes == frozenset()


async def test_unknown_cursor_gives_everything(remote: Remote) -> None:
    told = await remote.changes(ChangeCursor("no cursor of ours"))
    assert told.everything
    assert not (await remote.changes(told.cursor)).everything


async def test_what_is_pushed_names_the_nodes(
    remote: Remote, other: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    if promised.pushes_lost:
        pytest.skip("the channel loses what happens")
    node = await store(folder, "f", b"x")
    with trio.fail_after(20):
        async with _offered(remote.pushed(), promised) as told:
            await other.rename(node, "g")
            await _until_told(told, node)
            # One that is opened later hears of what comes later.
            async with remote.pushed() as again:
                await other.rename(node, "h")
                await _until_told(again, node)
            await _until_told(told, node)


async def test_channel_may_be_left_at_any_time(remote: Remote, promised: Behaviour) -> None:
    for deadline_s in (0, 0.001, 0.01, 0.1):
        with trio.move_on_after(deadline_s):
            async with _offered(remote.pushed(), promised) as told:
                async for _ in told:
                    pass
    assert await one(remote, ROOT_NODE)


@asynccontextmanager
async def _offered(
    channel: AbstractAsyncContextManager[AsyncIterator[frozenset[NodeId]]], promised: Behaviour
) -> AsyncIterator[AsyncIterator[frozenset[NodeId]]]:
    """The real service is the only one of which nobody knows."""
    try:
        async with channel as told:
            assert promised.websocket != "absent"
            yield told
    except NotOffered as error:
        if promised.websocket != "absent" and not real_service.is_asked_for():
            raise
        pytest.skip(error.message)


async def _until_told(told: AsyncIterator[frozenset[NodeId]], node: NodeId) -> None:
    async for nodes in told:
        if node in nodes:
            return
    pytest.fail("the channel ended without a word")


async def test_inventory_has_what_lives(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    files = {f"f{number}": await store(folder, f"f{number}", b"x" * number) for number in range(3)}
    inner = (await remote.create_folder(folder, "inner")).id
    deep = await store(inner, "deep", b"")
    gone = await store(folder, "gone", b"")
    await remote.trash(gone)
    try:
        rows = await _inventory(remote)
    except NotOffered as error:
        if promised.inventory and not real_service.is_asked_for():
            raise
        pytest.skip(error.message)
    assert {name: (rows[node].name, rows[node].parent, rows[node].size) for name, node in files.items()} == {
        f"f{number}": (f"f{number}", folder, number) for number in range(3)
    }
    assert rows[folder].parent == ROOT_NODE
    assert rows[deep].parent == inner
    assert rows[inner].kind is NodeKind.FOLDER
    assert gone not in rows
    told = (await remote.nodes([deep]))[deep]
    assert rows[deep].modified_ns == told.modified_ns, "so that what did not change looks like that"


async def _inventory(remote: Remote) -> dict[NodeId, RemoteNode]:
    rows: dict[NodeId, RemoteNode] = {}
    following: str | None = None
    while True:
        page = await remote.inventory(following)
        rows |= {node.id: node for node in page.nodes}
        following = page.following
        if following is None:
            return rows


# Cancelling


async def test_cancelled_calls_leave_a_working_client(remote: Remote) -> None:
    cursor = (await remote.changes(None)).cursor
    for deadline_s in (0, 0.001, 0.01, 0.1):
        with trio.move_on_after(deadline_s):
            await remote.changes(cursor, wait_s=60)
        with trio.move_on_after(deadline_s):
            await remote.list_folder(ROOT_NODE)
    assert await one(remote, ROOT_NODE)


async def test_survey_tells_what_changed_whoever_made_it(
    remote: Remote, other: Remote, store: Store, promised: Behaviour
) -> None:
    if promised.feed_lost:
        pytest.skip("the feed loses rows")
    first = await remote.survey(None)
    assert (first.nodes, first.everything) == (frozenset(), False)
    node = await store(ROOT_NODE, f"surveyed-{uuid4().hex}", b"x")
    folder = await other.create_folder(ROOT_NODE, f"surveyed-{uuid4().hex}")
    second = await remote.survey(first.cursor)
    assert {node, folder.id} <= second.nodes
