"""Several calls of the remote at the same time, where one after the other would cost its delay again."""

from collections.abc import Awaitable, Callable

import trio

from mountfs.model.errors import MountfsError


async def side_by_side(*steps: Callable[[], Awaitable[None]]) -> None:
    """Return when all are done. The first of our errors cancels the others, and is raised as it is."""
    failures: list[MountfsError] = []

    async def tried(step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except MountfsError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for step in steps:
            nursery.start_soon(tried, step)
    if failures:
        raise failures[0]
