"""Waiting for what no event tells of, with a deadline: the one place where tests look again and again."""

from collections.abc import Callable

import trio

BETWEEN_LOOKS_S = 0.02


async def eventually(condition: Callable[[], object], *, limit_s: float) -> None:
    """Return when the condition holds; fails where it does not within the limit, by trio's clock."""
    with trio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110 - see above
            await trio.sleep(BETWEEN_LOOKS_S)
