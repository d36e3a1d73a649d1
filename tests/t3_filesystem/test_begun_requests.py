"""Work that is begun outside of an `await`: for the event loop and itself it is as if it had been awaited."""

from collections.abc import Coroutine
from typing import Any

import pytest
import trio
import trio.testing

from mountfs.kernel.begun_requests import BegunRequest


class Broken(Exception):
    pass


def begun(work: Coroutine[Any, Any, Any]) -> BegunRequest:
    return BegunRequest(0.0, work, work.send(None), lambda result: ("translated", result))


async def test_rest_of_the_work_waits_and_ends_in_its_result() -> None:
    gate, went_on = trio.Event(), trio.Event()
    seen = []

    async def work() -> str:
        seen.append("begun")
        await gate.wait()
        await trio.lowlevel.checkpoint()
        return "result"

    async def task() -> None:
        request = begun(work())
        seen.append("handed over")
        assert await request.rest() == ("translated", "result")
        went_on.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["begun", "handed over"]
        assert not went_on.is_set()
        gate.set()
    assert went_on.is_set()


async def test_failure_comes_out_of_the_rest() -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise Broken

    with pytest.raises(Broken):
        await begun(work()).rest()


async def test_cancelling_the_task_cancels_the_work_within_its_own_scopes() -> None:
    ends: list[bool | str] = []

    async def work() -> None:
        with trio.move_on_after(0) as own:
            await trio.sleep_forever()
        ends.append(own.cancelled_caught)
        try:
            await trio.sleep_forever()
        finally:
            ends.append("cleaned up")

    with trio.move_on_after(0.01) as outer:
        await begun(work()).rest()
    assert outer.cancelled_caught
    assert ends == [True, "cleaned up"]


async def test_work_may_catch_what_it_waits_for() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise Broken

    async def work() -> str:
        await trio.lowlevel.checkpoint()
        try:
            await fails()
        except Broken:
            await trio.lowlevel.checkpoint()
        return "caught"

    assert await begun(work()).rest() == ("translated", "caught")


def test_rest_that_is_dropped_closes_the_work() -> None:
    closed = []

    async def main() -> None:
        async def work() -> None:
            try:
                await trio.sleep_forever()
            finally:
                closed.append(True)

        rest = begun(work()).rest()
        rest.send(None)
        # As when the event loop is gone.
        rest.close()
        await trio.lowlevel.checkpoint()

    trio.run(main)
    assert closed == [True]
