"""The contract of a Remote, for every implementation alike. Long, as the port has so many calls."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from hashlib import sha256
from uuid import uuid4

import pytest
import trio

from mountfs.model.content_source import BytesSource
from mountfs.model.errors import (
    NameRefused,
    NameTaken,
    NodeNotFound,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
    UploadFailed,
    UploadVanished,
    VersionMismatch,
)
from mountfs.model.ids import ROOT_NODE, NodeId, UploadId, VersionId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.model.remote import BatchFile, NewFile, Remote, Unplaced, UploadState, UploadStatus
from mountfs.server.behaviour import Behaviour

MIB = 1024 * 1024
NOBODY = NodeId("2zzzzzzzzzzzzzzzzzzzzzzzzzzzz")
NO_UPLOAD = UploadId("5zzzzzzzzzzzzzzzzzzzzzzzzzzzz")
NO_VERSIONS = "the service makes no version of what is uploaded onto a file"

Store = Callable[[NodeId, str, bytes], Awaitable[NodeId]]
Connect = Callable[[], AbstractAsyncContextManager[Remote]]


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def told(promised: Behaviour, content: bytes) -> str | None:
    """Return the hash that a node of this content tells."""
    return digest(content) if promised.hashes == "sha256" else None


def only_where(promise: bool, otherwise: str) -> None:
    """Skip the test on a service that promises something else."""
    if not promise:
        pytest.skip(otherwise)


async def one(remote: Remote, node: NodeId) -> RemoteNode:
    return (await remote.nodes([node]))[node]


async def names(remote: Remote, folder: NodeId) -> set[str]:
    return {child.name for child in await remote.list_folder(folder)}


async def read_all(
    remote: Remote, node: NodeId, start: int, end: int, version: VersionId | None = None
) -> bytes:
    async with remote.read(node, version, start, end) as pieces:
        return b"".join([piece async for piece in pieces])


async def until_settled(remote: Remote, upload: UploadId, *, placed: bool = False) -> UploadState:
    """`placed`: what is complete but in no folder yet is on its way there."""
    on_its_way = {UploadStatus.WORKING, UploadStatus.RECEIVING, *([UploadStatus.ASSEMBLED] if placed else [])}
    with trio.fail_after(20):
        while True:
            state = await remote.upload_state(upload, wait_s=5)
            if state.status not in on_its_way:
                return state


async def unplaced(remote: Remote, content: bytes) -> UploadId:
    state = await remote.upload_small(Unplaced("draft"), content, digest(content))
    if state.status is not UploadStatus.ASSEMBLED:
        state = await until_settled(remote, state.id)
    assert state.status is UploadStatus.ASSEMBLED
    return state.id


@pytest.fixture
async def folder(remote: Remote) -> NodeId:
    """A folder of this test's own: the server keeps the others' leavings."""
    return (await remote.create_folder(ROOT_NODE, f"test-{uuid4().hex}")).id


# The tree


async def test_folder_is_created_once(remote: Remote, folder: NodeId, promised: Behaviour) -> None:
    only_where(promised.folder_onto_folder != "numbered", "the service makes one more, and numbers it")
    made = await remote.create_folder(folder, "inner")
    assert (made.kind, made.name, made.parent, made.size) == (NodeKind.FOLDER, "inner", folder, 0)
    assert (await remote.create_folder(folder, "inner")).id == made.id
    assert await names(remote, folder) == {"inner"}


async def test_folder_does_not_take_the_name_of_a_file(remote: Remote, folder: NodeId, store: Store) -> None:
    await store(folder, "taken", b"x")
    with pytest.raises(NameTaken):
        await remote.create_folder(folder, "taken")


async def test_listing_tells_versions_and_details_tell_hashes(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "a.txt", b"hello")
    (listed,) = await remote.list_folder(folder)
    details = await one(remote, node)
    assert (listed.id, listed.kind, listed.parent, listed.size) == (node, NodeKind.FILE, folder, 5)
    assert listed.version is not None
    assert (details.version, details.sha256, details.modified_ns) == (
        listed.version,
        told(promised, b"hello"),
        listed.modified_ns,
    )
    assert details.modified_ns > 0
    assert not details.trashed


async def test_top_folder_is_known_as_root(remote: Remote, folder: NodeId) -> None:
    told = await one(remote, ROOT_NODE)
    assert (told.id, told.kind) == (ROOT_NODE, NodeKind.FOLDER)
    assert (await one(remote, folder)).parent == ROOT_NODE


async def test_long_listings_come_whole(remote: Remote, folder: NodeId) -> None:
    most = (await remote.upload_limits()).batch_files
    wanted = [f"file-{number:04d}" for number in range(510)]
    for first in range(0, len(wanted), most):
        files = [batch_file(name, b"x") for name in wanted[first : first + most]]
        for state in await remote.upload_batch(folder, files):
            await stored_node(remote, state)
    assert sorted(child.name for child in await remote.list_folder(folder)) == wanted


async def test_newest_children_are_those_that_changed_last(
    remote: Remote, folder: NodeId, store: Store
) -> None:
    files = [batch_file(f"older-{number}", b"x") for number in range(120)]
    for state in await remote.upload_batch(folder, files):
        await stored_node(remote, state)
    wanted = [await store(folder, f"f{number}", b"%d" % number) for number in range(3)]
    told = {node.id: node for node in await remote.newest(folder, 3)}
    assert set(wanted) <= set(told)
    assert len(told) <= 100
    assert [told[node] for node in wanted] == list((await remote.nodes(wanted)).values())
    with pytest.raises(NodeNotFound):
        await remote.newest(NOBODY, 3)


async def test_details_of_many_leave_out_only_the_unknown(remote: Remote, folder: NodeId) -> None:
    made = [(await remote.create_folder(folder, str(number))).id for number in range(30)]
    told = await remote.nodes([*made, NOBODY, made[0], ROOT_NODE])
    assert set(told) == {*made, ROOT_NODE}
    assert await remote.nodes([NOBODY]) == {}
    assert await remote.nodes([NOBODY, NodeId("2yyyyyyyyyyyyyyyyyyyyyyyyyyyy")]) == {}
    assert await remote.nodes([]) == {}


async def test_unknown_folder_is_not_an_empty_one(remote: Remote) -> None:
    with pytest.raises(NodeNotFound):
        await remote.list_folder(NOBODY)


@pytest.mark.parametrize(
    "name",
    [
        "plain.txt",
        "with space",
        "\u00fcml\u00e4ut \u2603 \U0001f600",
        "qu'o\"te;%41+&=?#",
        "trailing.tar.gz",
        "-dash",
        "n" * 255,
    ],
)
async def test_names_come_back_as_given(remote: Remote, folder: NodeId, store: Store, name: str) -> None:
    node = await store(folder, name, b"x")
    made = await remote.create_folder(folder, f"d{name[:200]}")
    assert await names(remote, folder) == {name, made.name}
    assert (await remote.rename(node, f"r{name[:200]}")).name == f"r{name[:200]}"


async def test_rename_makes_a_version_and_keeps_the_node(
    remote: Remote, folder: NodeId, store: Store
) -> None:
    node = await store(folder, "old", b"x")
    before = await one(remote, node)
    renamed = await remote.rename(node, "new")
    assert (renamed.id, renamed.name) == (node, "new")
    after = await one(remote, node)
    assert after.version != before.version
    assert after.sha256 == before.sha256
    assert await names(remote, folder) == {"new"}


async def test_free_text_is_kept_without_a_new_version(remote: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "file", b"x")
    before = await one(remote, node)
    assert before.text == ""
    for text in ("words", "a\nb [mountfs x]", "\u00e4" * 2048, ""):
        assert (await remote.describe(node, text)).text == text
        assert (await one(remote, node)).text == text
        assert [child.text for child in await remote.list_folder(folder)] == [text]
    after = await one(remote, node)
    assert (after.version, after.sha256, after.name) == (before.version, before.sha256, before.name)
    with pytest.raises(NodeNotFound):
        await remote.describe(NOBODY, "words")


async def test_rename_onto_a_name_is_refused(remote: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "a", b"a")
    await store(folder, "b", b"b")
    with pytest.raises(NameTaken):
        await remote.rename(node, "b")
    with pytest.raises(NodeNotFound):
        await remote.rename(NOBODY, "c")
    assert await names(remote, folder) == {"a", "b"}


async def test_move_keeps_the_name_and_trashes_a_file_there(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    only_where(promised.moved_onto_file == "trash", "the service does something else with a file there")
    there = (await remote.create_folder(folder, "there")).id
    loser = await store(there, "f", b"old")
    winner = await store(folder, "f", b"new")
    moved = await remote.move(winner, there)
    assert (moved.id, moved.name, moved.parent) == (winner, "f", there)
    assert [child.id for child in await remote.list_folder(there)] == [winner]
    gone = await remote.nodes([loser])
    assert loser not in gone or gone[loser].trashed
    assert await read_all(remote, winner, 0, 3) == b"new"


async def test_moved_folder_that_meets_its_name_is_numbered(
    remote: Remote, folder: NodeId, promised: Behaviour
) -> None:
    only_where(promised.moved_folder == "numbered" and not promised.twins, "the service numbers nothing")
    there = (await remote.create_folder(folder, "there")).id
    await remote.create_folder(there, "twin")
    twin = (await remote.create_folder(folder, "twin")).id
    assert (await remote.move(twin, there)).name == "twin (2)"


async def test_folder_cannot_move_into_itself(remote: Remote, folder: NodeId) -> None:
    outer = (await remote.create_folder(folder, "outer")).id
    inner = (await remote.create_folder(outer, "inner")).id
    with pytest.raises(RemoteError):
        await remote.move(outer, inner)
    assert await names(remote, folder) == {"outer"}


async def test_move_of_or_to_the_unknown_is_refused(remote: Remote, folder: NodeId) -> None:
    with pytest.raises(NodeNotFound):
        await remote.move(NOBODY, folder)
    with pytest.raises(RemoteError):
        await remote.move(folder, NOBODY)
    assert (await one(remote, folder)).parent == ROOT_NODE


async def test_trashing_is_deletion_and_may_be_repeated(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    inner = (await remote.create_folder(folder, "inner")).id
    node = await store(inner, "f", b"x")
    await remote.trash(node)
    await remote.trash(node)
    await remote.trash(NOBODY)
    told = await remote.nodes([node])
    assert node not in told or told[node].trashed
    assert await names(remote, inner) == set()
    await remote.trash(inner)
    with trio.fail_after(20):
        while found := await names(remote, folder):
            assert (promised.tree_changes, found) == ("in-steps", {"inner"})
            await trio.sleep(0.01)  # no event tells when a tree has gone


async def test_what_was_trashed_is_told_where_it_can_be_and_comes_back(
    remote: Remote, folder: NodeId, store: Store
) -> None:
    node = await store(folder, "f", b"x")
    before = await one(remote, node)
    gone = await remote.trash(node)
    assert gone is None or (gone.id, gone.version, gone.sha256) == (node, before.version, before.sha256)
    restored = await remote.restore(node)
    assert (restored.id, restored.parent, restored.name) == (node, folder, "f")
    assert (await one(remote, node)).version == before.version
    assert await names(remote, folder) == {"f"}
    with pytest.raises(NodeNotFound):
        await remote.restore(NOBODY)


# Uploads


async def test_upload_onto_a_name_makes_a_version_in_place(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    only_where(promised.file_onto_file == "version", NO_VERSIONS)
    node = await store(folder, "f", b"one")
    first = await one(remote, node)
    assert await store(folder, "f", b"three") == node
    second = await one(remote, node)
    assert second.version != first.version
    assert (second.size, second.sha256) == (5, told(promised, b"three"))
    assert first.version is not None
    await check_replaced(remote, node, first.version, b"one", promised)


async def check_replaced(
    remote: Remote, node: NodeId, version: VersionId, content: bytes, promised: Behaviour
) -> None:
    """The bytes of a version that is replaced can be read as long as the service keeps them."""
    if promised.old_versions == "kept":
        assert await read_all(remote, node, 0, len(content), version) == content
        return
    with pytest.raises(NodeNotFound):
        await read_all(remote, node, 0, len(content), version)


async def test_equal_bytes_make_no_version(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    only_where(promised.file_onto_file == "version", NO_VERSIONS)
    only_where(promised.equal_bytes == "same", "the service makes a version of equal bytes too")
    node = await store(folder, "f", b"same")
    before = await one(remote, node)
    assert await store(folder, "f", b"same") == node
    assert (await one(remote, node)).version == before.version


async def test_empty_file(remote: Remote, folder: NodeId, store: Store, promised: Behaviour) -> None:
    node = await store(folder, "empty", b"")
    details = await one(remote, node)
    assert (details.size, details.sha256) == (0, told(promised, b""))
    assert await read_all(remote, node, 0, 0) == b""


def batch_file(name: str, content: bytes) -> BatchFile:
    return BatchFile(name, content, digest(content))


async def stored_node(remote: Remote, told: UploadState | RemoteError) -> NodeId:
    assert isinstance(told, UploadState), told
    state = await until_settled(remote, told.id, placed=True) if told.node is None else told
    assert state.status is UploadStatus.STORED
    assert state.node is not None
    return state.node


async def test_batch_stores_every_file_in_the_folder(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    only_where(promised.file_onto_file == "version", NO_VERSIONS)
    existing = await store(folder, "old", b"old")
    contents = {"a": b"1", '\u00e4 "b".txt': bytes(300_000), "empty": b"", "old": b"new", "c": b"\r\n--x\r\n"}
    if promised.empty_files != "taken":
        (refused,) = await remote.upload_batch(folder, [batch_file("empty", contents.pop("empty"))])
        assert isinstance(refused, RequestRefused)
    states = await remote.upload_batch(folder, [batch_file(*file) for file in contents.items()])
    nodes = [await stored_node(remote, state) for state in states]
    assert nodes[list(contents).index("old")] == existing
    described = await remote.nodes(nodes)
    for node, (name, content) in zip(nodes, contents.items(), strict=True):
        expected = (name, folder, len(content), told(promised, content))
        assert (described[node].name, described[node].parent) == expected[:2]
        assert (described[node].size, described[node].sha256) == expected[2:]
        assert await read_all(remote, node, 0, len(content)) == content
    assert await names(remote, folder) == set(contents)


async def test_batch_takes_what_it_can_and_tells_the_rest(remote: Remote, folder: NodeId) -> None:
    files = [batch_file("a", b"1"), BatchFile("wrong", b"2", digest(b"other")), batch_file("b/c", b"3")]
    told = await remote.upload_batch(folder, [*files, batch_file("d", b"4")])
    await stored_node(remote, told[0])
    await stored_node(remote, told[3])
    for refused in told[1:3]:
        assert isinstance(refused, RemoteError) or refused.status is UploadStatus.FAILED
    assert await names(remote, folder) == {"a", "d"}


async def test_batch_is_as_large_as_the_limits_say(remote: Remote, folder: NodeId) -> None:
    limits = await remote.upload_limits()
    assert limits.batch_files > 1
    assert limits.batch_bytes >= limits.single_call_bytes
    files = [batch_file(f"f{number}", str(number).encode()) for number in range(limits.batch_files + 1)]
    with pytest.raises(RequestRefused):
        await remote.upload_batch(folder, files)
    assert await names(remote, folder) == set()
    told = await remote.upload_batch(folder, files[:-1])
    assert len({await stored_node(remote, one) for one in told}) == limits.batch_files


async def test_batch_needs_its_folder(remote: Remote, folder: NodeId) -> None:
    await remote.trash(folder)
    with pytest.raises(NodeNotFound):
        await remote.upload_batch(folder, [batch_file("a", b"1"), batch_file("b", b"2")])


async def test_limits_are_usable(remote: Remote) -> None:
    limits = await remote.upload_limits()
    assert 0 < limits.chunk_min_bytes <= limits.chunk_max_bytes
    assert limits.chunks_max > 0
    assert limits.parallel_chunks > 0
    assert limits.file_max_bytes >= limits.single_call_bytes > 0


async def test_chunks_in_any_order_and_twice(remote: Remote, folder: NodeId, promised: Behaviour) -> None:
    content = bytes(range(256)) * 4096 * 2 + b"tail"
    parts = [content[:MIB], content[MIB : 2 * MIB], content[2 * MIB :]]
    upload = await remote.open_upload(NewFile(folder, "big"), len(content), digest(content))
    assert (await remote.upload_state(upload)).status is UploadStatus.RECEIVING
    for order in (3, 1, 1, 2):
        await remote.send_chunk(upload, order, BytesSource(parts[order - 1]), digest(parts[order - 1]))
        state = await remote.upload_state(upload)
    assert state.chunks == {1: MIB, 2: MIB, 3: 4} or state.status is not UploadStatus.RECEIVING
    await remote.complete_upload(upload)
    await remote.complete_upload(upload)
    state = await until_settled(remote, upload, placed=True)
    assert state.status is UploadStatus.STORED
    assert state.node is not None
    assert (await one(remote, state.node)).sha256 == told(promised, content)
    assert await read_all(remote, state.node, 0, len(content)) == content


async def test_chunks_in_parallel(remote: Remote, folder: NodeId) -> None:
    parts = [bytes([number]) * MIB for number in range(3)]
    content = b"".join(parts)
    upload = await remote.open_upload(Unplaced("big"), len(content), digest(content))
    async with trio.open_nursery() as sending:
        for order, part in enumerate(parts, 1):
            sending.start_soon(remote.send_chunk, upload, order, BytesSource(part), digest(part))
    await remote.complete_upload(upload)
    assert (await until_settled(remote, upload)).status is UploadStatus.ASSEMBLED


async def test_missing_bytes_fail_the_session(remote: Remote, folder: NodeId) -> None:
    upload = await remote.open_upload(NewFile(folder, "short"), 2 * MIB, digest(bytes(2 * MIB)))
    await remote.send_chunk(upload, 1, BytesSource(bytes(MIB)), digest(bytes(MIB)))
    with suppress(RequestRefused, UploadFailed):
        await remote.complete_upload(upload)
        assert (await until_settled(remote, upload)).status is UploadStatus.FAILED
    assert await names(remote, folder) == set()


async def test_cancelled_session_is_gone(remote: Remote, folder: NodeId) -> None:
    upload = await remote.open_upload(NewFile(folder, "f"), MIB, digest(bytes(MIB)))
    await remote.cancel_upload(upload)
    await remote.cancel_upload(upload)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: remote.upload_state(upload),
        lambda: remote.send_chunk(upload, 1, BytesSource(bytes(MIB)), digest(bytes(MIB))),
        lambda: remote.complete_upload(upload),
        lambda: remote.upload_state(NO_UPLOAD),
    ]
    for call in calls:
        with pytest.raises(UploadVanished):
            await call()


async def test_unplaced_upload_is_in_no_folder(remote: Remote, folder: NodeId) -> None:
    before = await names(remote, ROOT_NODE)
    upload = await unplaced(remote, b"draft")
    assert (await remote.upload_state(upload)).node is None
    assert await names(remote, ROOT_NODE) == before


# Commits


async def test_commit_replaces_the_version_it_was_based_on(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "f", b"one")
    base = (await one(remote, node)).version
    assert base is not None
    committed = await remote.commit(node, await unplaced(remote, b"two"), base)
    assert (committed.id, committed.sha256, committed.size) == (node, told(promised, b"two"), 3)
    assert committed.version not in {None, base}
    assert await read_all(remote, node, 0, 3) == b"two"


async def test_commit_on_a_moved_version_is_refused_and_says_where_it_is(
    remote: Remote, other: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "f", b"base")
    base = (await one(remote, node)).version
    assert base is not None
    theirs = await other.commit(node, await unplaced(other, b"theirs"), base)
    ours = await unplaced(remote, b"ours")
    with pytest.raises(VersionMismatch) as caught:
        await remote.commit(node, ours, base)
    assert caught.value.current == theirs.version
    now = await one(remote, node)
    assert (now.sha256, now.size) == (told(promised, b"theirs"), 6)


async def test_commit_after_a_rename_elsewhere_is_refused(
    remote: Remote, folder: NodeId, store: Store
) -> None:
    node = await store(folder, "f", b"base")
    base = (await one(remote, node)).version
    assert base is not None
    await remote.rename(node, "g")
    with pytest.raises(VersionMismatch):
        await remote.commit(node, await unplaced(remote, b"x"), base)


async def test_commit_needs_its_node_and_its_upload(remote: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"base")
    base = (await one(remote, node)).version
    assert base is not None
    with pytest.raises(UploadVanished):
        await remote.commit(node, NO_UPLOAD, base)
    upload = await unplaced(remote, b"x")
    with pytest.raises(NodeNotFound):
        await remote.commit(NOBODY, upload, base)


async def test_commit_of_content_that_is_there_needs_no_upload(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    node = await store(folder, "f", b"one")
    await store(folder, "g", b"another's")
    first = (await one(remote, node)).version
    assert first is not None
    committed = await remote.commit_known(node, digest(b"another's"), first)
    assert committed is not None
    assert (committed.id, committed.sha256, committed.size) == (node, told(promised, b"another's"), 9)
    assert await read_all(remote, node, 0, 9) == b"another's"
    assert committed.version is not None
    assert await remote.commit_known(node, digest(b"unknown"), committed.version) is None
    assert (await one(remote, node)).version == committed.version
    with pytest.raises(VersionMismatch):
        await remote.commit_known(node, digest(b"one"), first)
    with pytest.raises(NodeNotFound):
        await remote.commit_known(NOBODY, digest(b"one"), first)


async def test_assembled_upload_becomes_a_file_of_a_folder(
    remote: Remote, folder: NodeId, promised: Behaviour
) -> None:
    placed = await remote.add_file(folder, "new.txt", await unplaced(remote, b"content"))
    assert (placed.kind, placed.name, placed.parent) == (NodeKind.FILE, "new.txt", folder)
    assert (placed.size, placed.sha256) == (7, told(promised, b"content"))
    (listed,) = await remote.list_folder(folder)
    assert (listed.id, listed.name, listed.version) == (placed.id, "new.txt", placed.version)
    assert await read_all(remote, placed.id, 0, 7) == b"content"


async def test_file_added_onto_a_file_is_its_next_version(
    remote: Remote, folder: NodeId, store: Store, promised: Behaviour
) -> None:
    only_where(promised.file_onto_file == "version", NO_VERSIONS)
    node = await store(folder, "f", b"one")
    before = await one(remote, node)
    placed = await remote.add_file(folder, "f", await unplaced(remote, b"three"))
    assert (placed.id, placed.size, placed.sha256) == (node, 5, told(promised, b"three"))
    assert placed.version not in {None, before.version}
    assert await names(remote, folder) == {"f"}
    assert before.version is not None
    await check_replaced(remote, node, before.version, b"one", promised)


async def test_adding_a_file_needs_its_folder_and_its_upload(remote: Remote, folder: NodeId) -> None:
    with pytest.raises(UploadVanished):
        await remote.add_file(folder, "f", NO_UPLOAD)
    upload = await unplaced(remote, b"x")
    with pytest.raises(NodeNotFound):
        await remote.add_file(NOBODY, "f", upload)
    gone = (await remote.create_folder(folder, "gone")).id
    await remote.trash(gone)
    with pytest.raises(NodeNotFound):
        await remote.add_file(gone, "f", upload)
    with pytest.raises(NameRefused):
        await remote.add_file(folder, "", upload)
    assert await names(remote, folder) == set()


async def test_adding_an_upload_that_is_not_assembled_is_refused(remote: Remote, folder: NodeId) -> None:
    upload = await remote.open_upload(Unplaced("f"), MIB, digest(bytes(MIB)))
    with pytest.raises(RequestRefused):
        await remote.add_file(folder, "f", upload)
    assert await names(remote, folder) == set()


# Reading


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 300_000), (131_071, 131_073), (299_999, 300_000)])
async def test_ranges_come_exactly(
    remote: Remote, folder: NodeId, store: Store, start: int, end: int
) -> None:
    content = b"".join(number.to_bytes(4, "big") for number in range(75_000))
    node = await store(folder, "f", content)
    assert await read_all(remote, node, start, end) == content[start:end]


async def test_reading_past_the_end_is_an_error(remote: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"12345")
    for start, end in ((0, 6), (5, 6), (100, 200)):
        with pytest.raises(RemoteUnavailable):
            await read_all(remote, node, start, end)


async def test_reading_what_is_not_there(remote: Remote, folder: NodeId, store: Store) -> None:
    node = await store(folder, "f", b"12345")
    with pytest.raises(NodeNotFound):
        await read_all(remote, NOBODY, 0, 1)
    with pytest.raises(NodeNotFound):
        await read_all(remote, node, 0, 1, VersionId("3zzzzzzzzzzzzzzzzzzzzzzzzzzzz"))


async def test_stream_left_early_leaves_nothing_behind(remote: Remote, folder: NodeId, store: Store) -> None:
    content = bytes(3 * MIB)
    node = await store(folder, "f", content)
    for _ in range(40):
        async with remote.read(node, None, 0, len(content)) as pieces:
            async for piece in pieces:
                assert piece
                break
    assert len(await read_all(remote, node, 0, len(content))) == len(content)
