"""Keeps one lease renewed."""

import logging
from collections.abc import Awaitable, Callable

import trio

from mountfs.locks.file_lock import FileLock
from mountfs.model.errors import LeaseNotHeld, MountfsError, NodeNotFound
from mountfs.model.remote import Remote
from mountfs.rules.lease import TRY_MOST

logger = logging.getLogger(__name__)


async def keep_renewed(
    lock: FileLock,
    remote: Remote,
    clock: Callable[[], float],
    chance: Callable[[], float],
    take_again: Callable[[], Awaitable[None]],
) -> None:
    """Renew the lease in hand until it is lost, which `lock` is told, or until cancelled.

    A renewal that fails is repeated while the lease is valid; only the remote's word that it is gone, or
    the time, ends it. One that is doubted is renewed at once, and where it is gone `take_again` is called,
    which leaves the lock with a lease that is not doubted, or ends this. Cancelling leaves the lease with the
    remote for the rest of its duration.
    """
    failures = 0
    while True:
        await _wait_due(lock, lock.lease.term.renewal_in_s(clock(), failures, chance()), failures)
        if not lock.lease.is_valid(clock()):
            lock.lapsed("it could not be renewed in time")
            return
        try:
            await _renew(lock, remote, clock)
        except (LeaseNotHeld, NodeNotFound) as error:
            if lock.is_doubted and isinstance(error, LeaseNotHeld):
                await take_again()
            else:
                lock.lapsed(error.message)
            if lock.is_doubted or not lock.lease.in_hand:
                return
            failures = 0
        except (MountfsError, trio.TooSlowError) as error:
            failures += 1
            logger.info("renewing the lock on inode %d failed: %s", lock.ino, error or "no answer in time")
        else:
            failures = 0


async def _wait_due(lock: FileLock, wait_s: float, failures: int) -> None:
    """Return when it is time to renew, which a doubt brings forward where no renewal has failed before."""
    if failures:
        await trio.sleep(wait_s)
        return
    with trio.move_on_after(wait_s):
        await lock.wait_doubted()


async def _renew(lock: FileLock, remote: Remote, clock: Callable[[], float]) -> None:
    node, lease = lock.lease.node, lock.lease
    assert node is not None, "a lease in hand has a node"
    sent_at = clock()
    lock.renewing = True
    try:
        with trio.fail_after(lease.term.duration_s * TRY_MOST):
            answer = await remote.renew_lease(node, lease.token)
    finally:
        lock.renewing = False
    lock.renewed(answer, sent_at)
