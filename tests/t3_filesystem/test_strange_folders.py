"""Folders of a service that has limits, lets two nodes have one name, and takes its time."""

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.t2_server.serving import wait_until
from tests.t3_filesystem.served_mount import Served, served, wait_seen

TWINS = ("twins=true", "file_onto_file=numbered", "folder_onto_folder=numbered")


async def call(function: Any, *arguments: Any, **named: Any) -> Any:
    return await trio.to_thread.run_sync(lambda: function(*arguments, **named))


async def trash(service: Served, node: str) -> None:
    await call(service.api.delete, f"{service.api.storage}{node}/delete/")


async def test_of_two_nodes_with_one_name_one_is_seen_and_then_the_other(tmp_path: Path) -> None:
    async with served(tmp_path, TWINS) as service:
        first = await call(service.api.upload, "a", b"first")
        here = await service.mount()
        await wait_seen(here, {"a": b"first"})
        second = await call(service.api.upload, "a", b"second")
        await here.catch_up()
        await here.catch_up()
        assert await here.contents() == {"a": b"first"}, "what was seen stays"
        await here.write("a", b"ours")
        await here.settle()
        assert not here.failures()
        assert await call(service.api.read, first) == b"ours"
        assert await call(service.api.read, second) == b"second", "the other is left alone"
        await here.restart()
        await here.wait_live()
        await wait_seen(here, {"a": b"ours"})
        await trash(service, first)
        await wait_seen(here, {"a": b"second"})
        await here.unlink("a")
        await here.settle()
        assert await call(service.api.children) == {}


@pytest.mark.parametrize("moved", [False, True], ids=["made", "moved there"])
async def test_second_node_of_a_name_leaves_what_is_changed_here_in_the_first(
    tmp_path: Path, moved: bool
) -> None:
    """However late it is told of: the change belongs to the node that was opened."""
    async with served(tmp_path, [*TWINS, "moved_onto_file=numbered"]) as service:
        first = await call(service.api.upload, "a", b"first")
        folder = await call(service.api.folder, "d")
        second = await call(service.api.upload, "a", b"second", folder)
        here = await service.mount()
        await wait_seen(here, {"a": b"first", "d": None, "d/a": b"second"})
        await here.write("a", b"ours")
        if moved:
            await call(service.api.post, f"{service.api.storage}{second}/move/", parent="root")
        else:
            second = await call(service.api.upload, "a", b"second")
        await here.catch_up()
        await here.settle()
        assert not here.failures()
        assert not here.tree.conflicts
        assert await here.read("a") == b"ours"
        assert await call(service.api.read, first) == b"ours"
        assert await call(service.api.read, second) == b"second", "the other is left alone"


async def test_two_hosts_that_make_one_folder_see_what_both_put_there(tmp_path: Path) -> None:
    """Where the service makes two of it: one of them is hidden, and nothing that was put there is lost."""
    async with served(tmp_path, TWINS) as service:
        here, there = await service.mount("here"), await service.mount("there")
        await here.mkdir("d")
        await there.mkdir("d")
        await here.write("d/ours", b"ours")
        await there.write("d/theirs", b"theirs")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.settle)
            nursery.start_soon(there.settle)
        rows = await call(service.api.get, f"{service.api.storage}inventory/", include="path")
        assert {row["path"] for row in rows["nodes"] if row["type"] == "file"} >= {"d/ours", "d/theirs"}


@pytest.mark.parametrize("switch", ["max_children=2", "max_depth=1"])
async def test_what_does_not_fit_is_parked_and_goes_when_it_fits(tmp_path: Path, switch: str) -> None:
    async with served(tmp_path, [switch]) as service:
        here = await service.mount()
        await here.mkdir("d")
        if switch == "max_depth=1":
            await here.write("d/refused", b"3")
        else:
            await here.write("sent", b"1")
            await here.settle()
            await here.write("refused", b"3")
        await here.settle()
        refused = "d/refused" if switch == "max_depth=1" else "refused"
        (reason,) = here.failures().values()
        assert list(here.failures()) == [refused]
        assert "full" in reason or "deep" in reason
        assert await here.read(refused) == b"3", "it is kept here"
        if switch == "max_depth=1":
            await here.rename(refused, "fits")
        else:
            await here.rename(refused, "d/fits")
        await here.settle()
        assert not here.failures()
        fits = "fits" if switch == "max_depth=1" else "d/fits"
        other = await service.mount("there")
        assert await other.read(fits) == b"3"


async def test_tree_that_goes_and_comes_back_in_steps(tmp_path: Path) -> None:
    async with served(tmp_path, ["tree_changes=in-steps"]) as service:
        folder = await call(service.api.folder, "d")
        inner = await call(service.api.folder, "e", folder)
        for number in range(5):
            await call(service.api.upload, f"f{number}", b"%d" % number, inner)
        await call(service.api.upload, "kept", b"kept")
        whole: dict[str, bytes | None] = {"d": None, "d/e": None, "kept": b"kept"}
        whole |= {f"d/e/f{number}": b"%d" % number for number in range(5)}
        here = await service.mount()
        await wait_seen(here, whole)
        inode = (await here.stat("kept")).ino
        await trash(service, folder)
        await wait_seen(here, {"kept": b"kept"})
        await call(service.api.post, f"{service.api.storage}{folder}/restore/")
        await wait_seen(here, whole)
        target = await call(service.api.folder, "target")
        await call(service.api.post, f"{service.api.storage}{folder}/copy/", parent=target)
        copied = {f"target/{path}": content for path, content in whole.items() if path != "kept"}
        await wait_seen(here, {**whole, "target": None, **copied})
        assert (await here.stat("kept")).ino == inode


async def test_what_is_written_into_a_tree_that_is_going_is_not_lost(tmp_path: Path) -> None:
    async with served(tmp_path, ["tree_changes=in-steps"]) as service:
        folder = await call(service.api.folder, "d")
        for number in range(10):
            await call(service.api.upload, f"f{number}", b"", folder)
        here = await service.mount()
        await here.contents()
        await here.write("d/f9", b"changed here")
        await trash(service, folder)
        await here.write("d/new", b"new here")
        await call(wait_until, lambda: "deleted" in service.api.node(folder))
        await here.catch_up()
        await here.settle()
        assert not here.failures()
        kept = {"d": None, "d/f9": b"changed here", "d/new": b"new here"}
        await wait_seen(here, kept)
        other = await service.mount("there")
        await wait_seen(other, kept)
