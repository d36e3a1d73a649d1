"""The agent of one file: takes its lease from the remote for the local holders, keeps it, gives it back."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from mountfs.locks.file_lock import FileLock
from mountfs.locks.heartbeat import keep_renewed
from mountfs.model.effect import ASKED_BY, asked_by
from mountfs.model.errors import (
    ContentUnavailable,
    LeaseHeld,
    MountfsError,
    NodeNotFound,
    OperationNotSupported,
    RateLimited,
    RemoteError,
    RemoteUnavailable,
)
from mountfs.model.ids import NodeId
from mountfs.model.publishing import Glance, LeaseMemory, Publishing
from mountfs.model.remote import KnownLease, Lease, Remote
from mountfs.rules.backoff import Backoff
from mountfs.rules.lease import TRY_MOST, LeaseEvent, LeaseState

logger = logging.getLogger(__name__)

ACQUIRING: Final = Backoff(0.05, 2.0)
TOLD: Final = Backoff(0.5, 2.0)
"""The back-off of who waits for another mount, where news have shown to tell when that gives a lease back."""

PUBLISHING: Final = Backoff(1.0, 30.0)
RELEASING: Final = Backoff(0.5, 5.0)

GONE_TRIES: Final = 3
"""How often a service may say that a file is not there which this mount still finds there."""

PAUSE_S: Final = 0.1
"""At most this, and at least half, passes between giving a lease back and taking it again when the turn of
this mount is over; those who were told of the release need one round trip."""

LATER: Final = (RemoteUnavailable, ContentUnavailable)
"""The errors after which trying again may help."""


@dataclass(slots=True)
class ReleaseNews:
    """Whether news of the remote tell in time when another mount gives a lease back. Not every service tells,
    and news can be lost, so it is what the last wait for another mount has shown."""

    tell: bool = False

    @property
    def backoff(self) -> Backoff:
        return TOLD if self.tell else ACQUIRING


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSide:
    """What the agents of all files of a mount share.

    `holder`: how the remote names this mount to others. `former_holder` finds the lock of another file with a
    lease on the node that this one has now.
    """

    remote: Remote
    publishing: Publishing
    memory: LeaseMemory
    holder: str
    duration_s: float
    clock: Callable[[], float]
    chance: Callable[[], float]
    former_holder: Callable[[FileLock], FileLock | None]
    release_news: ReleaseNews


class LeaseAgent:
    """Works for one `FileLock` as long as the file is in use."""

    def __init__(self, lock: FileLock, side: MountSide) -> None:
        self._lock = lock
        self._side = side
        self._is_behind = False
        """Others may have had the lease since what is here was the newest."""

    async def run(self) -> None:
        """Return when nobody uses the lock any more and the lease is given back; nothing suspends between
        that finding and the return. Cancelled, it leaves a lease to its expiry."""
        # It is begun by the request of one program, and works for all.
        ASKED_BY.set(None)
        while await self._wait_wanted():
            self._lock.apply(LeaseEvent.DEMANDED)
            await self._acquire()
            await self._keep_and_give_back()

    async def adopt(self, known: KnownLease) -> None:
        """Go on with a lease that an earlier run of this mount had: those who relied on it died with that, so
        what was written under it is published, and it is given back. Where the remote keeps it no more, that
        needs another lease, as somebody may be in the middle of what they do under theirs; where another
        mount has it, it is lost. `FileLocks.adopt` saw to it that nobody is admitted meanwhile.

        Cancelled, it leaves what was written to the next run."""
        lock = self._lock
        lock.lease.node = known.node
        await self._recall(known)
        await self._keep_and_give_back()
        self._side.memory.erase_lease(lock.ino)
        lock.end_turn()

    async def go_on(self) -> None:
        """Keep a lease that is in hand from the start, and give it back, as `run` does with others."""
        await self._keep_and_give_back()

    async def _recall(self, known: KnownLease) -> None:
        lock, side, attempt, is_over = self._lock, self._side, 0, False
        while self._state is LeaseState.ADOPTING:
            sent_at = side.clock()
            try:
                answer = await (
                    self._ask_for_lease() if is_over else side.remote.renew_lease(known.node, known.token)
                )
            except LATER as error:
                lock.refuse_hasty(error)
                await trio.sleep(ACQUIRING.delay_s(attempt, side.chance()))
                attempt += 1
            except LeaseHeld as error:
                lock.lapsed(f"it ended before this mount started again, and {error.message}")
            except MountfsError as error:
                logger.info("the lock on inode %d of an earlier run is gone: %s", lock.ino, error)
                if is_over or not side.publishing.has_unpublished(lock.ino):
                    lock.apply(LeaseEvent.ABANDONED)
                is_over = True
            else:
                done = "taking again" if is_over else "going on with"
                logger.info("%s the lock on inode %d of an earlier run", done, lock.ino)
                self._is_behind = is_over
                lock.acquired(answer, sent_at)

    async def _keep_and_give_back(self) -> None:
        if self._lock.lease.in_hand:
            async with trio.open_nursery() as nursery:
                side = self._side
                nursery.start_soon(
                    keep_renewed, self._lock, side.remote, side.clock, side.chance, self._take_again
                )
                await self._use()
                nursery.cancel_scope.cancel()
            if self._state is not LeaseState.RELEASING and self._lock.lease.is_granted:
                # Lost by our count: where the remote still keeps it, nobody need wait for its end.
                await self._try_release()
                self._side.memory.erase_lease(self._lock.ino)
        if self._state is LeaseState.RELEASING:
            await self._release()

    async def _take_again(self) -> None:
        """The lease ended with a change of the file: take it before others do. Where they were first, or
        wrote meanwhile, it is lost; one that is being given back anyway is not needed."""
        lock, reason = self._lock, "no answer in time"
        # A request that was sent may have taken it, and only its answer tells how to give that back.
        with trio.move_on_after(self._side.duration_s * TRY_MOST, shield=True):
            try:
                if await self._regain():
                    return
                reason = "others wrote meanwhile"
            except MountfsError as error:
                reason = error.message
        if self._state is LeaseState.PUBLISHING and not self._side.publishing.has_unpublished(lock.ino):
            return
        lock.lapsed(f"the remote ended it with a change of the file: {reason}")

    async def _regain(self) -> bool:
        lock, side, sent_at = self._lock, self._side, self._side.clock()
        answer = await self._ask_for_lease()
        try:
            overtaken = await side.publishing.is_overtaken(lock.ino)
        except MountfsError as error:
            logger.info("whether inode %d is the newest cannot be told: %s", lock.ino, error)
            overtaken = True
        if overtaken or not lock.lease.in_hand:
            await side.remote.release_lease(self._node, answer.token)
            return False
        logger.info("the lock on inode %d ended with a change of it, and is taken again", lock.ino)
        lock.renewed(answer, sent_at)
        return True

    @property
    def _state(self) -> LeaseState:
        return self._lock.lease.state

    async def _wait_wanted(self) -> bool:
        """Return true when a lease is needed, false when the file is unused."""
        await self._end_turn()
        while not self._lock.unused:
            if self._lock.wanted:
                return True
            with self._lock.until(lambda: self._lock.wanted or self._lock.unused):
                await trio.sleep_forever()
        return False

    async def _end_turn(self) -> None:
        """Let other hosts come to their turn. Where this mount's is not over, a new demand goes on with it:
        a program that locks and unlocks in a loop takes turns like several that pass the lock on."""
        lock = self._lock
        if lock.turn is None:
            return
        with lock.until(lambda: lock.closed or (lock.wanted and not lock.yielding)):
            await trio.sleep(PAUSE_S * (0.5 + self._side.chance() / 2))
        if lock.yielding or not lock.wanted:
            lock.end_turn()

    async def _acquire(self) -> None:
        """Try until the lease is in hand, the file turns out to be local, or nobody wants it.

        At news of a file that another mount has locked the file is looked at first: mostly they tell of what
        the holder publishes before it gives the lock back, which then comes here beside that. The news after
        such a version tell most probably of the release.
        """
        lock, attempt, gone, is_published = self._lock, 0, 0, False
        while self._state is LeaseState.ACQUIRING:
            if not lock.wanted:
                lock.apply(LeaseEvent.ABANDONED)
                break
            told, lock.woken = lock.woken, False
            if told and lock.refused and not is_published and not lock.in_a_hurry:
                glance = await self._look_ahead()
                if glance.locked:
                    is_published = glance.newer
                    attempt = await self._back_off(0, 0, self._side.release_news.backoff)
                    continue
            is_published = False
            try:
                await self._try_acquire()
                if lock.refused and lock.lease.in_hand:
                    self._side.release_news.tell = told
            except OperationNotSupported:
                lock.apply(LeaseEvent.STAYS_LOCAL)
            except LeaseHeld as error:
                lock.held_elsewhere(error.message)
                attempt = await self._back_off(attempt, 0, self._side.release_news.backoff)
            except NodeNotFound as error:
                # Deleted, which is not known here yet: then the lock is one of this mount only.
                gone += 1
                if gone > GONE_TRIES:
                    lock.refuse(error, patient_too=True)
                await self._learn()
                attempt = await self._back_off(attempt, 0)
            except LATER as error:
                lock.refuse(error, patient_too=False)
                attempt = await self._back_off(attempt, _asked_delay_s(error))
            except MountfsError as error:
                lock.refuse(error, patient_too=True)
        lock.refused = False

    async def _look_ahead(self) -> Glance:
        """Nobody is held up by it who does not want to wait; where it fails, trying tells more."""
        lock, glance = self._lock, Glance(locked=False, newer=False)
        with lock.until(lambda: lock.in_a_hurry or not lock.wanted), suppress(MountfsError):
            glance = await self._side.publishing.look_ahead(lock.ino)
        return glance

    async def _learn(self) -> None:
        """Let what the remote has of the file by now be known here, as far as it tells."""
        with self._lock.until(lambda: not self._lock.wanted), suppress(MountfsError):
            await self._side.publishing.refresh(self._lock.ino)

    async def _try_acquire(self) -> None:
        lock = self._lock
        with lock.until(lambda: not lock.wanted) as scope:
            lock.lease.node = await self._side.publishing.ensure_remote(lock.ino)
        if scope.cancelled_caught:
            return
        if self._take_over():
            return
        # Not given up when nobody wants it any more: a request that was sent may have taken the lease, and
        # only its answer tells how to give that back.
        sent_at = self._side.clock()
        with asked_by(lock.first_program):
            answer = await self._ask_for_lease()
        lock.acquired(answer, sent_at)

    async def _ask_for_lease(self) -> Lease:
        """Once. From the answer on a later run knows of it."""
        side = self._side
        answer = await side.remote.acquire_lease(self._node, duration_s=side.duration_s, holder=side.holder)
        side.memory.record_lease(KnownLease(self._lock.ino, self._node, answer.token))
        return answer

    def _take_over(self) -> bool:
        """Where another file here had the node when its lease was taken, that lease is this file's now."""
        lock = self._lock
        other = self._side.former_holder(lock)
        if other is None or not lock.take_over(other):
            return False
        self._side.memory.record_lease(KnownLease(lock.ino, self._node, lock.lease.token))
        self._side.memory.erase_lease(other.ino)
        return True

    async def _back_off(self, attempt: int, at_least_s: float, backoff: Backoff = ACQUIRING) -> int:
        """Wait before the next try, and return its number. News of the node start the count anew: the
        holder publishes shortly before it releases."""
        lock = self._lock
        delay = max(at_least_s, backoff.delay_s(attempt, self._side.chance()))
        with lock.until(lambda: lock.woken or lock.in_a_hurry or not lock.wanted):
            await trio.sleep(delay)
        return 0 if lock.woken else attempt + 1

    async def _use(self) -> None:
        """Return when the lease is lost, or nothing hinders its release."""
        while self._lock.lease.in_hand:
            if self._state is LeaseState.REFRESHING:
                await self._refresh()
            elif self._state is LeaseState.PUBLISHING:
                await self._publish()
            else:
                with self._lock.until(lambda: self._state is not LeaseState.HELD):
                    await trio.sleep_forever()

    async def _refresh(self) -> None:
        lock, attempt = self._lock, 0
        while self._state is LeaseState.REFRESHING:
            if not lock.wanted:
                lock.apply(LeaseEvent.ABANDONED)
                return
            try:
                with lock.until(lambda: not lock.wanted or not lock.lease.in_hand):
                    await self._side.publishing.refresh(lock.ino)
                    if self._state is LeaseState.REFRESHING:
                        # Else it ended in the very moment in which this did.
                        lock.apply(LeaseEvent.REFRESHED)
            except LATER as error:
                lock.refuse(error, patient_too=False)
                attempt = await self._back_off(attempt, _asked_delay_s(error))
            except MountfsError as error:
                lock.refuse(error, patient_too=True)

    async def _publish(self) -> None:
        lock, attempt = self._lock, 0
        while self._state is LeaseState.PUBLISHING:
            try:
                with lock.until(lambda: self._state is not LeaseState.PUBLISHING):
                    await self._catch_up()
                    await self._side.publishing.collect(lock.ino)
                    if self._side.publishing.has_unpublished(lock.ino):
                        await self._side.publishing.publish(lock.ino)
                    if self._state is LeaseState.PUBLISHING:
                        # Else it was taken into use, or ended, in the very moment in which this did.
                        lock.apply(LeaseEvent.PUBLISHED)
            except MountfsError as error:
                is_final = not isinstance(error, LATER)
                if self._is_behind and is_final:
                    lock.lapsed(f"what was written under it cannot be published: {error.message}")
                    return
                logger.info("inode %d stays locked, its content is not safe yet: %s", lock.ino, error)
                lock.publish_failed(error, for_ever=is_final, admits=not self._is_behind)
                with lock.until(lambda: self._state is not LeaseState.PUBLISHING):
                    await trio.sleep(PUBLISHING.delay_s(attempt, self._side.chance()))
                attempt += 1

    async def _catch_up(self) -> None:
        """What is here is sent on top of what others wrote meanwhile, or becomes a conflict copy; nobody is
        admitted before that."""
        if self._is_behind:
            await self._side.publishing.refresh(self._lock.ino)
            self._is_behind = False

    async def _release(self) -> None:
        """Tell the remote, or wait until the lease has ended by itself."""
        lock, attempt = self._lock, 0
        while not await self._try_release() and self._side.clock() < lock.lease.term.ends_at:
            lock.release_tried()
            lock.refuse(RemoteUnavailable("the lock cannot be given back at present"), patient_too=False)
            await trio.sleep(RELEASING.delay_s(attempt, self._side.chance()))
            attempt += 1
        lock.release_tried()
        self._side.memory.erase_lease(lock.ino)
        self._side.publishing.lease_released(lock.ino)
        lock.apply(LeaseEvent.RELEASED)

    async def _try_release(self) -> bool:
        """Say whether the lease is settled with the remote; one that refuses is left to the expiry."""
        try:
            with trio.move_on_after(self._side.duration_s * TRY_MOST), asked_by(self._lock.unlocked_by):
                await self._side.remote.release_lease(self._node, self._lock.lease.token)
                return True
        except RemoteUnavailable as error:
            logger.info("giving back the lock on inode %d failed: %s", self._lock.ino, error)
        except RemoteError as error:
            logger.info("the lock on inode %d is left to its expiry: %s", self._lock.ino, error)
            return True
        return False

    @property
    def _node(self) -> NodeId:
        assert self._lock.lease.node is not None, "a lease has a node"
        return self._lock.lease.node


def _asked_delay_s(error: MountfsError) -> float:
    return error.retry_after_s if isinstance(error, RateLimited) else 0.0
