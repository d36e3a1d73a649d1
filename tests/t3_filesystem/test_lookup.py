"""Questions for nodes: many askers share a call, and each gets its answer whatever becomes of the others."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.sync import lookup
from mountfs.sync.lookup import NodeLookup


@pytest.fixture
def memory(workspace: MemoryWorkspace) -> MemoryRemote:
    return MemoryRemote(workspace)


@pytest.fixture
def made(workspace: MemoryWorkspace) -> list[NodeId]:
    return [workspace.put(f"f{number}", b"x") for number in range(20)]


async def test_who_asks_in_one_moment_shares_a_call(memory: MemoryRemote, made: list[NodeId]) -> None:
    asked = NodeLookup(memory)
    found: list[str] = []

    async def ask(node: NodeId) -> None:
        answer = await asked.node(node)
        assert answer is not None
        found.append(answer.name)

    async with trio.open_nursery() as nursery:
        for node in made:
            nursery.start_soon(ask, node)
    assert len(set(found)) == len(made)
    assert memory.calls["nodes"] == 1


async def test_who_asks_later_gets_an_answer_of_a_later_call(
    memory: MemoryRemote, made: list[NodeId], workspace: MemoryWorkspace
) -> None:
    remote = FaultyRemote(memory)
    asked = NodeLookup(remote)
    names: list[str] = []

    async def ask() -> None:
        answer = await asked.node(made[0])
        assert answer is not None
        names.append(answer.name)

    remote.hang("nodes")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await remote.wait_hanging("nodes")
        for _ in range(5):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        first = remote.hang_no_more("nodes")
        remote.hang("nodes")
        first.set()
        await remote.wait_hanging("nodes")
        workspace.rename(made[0], "renamed")
        remote.release("nodes")
    assert sorted(names) == ["f0", *["renamed"] * 5]
    assert memory.calls["nodes"] == 2


async def test_who_gives_up_leaves_the_questions_of_others_to_them(
    memory: MemoryRemote, made: list[NodeId]
) -> None:
    remote = FaultyRemote(memory)
    asked = NodeLookup(remote)
    remote.hang("nodes")
    async with trio.open_nursery() as others:
        async with trio.open_nursery() as asking:
            asking.start_soon(asked.node, made[0])
            await wait_all_tasks_blocked()
            for node in made[1:]:
                others.start_soon(asked.node, node)
            await wait_all_tasks_blocked()
            asking.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        remote.release("nodes")
    assert memory.calls["nodes"] == 1


async def test_news_of_what_was_made_together_is_waited_for_together(
    memory: MemoryRemote, made: list[NodeId], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "NEWS_S", 3600.0)
    monkeypatch.setattr(lookup, "TWICE_S", 0.0)
    asked = NodeLookup(memory)
    asked.heard(made[:5])
    over: list[NodeId] = []

    async def wait(node: NodeId) -> None:
        answer, _ = await asked.made(node, ROOT_NODE)
        assert answer is not None
        over.append(answer.id)

    async with trio.open_nursery() as nursery:
        for node in made:
            nursery.start_soon(wait, node)
        await wait_all_tasks_blocked()
        asked.heard(made[5:-1])
        await wait_all_tasks_blocked()
        assert over == []
        asked.heard(made[-1:])
    assert set(over) == set(made)
    assert (memory.calls["newest"], memory.calls["nodes"]) == (1, 0)


@pytest.mark.parametrize("while_asking", [False, True])
async def test_who_asks_for_what_was_made_together_leaves_it_to_the_others(
    memory: MemoryRemote, made: list[NodeId], while_asking: bool
) -> None:
    remote = FaultyRemote(memory)
    asked = NodeLookup(remote)
    found: set[NodeId] = set()

    async def wait(node: NodeId) -> None:
        answer, _ = await asked.made(node, ROOT_NODE)
        assert answer is not None
        found.add(answer.id)

    remote.hang("newest")
    async with trio.open_nursery() as nursery, trio.open_nursery() as first:
        first.start_soon(wait, made[0])
        await wait_all_tasks_blocked()
        for node in made[1:]:
            nursery.start_soon(wait, node)
        await wait_all_tasks_blocked()
        if while_asking:
            asked.heard(made)
            await remote.wait_hanging("newest")
        remote.hang_no_more("newest")
        first.cancel_scope.cancel()
    assert found == set(made[1:])


async def test_news_that_does_not_come_is_waited_for_no_longer(
    memory: MemoryRemote, made: list[NodeId], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "NEWS_S", 0.01)
    asked = NodeLookup(memory)
    async with trio.open_nursery() as nursery:
        for node in made:
            nursery.start_soon(asked.made, node, ROOT_NODE)
