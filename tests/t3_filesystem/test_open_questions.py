"""What the specification leaves open: with each of the answers a mount keeps its promises, or says what it
cannot do.

docs/fastio.md names these tests.
"""

import os
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from mountfs.model.content_source import BytesSource
from mountfs.model.errors import (
    LeaseHeld,
    LeaseNotHeld,
    LeaseNotOverridable,
    NameTaken,
    NodeNotFound,
    RemoteUnavailable,
    RequestRefused,
    VersionMismatch,
    WouldBlock,
)
from mountfs.model.filesystem import LockKind, LockOwner
from mountfs.model.ids import ROOT_NODE, LeaseToken, NodeId
from mountfs.model.remote import NewFile, Remote, Unplaced, UploadStatus
from mountfs.remotes.memory import MemoryWorkspace
from tests.t2_server.serving import Api
from tests.t3_filesystem.lock_world import done
from tests.t3_filesystem.path_operations import OpenPath
from tests.t3_filesystem.served_mount import served, wait_seen
from tests.t3_filesystem.workspace_mount import PATIENCE_S, WorkspaceMount
from tests.waiting import eventually

MEBIBYTE = 1024 * 1024
PART = bytes(range(256)) * 4096
"""One chunk."""


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


async def stored(remote: Remote, name: str, content: bytes) -> NodeId:
    state = await remote.upload_small(NewFile(ROOT_NODE, name), content, digest(content))
    assert state.node is not None
    return state.node


async def drafted(remote: Remote, content: bytes) -> str:
    state = await remote.upload_small(Unplaced("draft"), content, digest(content))
    assert state.status is UploadStatus.ASSEMBLED
    return state.id


def contents_in_workspace(api: Api) -> dict[str, bytes]:
    return {name: api.read(node) for name, node in api.children().items() if api.node(node)["type"] == "file"}


# Names and tree.


@pytest.mark.parametrize(
    ("names", "first", "second"),
    [
        ("exact", "readme", "README"),
        ("folded", "readme", "README"),
        ("composed", "readme", "README"),
        ("composed", "\u00e4", "a\u0308"),
    ],
)
async def test_names_that_may_be_one_to_the_service(
    tmp_path: Path, names: str, first: str, second: str
) -> None:
    async with served(tmp_path, [f"names={names}"]) as service:
        here = await service.mount()
        await here.write(first, b"first")
        await here.write(second, b"second")
        await here.mkdir(f"d{first}")
        await here.mkdir(f"d{second}")
        await here.settle()
        assert not here.failures()
        expected = {first: b"first", second: b"second", f"d{first}": None, f"d{second}": None}
        assert await here.contents() == expected, "nothing is lost here"
        kept = await trio.to_thread.run_sync(contents_in_workspace, service.api)
        # Whether they are one or not: the second has a mark there.
        assert kept[first] == b"first", "nor there"
        assert b"second" in kept.values()
        other = await service.mount("there")
        await other.settle()
        assert await other.contents() == expected


@pytest.mark.parametrize("cut", [0, 100])
async def test_name_that_is_kept_otherwise_is_put_right(tmp_path: Path, cut: int) -> None:
    name = "n" * 120 + ".txt"
    async with served(tmp_path, [f"name_cut={cut}"]) as service:
        here = await service.mount()
        await here.write(name, b"content")
        await here.settle()
        assert await here.contents() == {name: b"content"}
        kept = await trio.to_thread.run_sync(contents_in_workspace, service.api)
        assert kept == {name: b"content"}, "it is renamed to what it should be"
        assert not here.failures()


@pytest.mark.parametrize("reasons", ["told", "absent"])
@pytest.mark.parametrize("answer", ["refused", "conflict", "broken"])
async def test_rename_onto_a_name_in_use_is_told_as_that(tmp_path: Path, answer: str, reasons: str) -> None:
    async with served(tmp_path, [f"rename_taken={answer}", f"reasons={reasons}"]) as service:
        remote = await service.remote()
        await stored(remote, "taken", b"1")
        node = await stored(remote, "f", b"2")
        with pytest.raises(NameTaken):
            await remote.rename(node, "taken")
        outer = await remote.create_folder(ROOT_NODE, "outer")
        inner = await remote.create_folder(outer.id, "inner")
        with pytest.raises(RequestRefused):
            await remote.move(outer.id, inner.id)


async def test_what_was_told_of_before_its_folder_was_listed_is_seen_though_listings_lack_it(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, ["visible_after_s=600"]) as service:
        here, api = await service.mount(), service.api

        def make() -> None:
            api.upload("f", b"1")
            api.upload("g", b"2", api.folder("d"))

        await trio.to_thread.run_sync(make)
        await here.catch_up()
        assert await here.contents() == {"f": b"1", "d": None, "d/g": b"2"}


@pytest.mark.parametrize("order", ["from the top", "from below", "at once"])
async def test_tree_that_goes_bit_by_bit_is_gone_in_the_end(
    mount: WorkspaceMount, workspace: MemoryWorkspace, order: str
) -> None:
    nodes = [workspace.put("d/e/f", b"1"), workspace.find("d/e"), workspace.find("d")]
    kept = workspace.put("kept", b"2")
    await mount.contents()
    for node in {"from the top": nodes[::-1], "from below": nodes, "at once": nodes[2:]}[order]:
        workspace.trash(node)
        await mount.catch_up()
        assert (await mount.contents())["kept"] == b"2"
    assert await mount.contents() == {"kept": b"2"}
    assert mount.node("kept") == kept


@pytest.mark.parametrize("times", ["still", "moving"])
async def test_times_of_a_folder_here_are_its_own(tmp_path: Path, times: str) -> None:
    async with served(tmp_path, [f"folder_times={times}"]) as service:
        here = await service.mount()
        await here.mkdir("d")
        await here.write("d/f", b"1")
        before = (await here.stat("d")).mtime_ns
        await here.settle()
        await here.catch_up()
        await here.contents()
        assert (await here.stat("d")).mtime_ns == before


# Reading.


@pytest.mark.parametrize("versions", ["kept", "pruned"])
async def test_two_reads_of_one_version_never_mix(tmp_path: Path, versions: str) -> None:
    async with served(tmp_path, [f"old_versions={versions}"]) as service:
        remote = await service.remote()
        node = await stored(remote, "f", b"o" * 1000)
        version = (await remote.nodes([node]))[node].version
        async with remote.read(node, version, 0, 500) as pieces:
            assert b"".join([piece async for piece in pieces]) == b"o" * 500
        await stored(remote, "f", b"n" * 1000)
        try:
            async with remote.read(node, version, 500, 1000) as pieces:
                assert b"".join([piece async for piece in pieces]) == b"o" * 500
            assert versions == "kept"
        except (NodeNotFound, RemoteUnavailable):
            assert versions == "pruned"


@pytest.mark.parametrize("switches", [(), ("note_reads=false", "note_sizes=absent")])
async def test_notes_and_links_are_left_alone(tmp_path: Path, switches: tuple[str, ...]) -> None:
    async with served(tmp_path, switches) as service:
        here, api = await service.mount(), service.api

        def prepare() -> None:
            api.post(f"{api.storage}root/createnote/", name="n.md", content="theirs")
            api.post(f"{api.storage}root/addlink/", type="share", share="1" * 19, name="l")
            api.upload("f", b"1")

        await trio.to_thread.run_sync(prepare)
        await here.catch_up()
        assert await here.contents() == {"f": b"1"}
        await here.write("n.md", b"ours")
        await here.settle()
        kept = await trio.to_thread.run_sync(api.children)
        assert api.get(f"{api.storage}{kept['n.md']}/readnote/")["content"] == "theirs"
        ours = {name: content for name, content in (await here.contents()).items() if name != "f"}
        assert list(ours.values()) == [b"ours"]
        assert next(iter(ours)).startswith("n (conflict here "), "the name is theirs"
        assert await trio.to_thread.run_sync(contents_in_workspace, api) == {"f": b"1", **ours}


# Writing.


@pytest.mark.parametrize("ways", ["taken", "session", "refused"])
async def test_files_without_bytes(tmp_path: Path, ways: str) -> None:
    async with served(tmp_path, [f"empty_files={ways}"]) as service:
        here = await service.mount()
        for name in ("a", "b"):
            await here.write(name, b"")
        await here.write("c", b"content")
        await here.settle()
        assert await here.contents() == {"a": b"", "b": b"", "c": b"content"}
        kept = await trio.to_thread.run_sync(contents_in_workspace, service.api)
        assert set(kept) == ({"c"} if ways == "refused" else {"a", "b", "c"})
        assert set(here.failures()) == ({"a", "b"} if ways == "refused" else set())


@pytest.mark.parametrize("again", ["replaces", "ignored", "refused"])
async def test_chunk_that_is_sent_twice(tmp_path: Path, again: str) -> None:
    async with served(tmp_path, [f"chunk_again={again}"]) as service:
        remote = await service.remote()
        upload = await remote.open_upload(Unplaced("f"), len(PART), digest(PART))
        for _ in range(2):
            await remote.send_chunk(upload, 1, BytesSource(PART), digest(PART))
        await remote.complete_upload(upload)
        assert (await remote.upload_state(upload)).status is UploadStatus.ASSEMBLED


@pytest.mark.parametrize("onto", ["version", "numbered", "refused"])
async def test_two_hosts_that_create_one_name_lose_nothing(tmp_path: Path, onto: str) -> None:
    async with served(tmp_path, [f"file_onto_file={onto}", "visible_after_s=600"]) as service:
        here, there = await service.mount("here"), await service.mount("there")
        await here.write("f", b"here")
        await there.write("f", b"there")
        await here.settle()
        await there.settle()

        node = here.node("f")

        def history() -> set[bytes]:
            rows = service.api.get(f"{service.api.storage}{node}/versions/")["versions"]
            return {service.api.read(node, version_id=row["id"]) for row in rows}

        on_the_mounts = {*(await here.contents()).values(), *(await there.contents()).values()}
        assert on_the_mounts | await trio.to_thread.run_sync(history) == {b"here", b"there"}


@pytest.mark.parametrize("onto", ["numbered", "refused"])
async def test_file_that_others_created_first_is_one_with_ours_or_a_conflict(
    tmp_path: Path, onto: str
) -> None:
    async with served(tmp_path, [f"file_onto_file={onto}", "news_late_s=600"]) as service:
        here, there = await service.mount("here"), await service.mount("there")
        assert not await here.contents(), "from now on it is told what changes, but late"
        for mount, content in ((there, b"theirs"), (here, b"ours")):
            await mount.write("lock", b"")
            await mount.write("f", content)
            await mount.settle()
            assert not mount.failures()
        found = await here.contents()
        assert (len(found), found["f"], found["lock"]) == (3, b"theirs", b"")
        assert b"ours" in found.values()
        assert here.node("lock") == there.node("lock")
        kept = await trio.to_thread.run_sync(contents_in_workspace, service.api)
        assert kept == found


@pytest.mark.parametrize("upload", ["kept", "spent"])
async def test_content_whose_precondition_failed_is_sent_again_if_need_be(
    tmp_path: Path, upload: str
) -> None:
    async with served(tmp_path, [f"failed_commit={upload}"]) as service:
        here = await service.mount()
        await here.write("f", b"base")
        await here.settle()
        await here.write("f", b"ours")
        await trio.to_thread.run_sync(service.api.upload, "f", b"theirs")
        await here.settle()
        await here.catch_up()
        assert not here.failures()
        assert sorted((await here.contents()).values(), key=str) == [b"ours", b"theirs"]
        kept = await trio.to_thread.run_sync(contents_in_workspace, service.api)
        assert sorted(kept.values()) == [b"ours", b"theirs"]


@pytest.mark.parametrize("answer", ["honoured", "ignored"])
async def test_version_that_others_made_is_seen_or_kept_in_the_history(tmp_path: Path, answer: str) -> None:
    async with served(tmp_path, [f"if_version_id={answer}"]) as service:
        remote = await service.remote()
        node = await stored(remote, "f", b"base")
        base = (await remote.nodes([node]))[node].version
        assert base is not None
        await stored(remote, "f", b"theirs")
        try:
            await remote.commit(node, await drafted(remote, b"ours"), base)  # type: ignore[arg-type]  # a draft is named as an upload
        except VersionMismatch:
            pass
        else:
            assert answer == "ignored"

        def history() -> list[bytes]:
            rows = service.api.get(f"{service.api.storage}{node}/versions/")["versions"]
            return [service.api.read(node, version_id=row["id"]) for row in rows]

        assert b"theirs" in await trio.to_thread.run_sync(history)


# Locks.


@pytest.mark.parametrize("switches", [(), ("relock=renewed",), ("relock=renewed", "locks=enforced")])
async def test_two_mounts_of_one_account_never_hold_one_lock(
    tmp_path: Path, switches: tuple[str, ...]
) -> None:
    async with served(tmp_path, switches) as service:
        here, there = await service.remote(), await service.remote()
        node = await stored(here, "f", b"1")
        lease = await here.acquire_lease(node, duration_s=60, holder="here")
        with pytest.raises(LeaseHeld):
            await there.acquire_lease(node, duration_s=60, holder="there")
        await here.renew_lease(node, lease.token)
        await here.release_lease(node, lease.token)
        await there.acquire_lease(node, duration_s=60, holder="there")


@pytest.mark.parametrize("switch", ["heartbeat=whole", "heartbeat=default"])
async def test_lease_is_never_taken_for_longer_than_the_service_says(tmp_path: Path, switch: str) -> None:
    async with served(tmp_path, [switch]) as service:
        remote = await service.remote()
        node = await stored(remote, "f", b"1")
        lease = await remote.acquire_lease(node, duration_s=3600, holder="here")
        renewed = await remote.renew_lease(node, lease.token)
        assert (renewed.duration_s > 3000) == (switch == "heartbeat=whole")
        assert renewed.duration_s > 290


@pytest.mark.parametrize("switch", ["dead_token=404", "dead_token=409"])
async def test_token_that_holds_no_more_is_known_for_that(tmp_path: Path, switch: str) -> None:
    async with served(tmp_path, [switch]) as service:
        remote = await service.remote()
        node = await stored(remote, "f", b"1")
        with pytest.raises(LeaseNotHeld):
            await remote.renew_lease(node, LeaseToken("long gone"))


@pytest.mark.parametrize("can", [True, False])
async def test_lock_of_others_is_ended_or_that_is_told(tmp_path: Path, can: bool) -> None:
    async with served(tmp_path, [f"lock_override={can}"]) as service:
        here, there = await service.remote(), await service.remote()
        node = await stored(here, "f", b"1")
        lease = await here.acquire_lease(node, duration_s=60, holder="here")
        if can:
            await there.override_lease(node)
            with pytest.raises(LeaseNotHeld):
                await here.renew_lease(node, lease.token)
        else:
            with pytest.raises(LeaseNotOverridable):
                await there.override_lease(node)
            await here.renew_lease(node, lease.token)


@pytest.mark.parametrize("switch", ["lock_end=time", "lock_end=version", "lock_end=move"])
async def test_lock_that_ended_early_is_known_to_be_lost(tmp_path: Path, switch: str) -> None:
    async with served(tmp_path, [switch]) as service:
        remote = await service.remote()
        node, folder = await stored(remote, "f", b"1"), await remote.create_folder(ROOT_NODE, "d")
        lease = await remote.acquire_lease(node, duration_s=60, holder="here")
        await (remote.move(node, folder.id) if switch == "lock_end=move" else stored(remote, "f", b"2"))
        if switch == "lock_end=time":
            await remote.renew_lease(node, lease.token)
        else:
            with pytest.raises(LeaseNotHeld):
                await remote.renew_lease(node, lease.token)


@pytest.mark.parametrize(
    ("switch", "moves"),
    [("lock_end=version", ("g", "h")), ("lock_end=move", ("d/f", "f"))],
    ids=["a version", "a move"],
)
async def test_lock_that_ends_with_a_change_is_kept_all_the_same(
    tmp_path: Path, switch: str, moves: tuple[str, str]
) -> None:
    async with served(tmp_path, [switch]) as service:
        here, there = await service.mount("here"), await service.mount("there")
        await here.mkdir("d")
        await here.write("f", b"0")
        await here.settle()
        await there.catch_up()
        fence, locked = here.parts.fence, here.inode("f")

        def is_known_at(path: str) -> bool:
            return locked.path() == path.encode()

        async def wait_taken_again(file: OpenPath) -> None:
            # It is free for an instant.
            await eventually(lambda: fence.commit_window_s(file.ino, trio.current_time()), limit_s=PATIENCE_S)

        async with here.opened("f", os.O_RDWR) as file, there.opened("f") as other:
            take = partial(here.parts.locks.flock, file.ino, file.handle, LockOwner(1))
            wait_for = partial(there.parts.locks.flock, other.ino, other.handle, LockOwner(2))
            await done(partial(take, LockKind.EXCLUSIVE, wait=True))
            for number in range(3):
                await file.write(b"%d" % number)
                await file.fsync()
                await here.settle()
                await wait_taken_again(file)
                with pytest.raises(WouldBlock):
                    await done(partial(wait_for, LockKind.EXCLUSIVE, wait=False))
            # The service makes a version of a rename as well, whoever asks for it.
            for mount, old, new in ((here, "f", moves[0]), (there, *moves)):
                await mount.rename(old, new)
                await mount.settle()
                await eventually(partial(is_known_at, new), limit_s=PATIENCE_S)
                await there.catch_up()
                await wait_taken_again(file)
                with pytest.raises(WouldBlock):
                    await done(partial(wait_for, LockKind.EXCLUSIVE, wait=False))
            await file.write(b"last")
            await done(partial(take, None, wait=True))
            await done(partial(wait_for, LockKind.EXCLUSIVE, wait=True))
            assert await other.read() == b"last"
            await done(partial(wait_for, None, wait=True))
        for mount in (here, there):
            assert mount.parts.locks.statistics().leases_lost == 0
            assert not mount.tree.conflicts


# Changes.


@pytest.mark.parametrize(
    "switches",
    [
        (),
        ("tree_news=each",),
        ("news_twice=true",),
        ("news_reversed=true", "tree_news=each"),
        ("news_late_s=0.3",),
        ("poll_cursor=time",),
        ("purges_told=false",),
    ],
)
async def test_news_in_every_form(tmp_path: Path, switches: tuple[str, ...]) -> None:
    async with served(tmp_path, switches) as service:
        here, api = await service.mount(), service.api

        def prepare() -> list[str]:
            folder = api.folder("d")
            return [folder, api.upload("f", b"1", folder), api.upload("g", b"1", folder), api.folder("e")]

        folder, written, gone, elsewhere = await trio.to_thread.run_sync(prepare)
        await wait_seen(here, {"d": None, "d/f": b"1", "d/g": b"1", "e": None})

        def change() -> None:
            old = api.node(written)["version"]
            api.upload("f", b"2", folder)
            api.post(f"{api.storage}{written}/restore-version/", version_id=old)
            api.delete(f"{api.storage}{gone}/delete/")
            api.delete(f"{api.storage}{gone}/purge/")
            api.post(f"{api.storage}{folder}/move/", parent=elsewhere)

        await trio.to_thread.run_sync(change)
        await wait_seen(here, {"e": None, "e/d": None, "e/d/f": b"1"})


@pytest.mark.parametrize("switch", ["gateway_before=7", "gateway_after=3", "gateway_after=2"])
async def test_changes_whose_answers_are_lost_are_made_once(tmp_path: Path, switch: str) -> None:
    async with served(tmp_path, [switch]) as service:
        here = await service.mount()
        await here.mkdir("d")
        for name in ("a", "b", "c"):
            await here.write(f"d/{name}", name.encode())
        await here.settle()
        await here.rename("d/a", "a")
        await here.write("d/b", b"newer")
        await here.unlink("d/c")
        await here.settle()
        assert not here.failures()
        assert not here.tree.conflicts

        def history(path: str) -> int:
            # The gateway is in the way of a test as well.
            address = f"{service.api.storage}{here.node(path)}/versions/"
            answer = next(
                told for told in iter(lambda: service.api.http.get(address), None) if told.is_success
            )
            return len(answer.json()["versions"])

        assert await trio.to_thread.run_sync(history, "a") == 1
        assert await trio.to_thread.run_sync(history, "d/b") == 2
        assert await here.contents() == {"d": None, "a": b"a", "d/b": b"newer"}


# Accounts.


@pytest.mark.parametrize(
    "switches", [("workspace_state=archived",), ("payment=writes",), ("token_mode=r",), ("member=false",)]
)
async def test_workspace_that_takes_nothing(tmp_path: Path, switches: tuple[str, ...]) -> None:
    async with served(tmp_path, []) as service:
        await trio.to_thread.run_sync(service.api.upload, "f", b"1")
    async with served(tmp_path, switches) as service:
        if switches == ("member=false",):
            with pytest.raises(Exception, match=r"no workspace|not a member"):
                await service.mount()
            return
        here = await service.mount()
        assert await here.contents() == {"f": b"1"}
        await here.write("g", b"kept here")
        await here.settle()
        assert set(here.failures()) == {"g"}
        assert await here.contents() == {"f": b"1", "g": b"kept here"}
    async with served(tmp_path, []) as service:
        again = await service.mount()
        again.parts.sender.retry(list(again.tree.pending.values()))
        await again.settle()
        assert not again.failures()
        assert await trio.to_thread.run_sync(contents_in_workspace, service.api) == {
            "f": b"1",
            "g": b"kept here",
        }
