"""Versions, trash, search and events: one suite for the client on the embedded server and the double in
memory, and answers of other layouts."""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from mountfs.model.account import NewWorkspace
from mountfs.model.errors import NameRefused, NameTaken, NodeNotFound, RequestRefused, WorkspaceUnknown
from mountfs.model.history import SearchIn
from mountfs.model.ids import ROOT_NODE, NodeId, VersionId
from mountfs.model.node import NodeKind
from mountfs.model.remote import NewFile
from mountfs.remotes.fastio import FastioRemote, FastioService, FastioSettings, wire_history
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace

NODE = "2aaaaaaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.fixture
async def service(embedded_server: Any) -> AsyncIterator[FastioService]:
    one = FastioService(
        embedded_server.url, embedded_server.token, settings=FastioSettings(patience_s=20, page_size=100)
    )
    yield one
    await one.aclose()


Remembering = FastioRemote | MemoryRemote


@pytest.fixture(params=["fastio", "memory"])
async def remote(service: FastioService, request: pytest.FixtureRequest) -> Remembering:
    """A workspace of this test's own."""
    if request.param == "memory":
        return MemoryRemote(MemoryWorkspace())
    made = await service.create_workspace(None, NewWorkspace(f"test-{uuid4().hex}", "Test workspace"))
    return service.remote(made.id)


async def put(remote: Remembering, name: str, content: bytes, parent: NodeId = ROOT_NODE) -> NodeId:
    state = await remote.upload_small(NewFile(parent, name), content, sha256(content).hexdigest())
    assert state.node is not None
    return state.node


async def read(remote: Remembering, node: NodeId, size: int) -> bytes:
    async with remote.read(node, None, 0, size) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_old_version_is_listed_and_brought_back(remote: Remembering) -> None:
    node = await put(remote, "a", b"first")
    await put(remote, "a", b"second!")
    newest, oldest = await remote.versions(node)
    assert [version.size for version in (newest, oldest)] == [7, 5]
    assert oldest.sha256 == sha256(b"first").hexdigest()
    restored = await remote.restore_version(node, oldest.id)
    assert (restored.id, restored.size) == (node, 5)
    assert await read(remote, node, 5) == b"first"
    assert len(await remote.versions(node)) == 3
    with pytest.raises(NodeNotFound):
        await remote.versions(NodeId(NODE))


async def test_trash_is_listed_restored_and_purged(remote: Remembering) -> None:
    folder = (await remote.create_folder(ROOT_NODE, "folder")).id
    node = await put(remote, "a", b"x", folder)
    await remote.trash(node)
    (row,) = await remote.trashed()
    assert (row.id, row.name, row.parent, row.kind) == (node, "a", folder, NodeKind.FILE)
    assert row.deleted_ns > 0
    await put(remote, "a", b"y", folder)
    restored = await remote.restore(node)
    assert (restored.id, restored.parent, restored.trashed) == (node, folder, False)
    with pytest.raises(NodeNotFound, match="not in the trash"):
        await remote.purge(node)
    (row,) = await remote.trashed()
    await remote.purge(row.id)
    assert await remote.trashed() == []
    with pytest.raises(NodeNotFound):
        await remote.purge(row.id)


async def test_what_comes_back_from_the_trash_finds_its_place(remote: Remembering) -> None:
    folder = (await remote.create_folder(ROOT_NODE, "folder")).id
    node = await put(remote, "a", b"first", folder)
    await remote.trash(folder)
    (row,) = await remote.trashed()
    assert (row.id, row.kind) == (folder, NodeKind.FOLDER), "what lies below is not listed"
    await remote.create_folder(ROOT_NODE, "folder")
    restored = await remote.restore(folder)
    assert (restored.id, restored.name) == (folder, "folder (2)")
    assert [(child.id, child.name) for child in await remote.list_folder(folder)] == [(node, "a")]
    with pytest.raises((NodeNotFound, RequestRefused)):
        await remote.restore(folder)
    await remote.trash(node)
    await remote.trash(folder)
    assert {row.id for row in await remote.trashed()} == {node, folder}
    await remote.purge(folder)
    assert {row.id for row in await remote.trashed()} == {node}, "it was deleted by itself"
    with pytest.raises(NodeNotFound):
        await remote.restore_version(NodeId(NODE), VersionId("3bbbbbbbbbbbbbbbbbbbbbbbbbbbb"))


async def test_search_and_events(remote: Remembering) -> None:
    folder = (await remote.create_folder(ROOT_NODE, "Docs")).id
    node = await put(remote, "needle.txt", b"haystack word", folder)
    await put(remote, "other.txt", b"needle inside")
    found = await remote.search("needle", among=SearchIn.BOTH, limit=10)
    assert [hit.path for hit in found.hits] == ["Docs/needle.txt", "other.txt"]
    assert (found.total, found.complete) == (2, True)
    found = await remote.search("needle", among=SearchIn.CONTENT, limit=10)
    assert [hit.name for hit in found.hits] == ["other.txt"]
    found = await remote.search("needle", among=SearchIn.NAMES, limit=1)
    assert [hit.node for hit in found.hits] == [node]
    events = await remote.events()
    assert [event.name for event in events] == ["Docs", "needle.txt", "other.txt"]
    (event,) = await remote.events(node=node)
    assert event.event == "workspace_storage_file_added"
    assert event.actor
    assert await remote.events(since_ns=event.at_ns + 3600 * 10**9) == []


async def test_workspaces_are_listed_and_created(service: FastioService) -> None:
    name = f"made-{uuid4().hex}"
    made = await service.create_workspace("local", NewWorkspace(name, "Shown name"))
    assert made.organisation is not None
    assert not made.organisation.external
    assert made.intelligence is False
    listed = {entry.folder_name: entry for entry in await service.workspaces()}
    assert listed[name] == made
    assert (await service.find_workspace("Shown name")).id == made.id
    with pytest.raises((NameTaken, NameRefused, RequestRefused), match="taken"):
        await service.create_workspace(None, NewWorkspace(name, "Shown name"))
    with pytest.raises(NameRefused, match="4 to 80"):
        await service.create_workspace(None, NewWorkspace("x", "Shown name"))
    with pytest.raises(WorkspaceUnknown, match="belongs to: local"):
        await service.create_workspace("other", NewWorkspace(name, "Shown name"))


async def test_account_tells_who_it_is(service: FastioService) -> None:
    account = await service.account()
    assert account.id == await service.check_credential()
    assert account.scopes == ("user:*:rwa",)
    assert account.may_write


async def test_offset_lists_and_both_kinds_of_organisations_are_read_whole(scripted: Any, acts: Any) -> None:
    def by_target(page: dict[str, Any]) -> Any:
        return acts.reply(200, {"result": True, **page})

    service = FastioService(scripted.url, "token", settings=FastioSettings(patience_s=5))
    more, last = {"pagination": {"has_more": True}}, {"pagination": {"has_more": False}}
    scripted.plays(
        by_target({"orgs": [{"id": 1, "domain": "own", "member": True}], **more}),
        by_target({"orgs": [{"id": 2, "domain": "own2", "member": True}], **last}),
        by_target({"orgs": [{"id": 3, "name": "Theirs", "member": False}], **last}),
        by_target({"workspaces": [{"id": 11, "folder_name": "b", "org_id": 3}], **more}),
        by_target({"workspaces": [{"id": 12, "folder_name": "a", "org": {"id": 1}}], **last}),
        by_target({"workspaces": [{"id": 13, "folder_name": "c"}, {"id": 12}], **last}),
        by_target({"workspaces": [], **last}),
    )
    entries = await service.workspaces()
    await service.aclose()
    assert [(entry.id, entry.folder_name) for entry in entries] == [("12", "a"), ("11", "b"), ("13", "c")]
    places = [
        entry.organisation and (entry.organisation.domain, entry.organisation.external) for entry in entries
    ]
    assert places == [("own", False), ("", True), ("own", False)]
    assert "offset=1" in scripted.seen[1].target


def test_rows_of_other_layouts_are_read() -> None:
    (version,) = wire_history.versions(
        {"versions": {"items": [{"version_id": "3-AAAA-B", "actor": {"name": "X"}}]}}
    )
    assert (version.id, version.size, version.author) == ("3aaaab", None, "X")
    older = {"results": [{"node_id": NODE, "name": "a", "type": "file", "relevance_score": 0.5}]}
    hits, total, more, complete = wire_history.hits(older)
    assert (hits[0].node, hits[0].path, total, more, complete) == (NODE, "", None, False, True)
    rows, cursor, more = wire_history.events(
        {"events": [{"id": 5, "event": "x", "created": "2026-05-18T19:26:25Z", "object_id": "not an id!"}]}
    )
    assert (rows[0].id, rows[0].node, rows[0].at_ns > 0, cursor, more) == ("5", None, True, None, False)
    (row,) = wire_history.trashed(
        {"nodes": [{"id": NODE, "type": "file", "name": "a", "parent": "trash", "deleted": True}]}
    )
    assert (row.parent, row.deleted_ns) == (None, 10**9)
