"""The client at a server whose locks refuse changes: the holder passes, others are told to wait."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from uuid import uuid4

import httpx
import pytest
import trio

from mountfs.model.errors import AccessDenied, LeaseHeld, LeaseNotOverridable
from mountfs.model.ids import ROOT_NODE, NodeId, UploadId
from mountfs.model.remote import NewFile, Placement, Remote, Unplaced, UploadStatus
from mountfs.remotes.fastio import FastioService
from tests.t2_contract.conftest import Acts, Embedded, ScriptedServer

Connect = Callable[[], AbstractAsyncContextManager[Remote]]


@pytest.fixture
async def holder(connect_enforced: Connect) -> AsyncIterator[Remote]:
    async with connect_enforced() as remote:
        yield remote


@pytest.fixture
async def other(connect_enforced: Connect) -> AsyncIterator[Remote]:
    async with connect_enforced() as remote:
        yield remote


async def uploaded(remote: Remote, place: Placement, content: bytes) -> UploadId:
    state = await remote.upload_small(place, content, sha256(content).hexdigest())
    with trio.fail_after(20):
        while state.status is UploadStatus.WORKING:
            state = await remote.upload_state(state.id, wait_s=5)
    return state.id


async def new_file(remote: Remote, parent: NodeId) -> NodeId:
    state = await remote.upload_state(await uploaded(remote, NewFile(parent, "f"), b"old"))
    assert state.node is not None
    return state.node


async def commit(remote: Remote, node: NodeId, content: bytes) -> None:
    found = (await remote.nodes([node]))[node]
    assert found.version is not None
    await remote.commit(node, await uploaded(remote, Unplaced("f"), content), found.version)


async def change(remote: Remote, node: NodeId, folder: NodeId, action: str) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "commit": lambda: commit(remote, node, b"new"),
        "rename": lambda: remote.rename(node, "g"),
        "move": lambda: remote.move(node, folder),
        "trash": lambda: remote.trash(node),
    }
    await calls[action]()


@pytest.mark.parametrize("action", ["commit", "rename", "move", "trash"])
async def test_only_the_holder_changes_a_locked_file(holder: Remote, other: Remote, action: str) -> None:
    top = (await holder.create_folder(ROOT_NODE, f"test-{uuid4().hex}")).id
    folder = (await holder.create_folder(top, "folder")).id
    node = await new_file(holder, top)
    before = (await holder.nodes([node]))[node]
    lease = await holder.acquire_lease(node, duration_s=60, holder="host-a")
    with pytest.raises(LeaseHeld):
        await change(other, node, folder, action)
    after = (await holder.nodes([node]))[node]
    assert (after.version, after.name, after.parent) == (before.version, before.name, before.parent)
    await change(holder, node, folder, action)
    await holder.release_lease(node, lease.token)
    if action != "trash":
        await change(other, node, ROOT_NODE, action)


async def test_token_of_a_lost_lease_does_not_pass(holder: Remote, other: Remote) -> None:
    top = (await holder.create_folder(ROOT_NODE, f"test-{uuid4().hex}")).id
    node = await new_file(holder, top)
    await holder.acquire_lease(node, duration_s=60, holder="host-a")
    await commit(holder, node, b"first")
    await other.override_lease(node)
    await other.acquire_lease(node, duration_s=60, holder="host-b")
    with pytest.raises(LeaseHeld):
        await commit(holder, node, b"late")
    await commit(other, node, b"theirs")


@pytest.mark.parametrize("params", [{"reason": "locked"}, {}], ids=["with a reason", "without"])
async def test_token_is_shown_only_after_a_refusal(
    scripted: ScriptedServer, acts: Acts, params: dict[str, str]
) -> None:
    node = NodeId("2a")
    held = {"result": False, "error": {"code": 1660, "text": "locked", "params": params}}
    scripted.plays(
        acts.reply(200, {"result": True, "lock_token": "t0k3n"}),
        acts.reply(409, held),
        acts.reply(200, {"result": True}),
    )
    service = FastioService(scripted.url, "secret")
    remote = service.remote("4")
    await remote.acquire_lease(node, duration_s=60, holder="host")
    for _ in range(2):
        await remote.trash(node)
    await service.aclose()
    assert ["t0k3n" in seen.target for seen in scripted.seen] == [False, False, True, True]


async def test_override_needs_an_administrator(enforcing_server: Embedded, holder: Remote) -> None:
    top = (await holder.create_folder(ROOT_NODE, f"test-{uuid4().hex}")).id
    node = await new_file(holder, top)
    lease = await holder.acquire_lease(node, duration_s=60, holder="host-a")
    owner = {"Authorization": f"Bearer {enforcing_server.token}"}
    async with httpx.AsyncClient(headers=owner, timeout=30) as http:
        made = await http.post(f"{enforcing_server.url}user/auth/key/", data={"scopes": '["user:*:rw"]'})
    service = FastioService(enforcing_server.url, made.json()["api_key"])
    workspace = await service.find_workspace("main")
    with pytest.raises(AccessDenied):
        await service.remote(workspace.id).override_lease(node)
    await service.aclose()
    await holder.renew_lease(node, lease.token)


def _locked_by(host: str, since: str) -> dict[str, object]:
    info = {"client_info": {"device_name": host}, "acquired": f"2026-01-02 {since} UTC"}
    return {"result": True, "locked": True, "lock_info": info}


@pytest.mark.parametrize(
    "answer",
    [
        (406, {"result": False, "error": {"code": 205516, "text": "lock_token is missing"}}),
        (200, _locked_by("host-a", "09:00:00")),
    ],
    ids=["refused", "taken without effect"],
)
async def test_service_without_override_says_so(
    scripted: ScriptedServer, acts: Acts, answer: tuple[int, dict[str, object]]
) -> None:
    scripted.plays(acts.reply(200, _locked_by("host-a", "09:00:00")), acts.reply(*answer))
    service = FastioService(scripted.url, "secret")
    with pytest.raises(LeaseNotOverridable):
        await service.remote("4").override_lease(NodeId("2a"))
    await service.aclose()


async def test_broken_lock_may_be_that_of_another_at_once(scripted: ScriptedServer, acts: Acts) -> None:
    """Who waited for it took it before it was looked at, on the same host or another one."""
    service = FastioService(scripted.url, "secret")
    for after in (_locked_by("host-b", "09:00:00"), _locked_by("host-a", "09:00:01")):
        scripted.plays(
            acts.reply(200, _locked_by("host-a", "09:00:00")),
            acts.reply(200, after),
            acts.reply(200, after),
        )
        await service.remote("4").override_lease(NodeId("2a"))
    await service.aclose()
