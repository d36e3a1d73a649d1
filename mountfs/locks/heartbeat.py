"""Keeps one lease renewed."""

import logging
from collections.abc import Callable

import trio

from mountfs.locks.file_lock import FileLock
from mountfs.model.errors import LeaseNotHeld, MountfsError, NodeNotFound
from mountfs.model.remote import Remote
from mountfs.rules.lease import TRY_MOST

logger = logging.getLogger(__name__)


async def keep_renewed(
    lock: FileLock, remote: Remote, clock: Callable[[], float], chance: Callable[[], float]
) -> None:
    """Renew the lease in hand until it is lost, which `lock` is told, or until cancelled.

    A renewal that fails is repeated while the lease is valid; only the remote's word that it is gone, or
    the time, ends it. Cancelling leaves the lease with the remote for the rest of its duration.
    """
    failures = 0
    while True:
        await trio.sleep(lock.lease.term.renewal_in_s(clock(), failures, chance()))
        if not lock.lease.is_valid(clock()):
            lock.lapsed("it could not be renewed in time")
            return
        try:
            await _renew(lock, remote, clock)
        except (LeaseNotHeld, NodeNotFound) as error:
            lock.lapsed(error.message)
            return
        except (MountfsError, trio.TooSlowError) as error:
            failures += 1
            logger.info("renewing the lock on inode %d failed: %s", lock.ino, error or "no answer in time")
        else:
            failures = 0


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
