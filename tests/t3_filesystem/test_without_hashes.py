"""A service that tells no hashes: what it has is known by its versions, and never guessed from a size."""

from pathlib import Path
from typing import Final

import pytest
import trio

from mountfs.model.node import RemoteNode
from mountfs.remotes.fastio.remote import FastioRemote
from mountfs.remotes.fastio.request import Ask
from tests.t3_filesystem.served_mount import served, wait_seen

UNSEEN: Final = ("hashes=absent", "websocket=absent", "news_late_s=2")
"""For so long (real time) nothing but a question shows what others wrote."""


@pytest.mark.parametrize("answer", ["node", "nothing"])
async def test_what_others_wrote_right_before_our_rename_is_seen(tmp_path: Path, answer: str) -> None:
    async with served(tmp_path, [*UNSEEN, f"change_answer={answer}"]) as service:
        here = await service.mount()
        await here.write("f", b"ours")
        await here.settle()
        await trio.to_thread.run_sync(service.api.upload, "f", b"new!")
        await here.rename("f", "g")
        await here.settle()
        assert await here.contents() == {"g": b"new!"}
        assert not here.tree.conflicts


async def test_what_others_wrote_before_the_outcome_of_our_rename_was_asked_for_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, [*UNSEEN, "change_answer=nothing"]) as service:
        here = await service.mount()
        await here.write("f", b"ours")
        await here.settle()
        ask = FastioRemote._after

        async def ask_late(remote: FastioRemote, asked: Ask, node: str) -> RemoteNode:
            await trio.to_thread.run_sync(service.api.upload, "g", b"new!")
            return await ask(remote, asked, node)  # type: ignore[arg-type]  # an id as any other

        monkeypatch.setattr(FastioRemote, "_after", ask_late)
        await here.rename("f", "g")
        await here.settle()
        monkeypatch.undo()
        assert await here.contents() == {"g": b"new!"}


@pytest.mark.parametrize("answer", ["node", "nothing"])
async def test_renamed_file_keeps_what_is_cached_of_it_and_written_to_it(tmp_path: Path, answer: str) -> None:
    async with served(tmp_path, [*UNSEEN, f"change_answer={answer}"]) as service:
        here = await service.mount()
        await here.mkdir("d")
        for name in ("cached", "written"):
            await here.write(name, b"ours")
        await here.settle()
        await here.rename("cached", "d/g")
        await here.rename("written", "d/h")
        await here.write("d/h", b"edit")
        await here.settle()
        assert here.cached_bytes("d/g") == len(b"ours"), "it is not fetched again"
        expected = {"d": None, "d/g": b"ours", "d/h": b"edit"}
        await wait_seen(here, expected)
        assert not here.tree.conflicts
        assert not here.failures()
