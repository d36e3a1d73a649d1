"""Work that no request asks for: ending locks, old sessions and feed rows, assemblies cut off."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import select

from mountfs.server import activity, batch, locks, uploads
from mountfs.server.clock import SECOND_US, lock_clock_us
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Services
from mountfs.server.schema import uploads as upload_table
from mountfs.server.upload_routes import assemble

logger = logging.getLogger(__name__)

STORED_SESSION_LIFE_S = 86400
_SWEEP_EVERY_S = 600.0
_LEAST_SLEEP_S = 0.001
_AGAIN_S = 5.0


class Background:
    """Owns tasks that outlive their request; `close` ends them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run it; a failure is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("background work failed", exc_info=task.exception())


async def without_end(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Take the work up again a while after it failed, as it does while the disk is full; runs until
    cancelled."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("background work failed; it goes on in %g s", _AGAIN_S)
        await asyncio.sleep(_AGAIN_S)


async def watch_locks(services: Services) -> None:
    """Announce each lock's expiry when it comes; runs until cancelled."""
    while True:
        services.lock_expiry.begin()
        next_us = await services.database.read(locks.next_expiry_us)
        delay_s = None if next_us is None else (next_us - lock_clock_us()) / SECOND_US
        if delay_s is not None and delay_s <= 0:
            await services.database.write(locks.release_expired)
            continue
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if delay_s is None else max(delay_s, _LEAST_SLEEP_S)):
                await services.lock_expiry.wait_sooner(next_us)


async def sweep_regularly(services: Services) -> None:
    """Forget what is old, every few minutes; runs until cancelled."""
    while True:
        await asyncio.sleep(min(_SWEEP_EVERY_S, services.options.behaviour.session_life_s))
        await services.database.write(lambda tx: sweep(tx, services.options.activity_rows))


def sweep(tx: Transaction, activity_rows: int) -> None:
    """Forget old sessions, batch answers and feed rows."""
    life_s = tx.behaviour.session_life_s
    stored_life_s = min(life_s, STORED_SESSION_LIFE_S)
    uploads.sweep_sessions(tx, tx.now_us - life_s * SECOND_US, tx.now_us - stored_life_s * SECOND_US)
    batch.sweep_batches(tx)
    activity.prune(tx, activity_rows)


async def resume_assemblies(services: Services) -> None:
    """Take up the sessions that a crash left between their last chunk and their end, each by itself: none
    waits for another, or fails with it.

    Only safe before the first request, which may begin an assembly too.
    """
    query = select(upload_table).where(uploads.is_cut_off())
    for session in await services.database.read(lambda connection: connection.execute(query).all()):
        services.background(assemble(services, session))
