"""What the test doubles promise beyond the contract of a Remote."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.model.errors import (
    CredentialRefused,
    LeaseHeld,
    LeaseNotHeld,
    OutcomeUnknown,
    ReadOnlyCredential,
    RemoteUnavailable,
    WorkspaceUnknown,
)
from mountfs.model.ids import ROOT_NODE
from mountfs.model.remote import NewFile, Remote, Service, UploadStatus
from mountfs.remotes.faulty import ANY, METHODS, FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryService, MemoryWorkspace


@pytest.fixture
def workspace() -> MemoryWorkspace:
    return MemoryWorkspace()


async def test_service_finds_its_workspaces(workspace: MemoryWorkspace) -> None:
    memory = MemoryService(workspace)
    service: Service = memory
    found = await service.find_workspace("main")
    assert (found.id, found.writable) == (workspace.id, True)
    remote = service.remote(found.id)
    await remote.create_folder(ROOT_NODE, "a")
    assert workspace.folders() == {"a"}
    with pytest.raises(WorkspaceUnknown, match="main"):
        await service.find_workspace("other")
    memory.credential_valid = False
    with pytest.raises(CredentialRefused):
        await service.check_credential()


async def test_outcome_can_be_looked_at(workspace: MemoryWorkspace) -> None:
    remote = MemoryRemote(workspace)
    node = workspace.put("a/b/f.txt", b"one")
    assert workspace.put("a/b/f.txt", b"two") == node == workspace.find("a/b/f.txt")
    assert (workspace.files(), workspace.folders()) == ({"a/b/f.txt": b"two"}, {"a", "a/b"})
    assert [version.content for version in workspace.versions(node)] == [b"one", b"two"]
    await remote.trash(node)
    assert (workspace.files(), workspace.trash_names()) == ({}, ["f.txt"])
    assert remote.calls == {"trash": 1}


async def test_read_only_workspace_refuses_every_change() -> None:
    remote = MemoryRemote(MemoryWorkspace(writable=False))
    assert await remote.list_folder(ROOT_NODE) == []
    with pytest.raises(ReadOnlyCredential):
        await remote.create_folder(ROOT_NODE, "a")


async def test_leases_follow_the_virtual_clock(workspace: MemoryWorkspace, autojump_clock: MockClock) -> None:
    ours, theirs = MemoryRemote(workspace), MemoryRemote(workspace)
    node = workspace.put("f", b"")
    lease = await ours.acquire_lease(node, duration_s=300, holder="us")
    await trio.sleep(299)
    await ours.renew_lease(node, lease.token)
    await trio.sleep(299)
    with pytest.raises(LeaseHeld, match="us"):
        await theirs.acquire_lease(node, duration_s=300, holder="them")
    await trio.sleep(1)
    with pytest.raises(LeaseNotHeld):
        await ours.renew_lease(node, lease.token)
    await theirs.acquire_lease(node, duration_s=300, holder="them")
    assert workspace.lease_holder(node, trio.current_time()) == "them"
    workspace.drop_leases()
    assert workspace.lease_holder(node, trio.current_time()) is None


async def test_polls_wait_on_the_virtual_clock(workspace: MemoryWorkspace, autojump_clock: MockClock) -> None:
    remote = MemoryRemote(workspace)
    cursor = (await remote.changes(None)).cursor
    began = trio.current_time()
    assert (await remote.changes(cursor, wait_s=95)).nodes == frozenset()
    assert trio.current_time() - began == 95
    workspace.put("f", b"")
    workspace.forget_changes()
    assert (await remote.changes(cursor)).everything


async def test_assembly_can_be_held_back(workspace: MemoryWorkspace, autojump_clock: MockClock) -> None:
    remote = MemoryRemote(workspace)
    workspace.hold_assembly = True
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    state = await remote.upload_small(NewFile(ROOT_NODE, "f"), b"", empty)
    assert (state.status, workspace.files()) == (UploadStatus.WORKING, {})

    async def finish_later() -> None:
        await trio.sleep(3)
        workspace.finish_assembly()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish_later)
        began = trio.current_time()
        state = await remote.upload_state(state.id, wait_s=60)
    assert (state.status, trio.current_time() - began) == (UploadStatus.STORED, 3)
    assert workspace.files() == {"f": b""}


async def test_planned_failures_come_in_order_and_end(workspace: MemoryWorkspace) -> None:
    faulty = FaultyRemote(MemoryRemote(workspace))
    remote: Remote = faulty
    faulty.fail("create_folder", RemoteUnavailable("first"))
    faulty.fail("create_folder", OutcomeUnknown("second"), after_effect=True)
    with pytest.raises(RemoteUnavailable, match="first"):
        await remote.create_folder(ROOT_NODE, "a")
    assert workspace.folders() == set()
    with pytest.raises(OutcomeUnknown, match="second"):
        await remote.create_folder(ROOT_NODE, "a")
    assert workspace.folders() == {"a"}
    assert (await remote.create_folder(ROOT_NODE, "a")).name == "a"


async def test_offline_until_healed(workspace: MemoryWorkspace) -> None:
    faulty = FaultyRemote(MemoryRemote(workspace))
    faulty.go_offline()
    for _ in range(3):
        with pytest.raises(RemoteUnavailable):
            await faulty.list_folder(ROOT_NODE)
    faulty.heal()
    assert await faulty.list_folder(ROOT_NODE) == []


async def test_hanging_calls_have_no_effect_before_their_release(workspace: MemoryWorkspace) -> None:
    faulty = FaultyRemote(MemoryRemote(workspace))
    faulty.hang("create_folder")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faulty.create_folder, ROOT_NODE, "a")
        await faulty.wait_hanging("create_folder")
        await wait_all_tasks_blocked()
        assert workspace.folders() == set()
        faulty.release()
    assert workspace.folders() == {"a"}


async def test_read_can_break_off(workspace: MemoryWorkspace) -> None:
    node = workspace.put("f", bytes(200_000))
    faulty = FaultyRemote(MemoryRemote(workspace))
    faulty.fail("read", RemoteUnavailable("cut"), after_effect=True)
    got: list[bytes] = []

    async def read_all() -> None:
        got.clear()
        async with faulty.read(node, None, 0, 200_000) as pieces:
            async for piece in pieces:
                got.append(piece)

    with pytest.raises(RemoteUnavailable, match="cut"):
        await read_all()
    assert len(got) == 1
    await read_all()
    assert b"".join(got) == bytes(200_000)


def test_plans_for_unknown_methods_are_refused(workspace: MemoryWorkspace) -> None:
    faulty = FaultyRemote(MemoryRemote(workspace))
    with pytest.raises(ValueError, match="upload_smal"):
        faulty.fail("upload_smal", RemoteUnavailable(""))
    faulty.fail(ANY, RemoteUnavailable(""))
    assert set(dir(faulty)) >= METHODS
