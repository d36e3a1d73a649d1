"""Bringing the remote to what is here: one step at a time for each entry, several entries at once."""

import logging
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from mountfs.model.errors import (
    AccessDenied,
    CredentialRefused,
    LeaseHeld,
    MountfsError,
    OutcomeUnknown,
    ProtocolViolation,
    QuotaExceeded,
    RateLimited,
    RemoteUnavailable,
    StorageError,
    UploadFailed,
    UploadVanished,
)
from mountfs.model.ids import Ino, NodeId
from mountfs.model.tracing import span
from mountfs.rules.backoff import Backoff
from mountfs.rules.happenings import Kind
from mountfs.sync.batches import BATCH_BYTES, BATCH_FILES, Batch, folder_of_new_file
from mountfs.sync.cached_range import ContentChanged
from mountfs.sync.connection import Connection
from mountfs.sync.content import FileContent
from mountfs.sync.due_queue import DueQueue
from mountfs.sync.gathered_files import GatheredFiles
from mountfs.sync.quota_hold import QuotaHold
from mountfs.sync.step_executor import StepExecutor
from mountfs.sync.step_outcome import Outcome, WaitFor
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

SMALL_WORKERS: Final = 8
LARGE_WORKERS: Final = 2
LARGE_BYTES: Final = 4 * 1024 * 1024
"""Files above this have workers of their own, so that they never hold up small ones."""

LONGEST_DELAY: Final = 10
"""A file that keeps changing is sent after at most so many upload delays."""

QUIET_S: Final = 0.01
GIVE_WAY_S: Final = 0.5
GIVE_WAY_NEW_S: Final = 2.0
"""While programs keep the mount busy, each entry waits until they pause for `QUIET_S`, but not longer than
`GIVE_WAY_S`, or until it is pending for `GIVE_WAY_NEW_S`: both share the time of one thread, and most of what
keeps it busy has an end soon."""

CANCEL_EVERY_S: Final = 30.0
"""How soon an upload session is given back whose content is not to be sent any more."""

UPLOAD_TRIES: Final = 4
"""How often an upload that the remote itself gave up is begun anew before it counts as failed."""

FAILED_HINT: Final = "when the cause is gone: mountfs retry; to give the change up: mountfs discard"

RETRY: Final = Backoff(first_s=0.5, most_s=30.0)
SLOW_RETRY_S: Final = 60.0
"""When to try again what only somebody else's action can heal: rights, credits, a new token, disk space, a
lock that refuses changes."""

HEALABLE: Final = (
    *(AccessDenied, CredentialRefused, LeaseHeld, ProtocolViolation, QuotaExceeded, StorageError),
)


class Sender:
    """Owns the workers that send what is pending in the tree.

    An entry that fails for good keeps its reason (`Inode.failure`), is tried again slowly where somebody may
    heal the cause, and holds up only what depends on it.
    """

    def __init__(
        self,
        tree: Tree,
        executor: StepExecutor,
        content: FileContent,
        connection: Connection,
        *,
        delay_s: float,
    ) -> None:
        self._tree = tree
        self._executor = executor
        self._content = content
        self._connection = connection
        self.delay_s = delay_s
        """How long an entry waits for another change before it is sent; counts from the next change on."""
        self._small = DueQueue()
        self._large = DueQueue()
        self._gathered = GatheredFiles(self._small)
        self._pending_since: dict[Ino, float] = {}
        self._attempts: dict[Ino, int] = {}
        self._parked: dict[Ino, set[Inode]] = {}
        self._doubtful: set[Ino] = set()
        self._due_again: set[Ino] = set()
        self._asked_for: set[Ino] = set()
        """Somebody began to wait for them while they were being sent."""
        self._locked_out: dict[Ino, Inode] = {}
        """Failed because somebody else holds a lock that refuses changes."""
        self._quota = QuotaHold(SLOW_RETRY_S)
        self._progress = trio.lowlevel.ParkingLot()
        self._hurries = 0
        self._giving_way = trio.Lock()
        self.programs_idle_s: Callable[[], float] = lambda: math.inf
        """How long no program has asked for anything; set once the mount is there."""
        self.hints: dict[Ino, str] = {}
        """What to do about the entries that failed."""
        tree.when_pending = self._schedule
        tree.when_clean = self._progress.unpark_all

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled; begins with what an earlier run left, whose last answers may be lost."""
        for inode in list(self._tree.pending.values()):
            self._doubtful.add(inode.ino)
            self._schedule(inode)
        async with trio.open_nursery() as nursery:
            for _ in range(SMALL_WORKERS):
                nursery.start_soon(self._work, self._small)
            for _ in range(LARGE_WORKERS):
                nursery.start_soon(self._work, self._large)
            nursery.start_soon(self._cancel_uploads)
            task_status.started()

    # When.

    def _queue(self, inode: Inode) -> DueQueue:
        is_large = inode.is_file and inode.content_dirty and inode.size > LARGE_BYTES
        return self._large if is_large else self._small

    def _schedule(self, inode: Inode) -> None:
        now = trio.current_time()
        first = self._pending_since.setdefault(inode.ino, now)
        self._queue(inode).put(inode, min(now + self.delay_s, first + LONGEST_DELAY * self.delay_s))

    def expedite(self, inodes: Iterable[Inode]) -> None:
        """Send these now, without waiting for the delay or for a retry's time."""
        now = trio.current_time()
        for inode in inodes:
            if inode.sending:
                self._asked_for.add(inode.ino)
            elif inode.ino in self._tree.pending:
                self._queue(inode).put(inode, now)

    def retry(self, inodes: Iterable[Inode]) -> None:
        """Somebody says that the cause of these failures is gone: try at once, as for the first time."""
        self._quota.lift()
        self._executor.ask_again()
        for inode in inodes:
            self._attempts.pop(inode.ino, None)
            self.hints.pop(inode.ino, None)
            self._tree.mark_pending(inode)
            self._tree.save(inode)
            self.expedite([inode])

    def noticed(self, node: NodeId) -> None:
        """The node changed on the remote: a lock that kept a change out may be free, or ours, by now."""
        for inode in [inode for inode in self._locked_out.values() if inode.node == node]:
            self.retry_failed(inode)

    def retry_failed(self, inode: Inode) -> None:
        """Try this one at once, where it failed: it counts as under way until then."""
        self._locked_out.pop(inode.ino, None)
        if inode.failure is not None:
            inode.failure = None
            self.expedite([inode])

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Within, programs that keep the mount busy do not go first: one of them waits for the workspace."""
        self._hurries += 1
        try:
            yield
        finally:
            self._hurries -= 1

    async def wait_progress(self) -> None:
        """Wait until the state of any entry changed."""
        await self._progress.park()

    # Working.

    async def _work(self, queue: DueQueue) -> None:
        while True:
            # What was sent is not referred to while there is nothing to send.
            await self._send_next(queue)

    async def _send_next(self, queue: DueQueue) -> None:
        await self._connection.wait_worth_trying()
        inode = await queue.take()
        await self._let_programs_go_first(inode)
        if inode.ino not in self._tree.pending:
            return
        if inode.sending:
            self._due_again.add(inode.ino)
            return
        folder, others, is_full = self._due_with(inode, queue)
        if folder is None:
            await self._send(inode)
            return
        with self._gathered.calling(folder, [inode, *others], is_full=is_full) as may_go:
            if may_go and others:
                await self._send_together(folder, [inode, *others])
            elif may_go:
                await self._send(inode)

    async def _cancel_uploads(self) -> None:
        """Give sessions back that nobody needs any more, now and then while there are any."""
        while True:
            while not self._executor.has_open_uploads:
                await self.wait_progress()
            await self._connection.wait_worth_trying()
            try:
                await self._executor.cancel_unneeded_uploads()
            except MountfsError as error:
                log.info("sessions that nobody needs: %s", error.message)
            await trio.sleep(CANCEL_EVERY_S)

    async def _let_programs_go_first(self, inode: Inode) -> None:
        if not self._is_to_give_way():
            return
        now = trio.current_time()
        last = max(now + GIVE_WAY_S, self._pending_since.get(inode.ino, now) + GIVE_WAY_NEW_S)
        with trio.move_on_at(last):
            # Of all workers that wait only one looks whether programs pause.
            async with self._giving_way:
                while self._is_to_give_way():  # noqa: ASYNC110 - a pause has no end event
                    await trio.sleep(QUIET_S)

    def _is_to_give_way(self) -> bool:
        return not self._hurries and self.programs_idle_s() < QUIET_S

    async def _send(self, inode: Inode) -> None:
        inode.sending = True
        try:
            await self._advance(inode)
        finally:
            inode.sending = False
            self._asked_for.discard(inode.ino)
            if inode.ino in self._due_again:
                self._due_again.remove(inode.ino)
                self.expedite([inode])
            self.expedite(self._parked.pop(inode.ino, ()))
            if inode.ino in self._tree.kept and inode.base is not None:
                # The remote got it all the same, by what was under way when it was moved here.
                self._tree.mark_pending(inode)
                self._tree.save(inode)
            self._content.dropped(inode)
            self._progress.unpark_all()

    def _due_with(self, inode: Inode, queue: DueQueue) -> tuple[NodeId | None, list[Inode], bool]:
        """Take what is due as well and may go in one call with this new file; return its folder, those, and
        whether one call takes no more."""
        folder = folder_of_new_file(inode)
        if folder is None:
            return None, [], True
        room = BATCH_BYTES - inode.size
        is_full = False

        def fits(other: Inode) -> bool:
            nonlocal room, is_full
            if other is inode:
                # Programs used it again while they went first: it is not to be sent beside itself.
                return False
            if other.ino not in self._tree.pending or other.sending or folder_of_new_file(other) != folder:
                return False
            if other.size > room:
                is_full = True
                return False
            room -= other.size
            return True

        others = queue.take_also(fits, BATCH_FILES - 1)
        return folder, others, is_full or len(others) == BATCH_FILES - 1

    async def _send_together(self, folder: NodeId, inodes: list[Inode]) -> None:
        for inode in inodes:
            # They are in no queue: nobody else may begin with them.
            inode.sending = True

        async def send_member(inode: Inode, batch: Batch) -> None:
            try:
                await self._send(inode)
            finally:
                batch.leave(inode.ino)

        async with self._executor.batch(folder, inodes) as batch, trio.open_nursery() as nursery:
            for inode in inodes:
                nursery.start_soon(send_member, inode, batch)

    async def _advance(self, inode: Inode) -> None:
        """Do steps until nothing is left, something has to be waited for, or one fails."""
        try:
            with span("send", ino=inode.ino, size_bytes=inode.size):
                await self._do_steps(inode)
        except ContentChanged:
            # Its next seal schedules it; when that came while it was being sent, it is due by now.
            self._schedule(inode)
            if inode.ino in self._asked_for:
                self._due_again.add(inode.ino)
        except RemoteUnavailable as error:
            if isinstance(error, OutcomeUnknown):
                self._doubtful.add(inode.ino)
            self._connection.note_failure(error)
            self._retry_later(inode, error.retry_after_s if isinstance(error, RateLimited) else 0.0)
        except (ProtocolViolation, UploadFailed, UploadVanished) as error:
            if isinstance(error, ProtocolViolation):
                # A page of somebody on the way may hide that it was done.
                self._doubtful.add(inode.ino)
            if self._attempts.get(inode.ino, 0) >= UPLOAD_TRIES:
                self._fail(inode, error)
            else:
                log.warning("sending %r: %s; trying again", inode.path(), error.message)
                self._retry_later(inode)
        except MountfsError as error:
            self._fail(inode, error)
        except Exception as error:
            # A fault of ours in one entry must not take the mount away from all the others.
            log.exception("sending %r", inode.path())
            self._fail(inode, MountfsError(f"internal error: {error!r}", hint="report it; the log has more"))

    async def _do_steps(self, inode: Inode) -> None:
        is_again = False
        while inode.ino in self._tree.pending:
            if inode.base is None and not inode.unanswered and self._tree.stays_here(inode):
                # It was moved there while it was on its way.
                self._tree.mark_pending(inode)
                return
            if inode.ino in self._doubtful or self._executor.is_doubtful(inode):
                await self._executor.look(inode)
                self._doubtful.discard(inode.ino)
            sends_content = inode.is_file_there and inode.content_dirty
            refusal = self._quota.refusal(inode)
            if refusal is not None:
                raise refusal.with_traceback(None)
            if is_again and self._executor.goes_together(inode):
                # What many have to record at the same time is written at once.
                await trio.lowlevel.checkpoint()
            # A call must not be based on what a kill would undo here.
            await self._tree.journal.committed()
            outcome = await self._executor.step(inode)
            if isinstance(outcome, WaitFor):
                self._park(inode, outcome.inode)
                return
            if outcome is Outcome.SETTLED:
                self._settle(inode)
                return
            if outcome is Outcome.WAIT_FOR_CLOSE:
                return
            if outcome is Outcome.LATER:
                self._retry_later(inode)
                return
            self._connection.note_success()
            if sends_content and not inode.content_dirty:
                self.expedite(self._quota.sent(inode))
            # What waits for this entry may need no more than the step that was just done.
            self.expedite(self._parked.pop(inode.ino, ()))
            self._progress.unpark_all()
            if self._is_settled(inode):
                # There is no call to be based on what was confirmed, so the journal's thread may record it.
                self._settle(inode)
                return
            is_again = True

    def _is_settled(self, inode: Inode) -> bool:
        is_sure = inode.ino in self._tree.pending and inode.ino not in self._doubtful
        return is_sure and self._executor.is_settled(inode)

    def _park(self, inode: Inode, until: Inode) -> None:
        if until.pending is None and not until.sending:
            # It settled meanwhile.
            self._retry_later(inode)
            return
        self._parked.setdefault(until.ino, set()).add(inode)
        if until.failure is not None:
            self._fail_waiting(until)

    def _fail_waiting(self, failed: Inode) -> None:
        """What waits for this has failed as well, until this is sent: nobody is to wait for it meanwhile."""
        awaited = [failed]
        # Step by step: paths may be deeper than calls may be nested.
        while awaited:
            until = awaited.pop()
            for inode in self._parked.get(until.ino, ()):
                if inode.failure is None and inode.pending is not None:
                    inode.failure = f"{until.path().decode(errors='replace')} has to be sent first"
                    self.hints[inode.ino] = self.hints.get(until.ino, "")
                    self._tree.save(inode)
                    awaited.append(inode)

    def _settle(self, inode: Inode) -> None:
        self._pending_since.pop(inode.ino, None)
        self._attempts.pop(inode.ino, None)
        self.hints.pop(inode.ino, None)
        self._locked_out.pop(inode.ino, None)
        self._tree.mark_clean(inode)
        if inode.is_linked:
            self._tree.save(inode)

    def _retry_later(self, inode: Inode, least_s: float = 0.0) -> None:
        attempt = self._attempts.get(inode.ino, 0)
        self._attempts[inode.ino] = attempt + 1
        wait_s = max(least_s, RETRY.delay_s(attempt, random.random()))
        self._queue(inode).put(inode, trio.current_time() + wait_s)

    def _fail(self, inode: Inode, error: MountfsError) -> None:
        if inode.failure != error.message:
            log.error("%r cannot be sent: %s", inode.path(), error.message)
            self._tree.happenings.tell(
                Kind.FAILED, inode.path(), reason=error.message, hint=error.hint or FAILED_HINT
            )
        inode.failure = error.message
        self.hints[inode.ino] = error.hint or FAILED_HINT
        if isinstance(error, LeaseHeld):
            self._locked_out[inode.ino] = inode
        if isinstance(error, QuotaExceeded):
            self._quota.note(inode, error)
        self._tree.save(inode)
        self._fail_waiting(inode)
        if isinstance(error, HEALABLE):
            self._queue(inode).put(inode, trio.current_time() + SLOW_RETRY_S)
