"""The locks of one mount: `flock` and record locks that hold across hosts."""

import logging
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import trio

from mountfs.locks import succession
from mountfs.locks.file_lock import Call, FileLock, GiveBack
from mountfs.locks.lease_agent import LeaseAgent, MountSide, ReleaseNews
from mountfs.locks.statistics import FileLockStatistics, LockStatistics, described
from mountfs.model.errors import LeaseLost, MountEnding, RemoteUnavailable
from mountfs.model.filesystem import (
    WHOLE_FILE,
    ByteSpan,
    Handle,
    LockFamily,
    LockHolder,
    LockKind,
    LockOwner,
    LockWait,
    RecordLock,
)
from mountfs.model.ids import Ino, NodeId
from mountfs.model.publishing import LeaseMemory, Publishing
from mountfs.model.remote import KnownLease, Remote
from mountfs.model.succession import GrantedLocks
from mountfs.rules.fence import Fence
from mountfs.rules.flock_table import FlockRequest
from mountfs.rules.lease import LeaseEvent, LeaseState
from mountfs.rules.local_locks import LockRequest, holder_of
from mountfs.rules.record_table import RecordOwners, RecordRequest

logger = logging.getLogger(__name__)

FRESH: Final = frozenset({LeaseState.HELD, LeaseState.PUBLISHING})
"""The states of a lease in which what others wrote before it is here."""

CHANCE: Final = random.SystemRandom().random
"""Hosts cloned from one image would draw the same numbers from a generator of their own."""


class FileLocks:
    """Answers `flock` and record locks for one mount, named `holder` to the others.

    Locks work while `run` runs. `fence` is told of every lease and of every loss. `clock` must not stand
    still while the remote's goes on: pass one that counts suspended time where the host may sleep.
    `when_refused` is called whenever somebody here begins, or goes on, to wait for another mount.
    """

    def __init__(
        self,
        remote: Remote,
        publishing: Publishing,
        fence: Fence,
        memory: LeaseMemory,
        *,
        holder: str,
        duration_s: float = 60.0,
        publish_patience_s: float = 60.0,
        close_patience_s: float = 5.0,
        clock: Callable[[], float] = trio.current_time,
        when_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._side = MountSide(
            remote=remote,
            publishing=publishing,
            memory=memory,
            holder=holder,
            duration_s=duration_s,
            clock=clock,
            chance=CHANCE,
            former_holder=self._former_holder,
            release_news=ReleaseNews(),
        )
        self._publishing = publishing
        self._fence = fence
        self._publish_patience_s = publish_patience_s
        self._close_patience_s = close_patience_s
        self._clock = clock
        self._when_refused = when_refused
        self._locks: dict[Ino, FileLock] = {}
        self._record_owners = RecordOwners()
        self._locked_through: dict[Ino, dict[Handle, set[LockOwner]]] = {}
        """Through which open file descriptions record locks were asked for, by which owners, since the owner
        last closed a descriptor of the file."""
        self._flocked_through: dict[tuple[Ino, LockOwner], Handle] = {}
        self._held_since: dict[Ino, dict[LockHolder, float]] = {}
        self._waiting_since: dict[Call, tuple[Ino, float]] = {}
        self.grants = 0
        """How many leases this mount got since its start."""
        self._lost_before = 0
        """Losses of locks that are not in use any more."""
        self._remembered: dict[Ino, KnownLease] = {}
        """Leases of an earlier run that are still to be settled."""
        self._taken_over: set[Ino] = set()
        """Locks that another process granted, for which no agent works yet."""
        self._handed_over: set[Ino] = set()
        """Locks with which another process goes on."""
        self._tending: dict[Ino, trio.CancelScope] = {}
        self._agents: trio.Nursery | None = None
        self._closing = trio.Event()
        self._idle = trio.Event()
        self._closed = trio.Event()

    def adopt(self, known: Iterable[KnownLease]) -> None:
        """Settle what an earlier run of this mount left, in the background; to be called before `run`. Until
        then nothing of these files is committed."""
        for lease in known:
            if lease.ino in self._taken_over:
                continue
            lock = self._new_lock(lease.ino)
            lock.yielding = True
            lock.apply(LeaseEvent.REMEMBERED)
            self._remembered[lease.ino] = lease

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the agents of all files; returns after `aclose`, or ends when cancelled.

        Either way nobody holds or waits for a lock any more (waiting calls raise MountEnding), and the
        leases are given back within `close_patience_s`: published first, as with every unlock. Those for
        which the time does not suffice are left to their expiry, never released as if published.
        """
        shield = trio.CancelScope(shield=True)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._run_agents, shield)
                task_status.started()
                try:
                    await self._closing.wait()
                finally:
                    self._close_locks()
                    shield.deadline = trio.current_time() + self._close_patience_s
        finally:
            for ino in self._locks:
                logger.warning("the lock on inode %d could not be given back in time", ino)
            self._closed.set()

    @property
    def may_hand_over(self) -> bool:
        """Whether no lock was lost of which its owner is still to learn, and none may be lost just now."""
        return not any(lock.betrayed or lock.is_doubted for lock in self._locks.values())

    def hand_over(self) -> GrantedLocks:
        """Return what was granted, for a process that goes on with it; `run` then gives nothing of it back.
        Who waits for a lock is left out, and so is what `may_hand_over` tells of."""
        granted = [lock for lock in self._locks.values() if lock.has_granted]
        self._handed_over = {lock.ino for lock in granted}
        return GrantedLocks(
            tuple(
                succession.held(lock, self._held_since.get(lock.ino, {}), self._clock()) for lock in granted
            ),
            tuple(
                (ino, handle, owner)
                for ino, handles in self._locked_through.items()
                for handle, owners in handles.items()
                for owner in owners
            ),
            tuple((ino, handle, owner) for (ino, owner), handle in self._flocked_through.items()),
        )

    def take_over(self, state: GrantedLocks) -> None:
        """Go on with what another process of this mount granted; to be called before `adopt` and `run`."""
        for held in state.files:
            succession.restore(self._new_lock(held.ino), held)
            self._held_since[held.ino] = succession.since(held)
            self._taken_over.add(held.ino)
        for ino, handle, owner in state.recorded_through:
            self._locked_through.setdefault(ino, {}).setdefault(handle, set()).add(owner)
        for ino, handle, owner in state.flocked_through:
            self._flocked_through[ino, owner] = handle

    async def aclose(self) -> None:
        """End `run`, and wait for its end. Cancelling leaves it ending."""
        self._closing.set()
        await self._closed.wait()

    def flock(
        self,
        ino: Ino,
        handle: Handle,
        owner: LockOwner,
        kind: LockKind | None,
        *,
        wait: bool,
        granted: Callable[[], None] = lambda: None,
    ) -> LockWait | None:
        """Take, convert, or (`kind` None) give up the lock of `owner`, as `Filesystem.flock` promises.

        When it is taken, what every earlier holder anywhere wrote is visible here. When it is given up, what
        was written here is confirmed by the workspace, unless the lock went on to another local holder. A
        conversion may lose the old lock: also one that fails or is cancelled.

        Raises, or the wait does: WouldBlock; LeaseLost as the port says; RemoteUnavailable where `wait` is
        false and the remote does not answer, and from an unlock whose content could not be confirmed in
        time, or ever (then the error that says why): the owner is without the lock then, and the mount keeps
        the lease while it goes on trying. MountEnding when the mount ends. Cancelling an unlock gives up
        only the wait for its confirmation.
        """
        if kind is None:
            return self._unlock(ino, LockHolder(LockFamily.FLOCK, owner))
        self._flocked_through[ino, owner] = handle
        return self._take(ino, FlockRequest(owner, kind), granted, wait=wait)

    def drop_flock(self, ino: Ino, owner: LockOwner) -> None:
        """Give the lock of `owner` up, in the background; later calls for the inode find it given up."""
        self._flocked_through.pop((ino, owner), None)
        self._drop(ino, LockHolder(LockFamily.FLOCK, owner))

    def lock_record(
        self,
        ino: Ino,
        handle: Handle,
        owner: LockOwner,
        lock: RecordLock,
        *,
        wait: bool,
        granted: Callable[[], None] = lambda: None,
    ) -> LockWait | None:
        """Take a record lock, as `Filesystem.lock_record` promises; what is fresh then, and what is raised
        beside that, is as with `flock`."""
        self._locked_through.setdefault(ino, {}).setdefault(handle, set()).add(owner)
        return self._take(ino, RecordRequest(owner, lock), granted, wait=wait)

    def unlock_record(self, ino: Ino, owner: LockOwner, span: ByteSpan) -> LockWait | None:
        """Give record locks up; where these were the last locks of the file here, it is published when the
        wait is over, with the errors of an unlocking `flock`."""
        return self._unlock(ino, LockHolder(LockFamily.RECORD, owner), span)

    def conflicting_record(self, ino: Ino, owner: LockOwner, lock: RecordLock) -> RecordLock | None:
        """Return the lock of this mount that stands against `lock`. Other hosts are not asked."""
        found = self._locks.get(ino)
        return found.table.records.conflicting(RecordRequest(owner, lock)) if found else None

    def drop_records(self, ino: Ino, owner: LockOwner) -> None:
        """The owner closed a descriptor: give its record locks up, in the background."""
        handles = self._locked_through.get(ino)
        if handles is None:
            return
        for handle in [handle for handle, owners in handles.items() if owner in owners]:
            handles[handle].remove(owner)
            self._forget_unused(ino, handle)
        self._drop(ino, LockHolder(LockFamily.RECORD, owner))

    def drop_records_of_handle(self, ino: Ino, handle: Handle) -> None:
        """The open file description is gone: the locks of those who never told of a close go now. Those are
        open file description locks, of whose end the kernel tells in no other way, and those of descriptors
        of which no close is told (`OpenedFile.no_flush`)."""
        owners = self._locked_through.get(ino, {}).get(handle, set())
        for owner in list(owners):
            self.drop_records(ino, owner)

    def check(self, ino: Ino, handle: Handle) -> None:
        """Raise LeaseLost where a lock was lost that was taken through this open file description."""
        lock = self._locks.get(ino)
        if lock is not None:
            lock.check_lease()
        if self._fence.fails(handle):
            raise LeaseLost("the lock that was taken through this descriptor is lost")

    def closed(self, ino: Ino, handle: Handle) -> None:
        """The open file description is gone, after all that it brings was told."""
        if self._fence.closed(handle):
            self._note_told(ino)

    def _note_granted(self) -> None:
        self.grants += 1

    def _note_lost(self, lock: FileLock, holders: set[LockHolder]) -> None:
        for holder in holders:
            self._fence.fail(lock.ino, holder, self._locked_handles(lock.ino, holder))
        self._note_told(lock.ino)

    def _note_told(self, ino: Ino) -> None:
        self._publishing.lease_lost(ino, told=not self._fence.has_failing(ino))

    def _locked_handles(self, ino: Ino, holder: LockHolder) -> list[Handle]:
        if holder.family is LockFamily.FLOCK:
            handle = self._flocked_through.get((ino, holder.owner))
            return [] if handle is None else [handle]
        handles = self._locked_through.get(ino, {})
        return [handle for handle, owners in handles.items() if holder.owner in owners]

    def has_records(self, ino: Ino) -> bool:
        """Say whether a close of any descriptor of the file may have record locks to give up."""
        return ino in self._locked_through

    def is_held(self, ino: Ino) -> bool:
        """Say whether a program here holds a lock of the file."""
        lock = self._locks.get(ino)
        return lock is not None and bool(lock.table.holders)

    def _forget_unused(self, ino: Ino, handle: Handle) -> None:
        handles = self._locked_through[ino]
        if not handles[handle]:
            del handles[handle]
        if not handles:
            del self._locked_through[ino]

    def _drop(self, ino: Ino, holder: LockHolder) -> None:
        lock = self._locks.get(ino)
        if lock:
            lock.unlock(holder)
            self._note_given_up(lock, holder)

    def _note_given_up(self, lock: FileLock, holder: LockHolder) -> None:
        if holder not in lock.table.holders:
            self._held_since.get(lock.ino, {}).pop(holder, None)

    def uses(self, node: NodeId) -> bool:
        """Say whether programs here lock this file, wait for its lock, or have just given it up."""
        return any(lock.lease.node == node for lock in self._locks.values())

    def keeps(self, node: NodeId) -> bool:
        """Like `is_fresh`, for a node."""
        return any(lock.lease.node == node and self._is_kept(lock) for lock in self._locks.values())

    @property
    def awaiting_others(self) -> bool:
        """Say whether somebody here waits for a lease that another mount has."""
        return any(lock.refused for lock in self._locks.values())

    def wake(self, node: NodeId) -> None:
        """The node changed on the remote: whoever waits for its lease tries at once."""
        for lock in self._locks.values():
            if lock.lease.node == node:
                lock.wake()

    @property
    def holding(self) -> bool:
        """Say whether this mount has a lease in hand: then caches must not be trusted beyond the feed."""
        return any(lock.lease.in_hand for lock in self._locks.values())

    def is_fresh(self, ino: Ino) -> bool:
        """Say whether a lease of this mount keeps the file as it is known here."""
        lock = self._locks.get(ino)
        return lock is not None and self._is_kept(lock)

    def _is_kept(self, lock: FileLock) -> bool:
        return lock.lease.state in FRESH and lock.lease.is_valid(self._clock())

    def statistics(self) -> LockStatistics:
        now = self._clock()
        return LockStatistics(
            files=tuple(self._described(lock, now) for lock in self._locks.values()),
            leases_held=sum(lock.lease.in_hand for lock in self._locks.values()),
            leases_lost=self._lost_before + sum(lock.lease.lost for lock in self._locks.values()),
        )

    def _take(
        self, ino: Ino, request: LockRequest, granted: Callable[[], None], *, wait: bool
    ) -> LockWait | None:
        lock = self._lock_in_use(ino)
        lock.check_lease()
        if self._fence.is_owed(ino, holder_of(request)):
            raise LeaseLost("the lock is lost: unlock it first")
        call = lock.take(request, wait=wait)
        if call.done.is_set():
            self._note_answered(lock, call)
            return None
        call.when_granted = granted
        self._waiting_since[call] = ino, self._clock()
        return partial(self._wait_taken, lock, call)

    async def _wait_taken(self, lock: FileLock, call: Call) -> None:
        try:
            await self._wait_for(call)
        except BaseException:
            lock.withdraw(call)
            raise
        finally:
            del self._waiting_since[call]
        self._note_answered(lock, call)

    def _note_answered(self, lock: FileLock, call: Call) -> None:
        if call.error:
            raise call.error
        if self._locks.get(lock.ino) is lock:
            holder = holder_of(call.request)
            self._held_since.setdefault(lock.ino, {}).setdefault(holder, self._clock())

    async def _wait_for(self, call: Call) -> None:
        """A call that does not want to wait for a lock still has to wait for the remote: with a bound."""
        if call.wait:
            await call.done.wait()
            return
        with trio.move_on_after(self._publish_patience_s):
            await call.done.wait()
            return
        raise RemoteUnavailable(f"the workspace did not grant the lock within {self._publish_patience_s:g} s")

    def _unlock(self, ino: Ino, holder: LockHolder, span: ByteSpan = WHOLE_FILE) -> LockWait | None:
        back, lock = None, self._locks.get(ino)
        if lock is not None:
            lock.check_lease()
            back = lock.unlock(holder, span)
            self._note_given_up(lock, holder)
        if self._fence.lift(ino, holder):
            self._note_told(ino)
            raise LeaseLost("the lock was lost: what was not published is kept as a conflict copy")
        return partial(self._wait_given_back, back) if back else None

    async def _wait_given_back(self, back: GiveBack) -> None:
        with trio.move_on_after(self._publish_patience_s):
            await back.done.wait()
        if not back.done.is_set():
            raise back.last_failure or RemoteUnavailable(
                f"not confirmed by the workspace within {self._publish_patience_s:g} s"
            )
        if back.error:
            raise back.error

    def _lock_in_use(self, ino: Ino) -> FileLock:
        """Return the lock of the inode, with an agent at work for it."""
        if self._closing.is_set():
            raise MountEnding("the mount is ending")
        assert self._agents is not None, "FileLocks.run must be running"
        lock = self._locks.get(ino)
        if lock is None:
            lock = self._new_lock(ino)
            self._agents.start_soon(self._tend, lock)
        return lock

    def _new_lock(self, ino: Ino) -> FileLock:
        lock = FileLock(
            ino,
            self._clock,
            self._record_owners,
            when_lost=self._note_lost,
            when_refused=self._when_refused,
            when_granted=self._note_granted,
        )
        self._locks[ino] = lock
        self._fence.watch(ino, lock.lease, lock.doubt)
        return lock

    async def _tend(self, lock: FileLock) -> None:
        agent = LeaseAgent(lock, self._side)
        with trio.CancelScope() as self._tending[lock.ino]:
            await self._work(agent, lock)
        del self._tending[lock.ino]
        del self._locks[lock.ino]
        self._held_since.pop(lock.ino, None)
        if lock.ino not in self._handed_over:
            self._fence.forget(lock.ino)
        self._lost_before += lock.lease.lost
        self._note_idle()

    async def _work(self, agent: LeaseAgent, lock: FileLock) -> None:
        known = self._remembered.pop(lock.ino, None)
        if known is not None:
            await agent.adopt(known)
        if lock.ino in self._taken_over:
            self._taken_over.discard(lock.ino)
            await agent.go_on()
        await agent.run()

    def _former_holder(self, lock: FileLock) -> FileLock | None:
        others = (other for other in self._locks.values() if other is not lock)
        return next((other for other in others if other.lease.node == lock.lease.node), None)

    async def _run_agents(self, shield: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        with shield:
            async with trio.open_nursery() as self._agents:
                for lock in self._locks.values():
                    self._agents.start_soon(self._tend, lock)
                task_status.started()
                await self._idle.wait()

    def _close_locks(self) -> None:
        self._closing.set()
        for lock in self._locks.values():
            if lock.ino in self._handed_over:
                self._tending[lock.ino].cancel()
            else:
                lock.close(MountEnding("the mount is ending"))
        self._note_idle()

    def _note_idle(self) -> None:
        if self._closing.is_set() and not self._locks:
            self._idle.set()

    def _described(self, lock: FileLock, now: float) -> FileLockStatistics:
        since = self._held_since.get(lock.ino, {})
        waiting = [(call, since) for call, (ino, since) in self._waiting_since.items() if ino == lock.ino]
        return described(lock, since, waiting, now)
