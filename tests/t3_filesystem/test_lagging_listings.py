"""A service whose listings show new nodes late: nothing that others made is overwritten, or overlooked."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trio

from mountfs.model.ids import NodeId
from tests.t3_filesystem.served_mount import Served, served, wait_seen
from tests.t3_filesystem.workspace_mount import MountOptions, RemoteMount

UNSEEN: Final = ("visible_after_s=600", "websocket=absent", "news_late_s=2")
"""For so long (real time) nothing but a question by its id shows what others made."""

LARGE: Final = 5 * 1024 * 1024
"""More than one call takes."""


async def _both_create(service: Served, contents: dict[str, tuple[bytes, bytes]]) -> list[RemoteMount]:
    """Let two hosts create the files, the second before it can know of those of the first."""
    here, there = await service.mount("here"), await service.mount("there")
    for name, (ours, theirs) in contents.items():
        await here.write(name, ours)
        await there.write(name, theirs)
    await here.settle()
    await there.settle()
    return [here, there]


async def _wait_all_kept(mounts: list[RemoteMount], contents: dict[str, tuple[bytes, bytes]]) -> None:
    """Return when each mount shows, of every file, what the first made, and beside it one copy of what the
    second made."""
    there = mounts[1]
    copies = {
        name: copy
        for name in contents
        for copy in (await there.contents())
        if copy.startswith(f"{name} (conflict there ")
    }
    assert len(copies) == len(contents)
    expected: dict[str, bytes | None] = {name: first for name, (first, _) in contents.items()}
    expected |= {copies[name]: second for name, (_, second) in contents.items()}
    for mount in mounts:
        await wait_seen(mount, expected)
        assert not mount.failures()
    assert len(there.tree.conflicts) == len(contents)
    assert not mounts[0].tree.conflicts


async def test_a_file_that_is_moved_onto_one_unseen_steps_aside(tmp_path: Path) -> None:
    """The service would send that one to the trash."""
    async with served(tmp_path, UNSEEN) as service:
        here = await service.mount()
        await here.mkdir("d")
        await here.write("f", b"ours")
        await here.settle()
        assert await here.listdir("d") == []
        await trio.to_thread.run_sync(service.api.upload, "f", b"theirs", here.node("d"))
        await here.rename("f", "d/f")
        await here.settle()
        (copy,) = [path for path in await here.contents() if "(conflict here " in path]
        await wait_seen(here, {"d": None, "d/f": b"theirs", copy: b"ours"})
        assert not here.failures()


@pytest.mark.parametrize("older", [False, True], ids=["newer", "older"])
@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
async def test_two_hosts_that_create_one_file_unseen_keep_both(
    tmp_path: Path, size: int, older: bool
) -> None:
    contents = {"f": (os.urandom(size), os.urandom(size))}
    async with served(tmp_path, [*UNSEEN, *(["generation=older"] if older else [])]) as service:
        mounts = await _both_create(service, contents)
        await _wait_all_kept(mounts, contents)


async def test_files_that_are_created_together_unseen_are_all_kept(tmp_path: Path) -> None:
    contents = {f"f{number}": (b"first %d" % number, b"second %d" % number) for number in range(30)}
    async with served(tmp_path, UNSEEN) as service:
        mounts = await _both_create(service, contents)
        await _wait_all_kept(mounts, contents)


async def test_last_writer_wins_over_what_was_not_seen_and_tells_so(tmp_path: Path) -> None:
    async with served(tmp_path, UNSEEN) as service:
        here = await service.mount("here")
        there = await service.mount("there", MountOptions(conflict="last-writer-wins"))
        await here.write("f", b"first")
        await there.write("f", b"second")
        await here.settle()
        await there.settle()
        for mount in (here, there):
            await wait_seen(mount, {"f": b"second"})
        (conflict,) = there.tree.conflicts.values()
        assert conflict.theirs is not None
        assert conflict.theirs.size == len(b"first")
        node = there.node("f")
        assert await trio.to_thread.run_sync(_history, service, node) == [b"second", b"first"]


async def test_what_was_made_right_before_a_mount_is_seen_by_it(tmp_path: Path) -> None:
    async with served(tmp_path, ["visible_after_s=600"]) as service:
        here, api = await service.mount(), service.api
        assert await here.contents() == {}
        await here.stop()

        def make() -> None:
            api.upload("f", b"1")
            api.upload("g", b"2", api.folder("d"))
            api.delete(f"{api.storage}{api.upload('gone', b'3')}/delete/")

        await trio.to_thread.run_sync(make)
        there = await service.mount("there")
        await here.start()
        for mount in (here, there):
            await wait_seen(mount, {"f": b"1", "d": None, "d/g": b"2"})


async def test_listing_that_lacks_what_is_there_tells_that_listings_lag(tmp_path: Path) -> None:
    async with served(tmp_path, ["visible_after_s=600"]) as service:
        here = await service.mount()
        node = await trio.to_thread.run_sync(service.api.upload, "f", b"1")
        await wait_seen(here, {"f": b"1"})
        here.parts.refresher.distrust()
        await here.wait_live()
        assert await here.contents() == {"f": b"1"}
        looked = (await here.parts.remote.nodes([NodeId(node.replace("-", ""))])).values()
        # Though the folder of this one would tell nothing.
        (known,) = [replace(told, parent=NodeId("2" * 29)) for told in looked]
        assert not await here.parts.remote.lists_at_once(known)


def _history(service: Served, node: str) -> list[bytes]:
    rows = service.api.get(f"{service.api.storage}{node}/versions/")["versions"]
    return [service.api.read(node, version_id=row["id"]) for row in rows]
