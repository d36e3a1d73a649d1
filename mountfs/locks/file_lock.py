"""The lock of one file as this mount sees it: the local tables, the lease under it, and who waits for what.

Nothing here suspends. A call that takes a lock waits on its `Call`; the agent of the file (`lease_agent.py`)
does what needs the network and waits with `FileLock.until`; every change ends in `_advance`, which draws all
its consequences at once, so that no await lies between a check and the change that relies on it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import trio

from mountfs.model.effect import ASKED_BY
from mountfs.model.errors import LeaseLost, MountfsError, WouldBlock, WouldDeadlock
from mountfs.model.filesystem import WHOLE_FILE, ByteSpan, LockHolder, LockKind
from mountfs.model.ids import Ino, NodeId
from mountfs.model.remote import Lease
from mountfs.rules.lease import CEDABLE, FileLease, LeaseEvent, LeaseState, Turn
from mountfs.rules.local_locks import LocalLocks, LockRequest, holder_of, span_of
from mountfs.rules.record_table import RecordOwners, RecordRequest

logger = logging.getLogger(__name__)


class Call:
    """One call that wants a lock; `done` is set when it has it, or `error` says why not."""

    def __init__(self, request: LockRequest, *, wait: bool) -> None:
        self.request = request
        self.wait = wait
        self.done = trio.Event()
        self.error: MountfsError | None = None
        self.told = False
        """Whoever called knows that the lock is his: it can only be unlocked now."""
        self.when_granted: Callable[[], None] = lambda: None
        self.program = ASKED_BY.get()

    def grant(self) -> None:
        self.done.set()
        self.told = True
        self.when_granted()

    def fail(self, error: MountfsError) -> None:
        self.error = error
        self.done.set()


class GiveBack:
    """The way of a lease back to the remote after the unlock of its last local holder."""

    def __init__(self, holder: LockHolder | None) -> None:
        self.holder = holder
        self.done = trio.Event()
        self.error: MountfsError | None = None
        self.last_failure: MountfsError | None = None

    def finish(self, error: MountfsError | None = None) -> None:
        if not self.done.is_set():
            self.error = error
            self.done.set()


class FileLock:
    """Used by any number of calls and by one agent."""

    def __init__(
        self,
        ino: Ino,
        clock: Callable[[], float],
        owners: RecordOwners,
        *,
        when_lost: Callable[["FileLock", set[LockHolder]], None] = lambda lock, holders: None,
        when_refused: Callable[[], None] = lambda: None,
        when_granted: Callable[[], None] = lambda: None,
    ) -> None:
        """`when_lost` hears of a lost lease on which somebody relied, and who holds a lock under it;
        `when_refused` of each time that another mount has the lease, `when_granted` of each lease."""
        self.ino = ino
        self.table = LocalLocks(owners)
        self.lease = FileLease()
        self.betrayed: set[LockHolder] = set()
        """Hold a lock here whose lease was lost since they took it."""
        self.turn: Turn | None = None
        self.yielding = False
        """The turn of this mount is over: nobody is admitted until others had their chance."""
        self.woken = False
        """The node changed since this was last cleared."""
        self.refused = False
        """Somebody here waits for another mount to give the lease back."""
        self.renewing = False
        """The remote is being asked for more time; the answer may bring another token."""
        self.closed = False
        self._clock = clock
        self._owners = owners
        self._when_lost = when_lost
        self._when_refused = when_refused
        self._when_granted = when_granted
        self._queued: dict[LockRequest, Call] = {}
        self._hasty: list[Call] = []
        """New calls that do not want to wait, until the table had its say."""
        self._granted: dict[LockRequest, Call] = {}
        """Have the local lock, and wait for the lease and for what others wrote."""
        self._give_back: GiveBack | None = None
        self._last_holder: LockHolder | None = None
        self.unlocked_by: int | None = None
        """The program that gave up a lock last, None where it closed the file, or ended."""
        self._watch: tuple[Callable[[], bool], trio.CancelScope] | None = None
        self._doubt = trio.Event()

    # What holds now

    @property
    def holders(self) -> dict[LockHolder, LockKind]:
        """Those who were told that they have a lock, with the strongest that they have."""
        coming = {holder_of(request) for request in self._granted}
        return {holder: self.table.kind_of(holder) for holder in self.table.holders - coming}

    @property
    def waiting(self) -> int:
        """The number of calls that were not answered yet."""
        return len(self._queued) + len(self._granted)

    @property
    def wanted(self) -> bool:
        """Somebody waits for the lease to be acquired or filled."""
        return bool(self._granted)

    @property
    def first_program(self) -> int | None:
        """Who of those that want the lease came first, as far as that is known."""
        return next((call.program for call in self._granted.values()), None)

    @property
    def in_a_hurry(self) -> bool:
        """One of those who want the lease does not want to wait for it."""
        return any(not call.wait for call in self._granted.values())

    @property
    def unused(self) -> bool:
        """Nobody holds it or waits for it, and nothing is left to give back."""
        return not (self.table.is_held or self.table.waiting) and self.lease.state is LeaseState.NONE

    @property
    def has_granted(self) -> bool:
        """Somebody holds it, and was told so."""
        return self.table.is_held and self.lease.state in (LeaseState.HELD, LeaseState.LOCAL)

    @property
    def is_doubted(self) -> bool:
        """The lease may have ended with a change of the file: nobody is told of a lock meanwhile."""
        return self.lease.in_hand and self.lease.is_doubted

    def go_on(self, requests: Iterable[LockRequest], lease: tuple[NodeId, Lease, float] | None) -> None:
        """Begin with what another process granted: these requests, and the lease under them with the time of
        its grant, None for a file that needs none. To be called before anything else."""
        for request in requests:
            self.table.ask(request)
        self.table.admit()
        self.lease.apply(LeaseEvent.DEMANDED)
        if lease is None:
            self.lease.apply(LeaseEvent.STAYS_LOCAL)
            return
        self.lease.node, answer, sent_at = lease
        self.lease.grant(answer, sent_at)
        self.lease.apply(LeaseEvent.REFRESHED)
        self.turn = Turn(self._clock())

    # The callers' side

    def take(self, request: LockRequest, *, wait: bool) -> Call:
        """Begin to take or convert a lock."""
        call = Call(request, wait=wait)
        self._queued[call.request] = call
        if not wait:
            self._hasty.append(call)
        self.table.ask(call.request)
        self._advance()
        if (
            isinstance(request, RecordRequest)
            and request in self._queued
            and self._owners.would_deadlock(request)
        ):
            self.withdraw(call)
            call.fail(WouldDeadlock(f"inode {self.ino}: its holder waits for a lock of the caller"))
        return call

    def withdraw(self, call: Call) -> None:
        """Undo `take`, however far it came; a call that has failed left nothing to undo, and one that was
        told of its lock cannot be undone."""
        if call.error or call.told:
            return
        if self._queued.pop(call.request, None):
            self.table.withdraw(call.request)
        else:
            self._granted.pop(call.request, None)
            self._undo(call.request)
        self._advance()

    def unlock(self, holder: LockHolder, span: ByteSpan = WHOLE_FILE) -> GiveBack | None:
        """Give the holder's lock up, of record locks those bytes.

        Returns what its caller has to wait for: the lease was in use by nobody else. Repeating it, after a
        wait that was interrupted, returns the same.
        """
        self.unlocked_by = ASKED_BY.get()
        self._release(holder, span)
        self._advance()
        back = self._give_back
        return back if back and back.holder == holder else None

    def close(self, error: MountfsError) -> None:
        """The mount ends: no one holds or waits any more; the agent gives the lease back."""
        self.closed = True
        self.yielding = False
        for call in (*self._queued.values(), *self._granted.values()):
            self.table.withdraw(call.request)
            call.fail(error)
        self._queued.clear()
        self._granted.clear()
        for holder in self.table.holders:
            self.table.release(holder)
        self.betrayed.clear()
        self._advance()

    def check_lease(self) -> None:
        """Draw the consequences where the time has ended the lease, which nobody noticed yet."""
        if self.lease.in_hand and not self.lease.is_valid(self._clock()):
            self.lapsed("it was not renewed in time")

    def wake(self) -> None:
        """The node changed on the remote: a refused lease may be free now."""
        self.woken = True
        self._look()

    def doubt(self) -> None:
        """The remote shows the file unlocked, though the lease is in hand: the agent asks."""
        self.lease.doubt(self._clock())
        self._doubt.set()

    # The agent's side

    async def wait_doubted(self) -> None:
        if not self.is_doubted:
            self._doubt = trio.Event()
        await self._doubt.wait()

    @contextmanager
    def until(self, condition: Callable[[], bool]) -> Iterator[trio.CancelScope]:
        """Cancel the block as soon as the condition holds. One block at a time."""
        assert self._watch is None, "a file has one agent, which waits for one thing"
        with trio.CancelScope() as scope:
            self._watch = condition, scope
            self._look()
            try:
                yield scope
            finally:
                self._watch = None

    def apply(self, event: LeaseEvent) -> None:
        self.lease.apply(event)
        self._advance()

    def acquired(self, answer: Lease, sent_at: float) -> None:
        self.lease.grant(answer, sent_at)
        self._when_granted()
        self.turn = self.turn or Turn(self._clock())
        self._advance()

    def take_over(self, other: "FileLock") -> bool:
        """A rename gave the node of the other file to this one: so comes its lease, with the turn that it is
        held in. What is locked of the other is known on this mount only from now on. Return whether the
        other had a lease that can be handed over just now."""
        if other.renewing or other.is_doubted:
            return False
        if other.lease.state not in CEDABLE or not other.lease.is_valid(self._clock()):
            return False
        self.turn, other.turn = other.turn, None
        token, term = other.lease.cede()
        self.acquired(Lease(token, term.duration_s), term.start)
        other.end_turn()
        return True

    def renewed(self, answer: Lease, sent_at: float) -> None:
        """Harmless when the lease is not in hand any more."""
        if self.lease.in_hand:
            self.lease.grant(answer, sent_at)
            self._advance()

    def lapsed(self, reason: str) -> None:
        """The lease can no longer be relied on. Harmless when it is neither in hand nor to be adopted."""
        if not (self.lease.in_hand or self.lease.state is LeaseState.ADOPTING):
            return
        holders = set(self.holders)
        relied_on = self.lease.lapse()
        self._end_yielding()
        if relied_on:
            logger.warning("lost the lock on inode %d: %s", self.ino, reason)
            self._betray(holders)
        self._finish_give_back(LeaseLost(f"the lock was lost before its content was safe: {reason}"))
        self._advance()

    def held_elsewhere(self, who: str) -> None:
        """Another mount has the lease: those who do not want to wait fail."""
        self.refused = True
        self._when_refused()
        self.refuse(WouldBlock(f"inode {self.ino}: {who}"), patient_too=False)

    def refuse(self, error: MountfsError, *, patient_too: bool) -> None:
        """Let those who wait for the lease fail: all, or only those who do not want to wait."""
        for call in [call for call in self._granted.values() if patient_too or not call.wait]:
            del self._granted[call.request]
            self._undo(call.request)
            call.fail(error)
        self._advance()

    def refuse_hasty(self, error: MountfsError) -> None:
        """Nobody is admitted for now: those who do not want to wait fail."""
        self._fail_hasty(error)
        self._advance()

    def publish_failed(self, error: MountfsError, *, for_ever: bool, admits: bool = True) -> None:
        """The lease cannot be given back for now: others gain nothing by our waiting, where what is here may
        be used (`admits`)."""
        if self._give_back:
            self._give_back.last_failure = error
            if for_ever:
                self._give_back.finish(error)
        if admits:
            self.yielding = False
            self.turn = Turn(self._clock())
        self._advance()

    def release_tried(self) -> None:
        """The last holder need not wait for more: its content is safe, and the lease ends by itself."""
        self._finish_give_back(None)

    def end_turn(self) -> None:
        """Others had their chance, or nobody here waits."""
        self._end_yielding()
        self._advance()

    # Inside

    def _advance(self) -> None:
        self.check_lease()
        if self.lease.state is LeaseState.HELD and not self.table.is_held:
            assert self.turn is not None, "a lease in hand began a turn"
            self.yielding = self.turn.is_over(self._clock())
        self._admit()
        if not self.table.is_held:
            self._fall_idle()
        elif self.lease.state is LeaseState.PUBLISHING and not self.is_doubted:
            self.lease.apply(LeaseEvent.REUSED)
            self._finish_give_back(None)
        if self.lease.state in (LeaseState.HELD, LeaseState.LOCAL) and not self.is_doubted:
            self._settle()
        self._look()

    def _admit(self) -> None:
        """Grant the local lock to whose turn it is; refuse those who would wait unwillingly."""
        if self.yielding or self.is_doubted:
            # Where a doubted lease turns out to be lost, those are told who relied on it: who unlocked last,
            # not an heir, and who holds, for what was held before, whatever was asked for meanwhile.
            return
        handing_over = self.turn is not None and not self.table.is_held
        for request in self.table.admit():
            self._granted[request] = self._queued.pop(request)
        if handing_over and self.table.is_held:
            assert self.turn is not None
            self.turn.hand_over()
        if self._fail_hasty(WouldBlock(f"inode {self.ino} is locked by another process")):
            self._admit()

    def _fail_hasty(self, error: MountfsError) -> bool:
        """Say whether there was one to fail."""
        refused = [call for call in self._hasty if call.request in self._queued]
        self._hasty.clear()
        for call in refused:
            del self._queued[call.request]
            self.table.withdraw(call.request)
            call.fail(error)
        return bool(refused)

    def _fall_idle(self) -> None:
        if self.lease.state is LeaseState.HELD:
            self.lease.apply(LeaseEvent.UNUSED)
            self._give_back = GiveBack(self._last_holder)
        elif self.lease.state in (LeaseState.LOCAL, LeaseState.LOST):
            self.lease.apply(LeaseEvent.UNUSED)

    def _settle(self) -> None:
        calls = list(self._granted.values())
        self._granted.clear()
        for call in calls:
            call.grant()

    def _undo(self, request: LockRequest) -> None:
        self._release(holder_of(request), span_of(request))

    def _release(self, holder: LockHolder, span: ByteSpan) -> None:
        """Release what the holder has, unless another call of its owner was granted it meanwhile. What was
        lost was lost as a whole."""
        lost = WHOLE_FILE if holder in self.betrayed else span
        if self.table.release(holder, lost, needed_by=self._granted):
            self._last_holder = holder
        if holder not in self.table.holders:
            self.betrayed.discard(holder)

    def _betray(self, holders: set[LockHolder]) -> None:
        self.betrayed |= holders
        for call in [call for call in self._queued.values() if holder_of(call.request) in holders]:
            del self._queued[call.request]
            self.table.withdraw(call.request)
            call.fail(LeaseLost(f"inode {self.ino}: the lock that was to be converted is lost"))
        self._when_lost(self, holders)

    def _finish_give_back(self, error: MountfsError | None) -> None:
        if self._give_back:
            self._give_back.finish(error)
            self._give_back = None

    def _end_yielding(self) -> None:
        self.turn = None
        self.yielding = False

    def _look(self) -> None:
        if self._watch and self._watch[0]():
            self._watch[1].cancel()
