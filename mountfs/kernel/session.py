"""A mount from its beginning to its end. There is one per process: pyfuse3's state is global.

The end, in order: notices stop; the mount leaves the directory tree while requests are still served, since
the kernel may send some for it; waiting locks and running handlers end; the device is closed, which
answers whatever is left with an error. A step that does not end in time is overtaken by the next, so
no program that uses the mount, and not the daemon, is left waiting for ever.
"""

import logging
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import pyfuse3
import trio

from mountfs.kernel import extension, mounts, preflight
from mountfs.kernel.handed_device import HandedDevice
from mountfs.kernel.notifier import Notifier
from mountfs.kernel.operations import Operations
from mountfs.model.errors import FuseUnavailable
from mountfs.model.filesystem import Filesystem
from mountfs.model.succession import ConnectionState
from mountfs.rules.latency import Histogram

if extension.AVAILABLE:
    from mountfs.kernel import _extras, connection
    from mountfs.kernel.deferred_requests import DeferredRequests
    from mountfs.kernel.immediate_requests import ImmediateRequests
    from mountfs.kernel.lock_requests import LockRequests
    from mountfs.kernel.passthrough import PassthroughFiles
    from mountfs.kernel.range_requests import RangeRequests
    from mountfs.kernel.request_loop import EagerRequests
    from mountfs.kernel.served_requests import ServedRequests
    from mountfs.kernel.set_id_notices import SetIdNotices

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

SUBTYPE: Final = "mountfs"
WAITING_TASKS: Final = 8
"""How many tasks pyfuse3 keeps that wait for a request. It starts another one for each request that it reads
while none of them waits; with one to keep, the eager looks of `request_loop` made that every third one."""

CANCEL_LIMIT_S: Final = 5.0
"""How long handlers get to end after they were cancelled, and a notice after the connection was aborted."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """`source` names the workspace in the mount table. `handlers_limit_s`: at the end, how long requests
    that are being served may go on before they are cancelled. `passthrough`: let the kernel serve open files
    by itself where it can. `clears_set_id`: the file system clears the set-user-id and set-group-id bits when
    it is told to, and offers no backing file for a file that has them; the kernel then does not ask for file
    capabilities before each write. `device`: that of a mount which is made already, and who takes it away.
    `predecessor`: what the process left that served this mount so far, and had its device."""

    mountpoint: str
    source: str = SUBTYPE
    read_only: bool = False
    allow_other: bool = False
    handlers_limit_s: float = 10.0
    passthrough: bool = True
    clears_set_id: bool = False
    device: HandedDevice | None = None
    predecessor: ConnectionState | None = None


class Session:
    """A mount that is being served. Made by `mount`."""

    def __init__(self, filesystem: Filesystem, notifier: Notifier, options: MountOptions) -> None:
        self._filesystem = filesystem
        self._operations: Operations | None = None
        self._notifier = notifier
        self._options = options
        self._ended = trio.Event()
        self._serving = trio.CancelScope(shield=True)  # ended by us, in order, and by nobody else
        self._deferred: DeferredRequests | None = None
        self._served: ServedRequests | None = None
        self._locks: LockRequests | None = None
        self._eager: EagerRequests | None = None
        self._open_files: PassthroughFiles | None = None
        self._mount: mounts.Mount | None = None
        self._left = False

    @property
    def flock_is_forwarded(self) -> bool:
        """Whether `flock` reaches the file system; if not, `extension.REASON` says why."""
        return self._locks is not None

    @property
    def passthrough_refusal(self) -> str | None:
        """Why the kernel does not serve open files by itself; None: it does."""
        if self._open_files is None:
            return extension.REASON or "the mount is not made yet"
        state = self._open_files.state()
        return None if state.available else state.reason

    @property
    def programs_idle_s(self) -> float:
        """How long no program has asked for anything, as far as that is known."""
        return self._eager.idle_s if self._eager else math.inf

    @property
    def requests(self) -> Mapping[str, int]:
        """How many requests of the kernel reached the daemon, by operation."""
        return self._operations.requests.counts if self._operations else {}

    @property
    def latencies(self) -> Mapping[str, Histogram]:
        """How long these requests took, by operation."""
        return self._operations.requests.latencies if self._operations else {}

    @property
    def backing_ids(self) -> int:
        """How many files the kernel serves by itself at present."""
        return self._open_files.open_ids if self._open_files else 0

    @property
    def waiting_locks(self) -> int:
        """How many `flock` calls wait for their answer."""
        return self._locks.waiting if self._locks else 0

    async def answers(self, *, limit_s: float = mounts.ANSWER_LIMIT_S) -> bool:
        """Look at the mount as a program would; False without a good answer in time."""
        mount = self._mount
        if mount is None or not mounts.is_attached(mount):
            return False
        state = await _in_thread(lambda: mounts.state_of(mount, limit_s=limit_s))
        return state is mounts.MountState.LIVE

    async def wait_ended(self) -> None:
        """Return when the mount is no longer served: somebody unmounted it, and nobody uses it any more."""
        await self._ended.wait()

    def open(self) -> None:
        place = os.path.abspath(self._options.mountpoint)
        self.begin(place)
        self._mount = mounts.mount_at(place)
        device = None
        if extension.AVAILABLE:
            device = _extras.session_fd()
            self._eager = EagerRequests()
            if self._mount is not None:
                mounts.widen_read_ahead(self._mount)
            if self._options.predecessor is not None:
                self._take_over(self._options.predecessor, device)
        assert self._operations is not None
        self._notifier.arm(device, self._operations.busy)

    def begin(self, place: str) -> None:
        """Mount, without serving yet; where the kernel has opened the connection already, go on from there.
        Raises FuseUnavailable."""
        if self._options.predecessor is not None and not extension.AVAILABLE:
            raise FuseUnavailable(f"the open connection cannot be taken over: {extension.REASON}")
        if extension.AVAILABLE:
            self._served = ServedRequests()
            self._deferred = DeferredRequests(
                on_arrival=self._rest, on_interrupt=self._served.note_interrupted
            )
            self._locks = LockRequests(self._filesystem, self._deferred)
            RangeRequests(self._filesystem, self._deferred, self._served)
            SetIdNotices(self._filesystem)
            self._open_files = PassthroughFiles(wanted=self._options.passthrough)
        begin = self._served.note_served if self._served else None
        self._operations = Operations(self._filesystem, self._open_files, begin)
        if extension.AVAILABLE:
            ImmediateRequests(self._filesystem, self._operations)
        try:
            pyfuse3.init(self._operations, self._target(place), _fuse_options(self._options))
        except RuntimeError as error:
            pyfuse3.close(unmount=False)
            hint = "run it again in a terminal: libfuse has told the reason on standard error"
            raise FuseUnavailable(f"{place}: mounting failed ({error})", hint=hint) from error
        if extension.AVAILABLE:
            os.set_blocking(_extras.session_fd(), False)
            try:
                _extras.take_device(self._options.passthrough, self._options.clears_set_id)
            except OSError as error:
                _log.warning("%s: mounted without passthrough: libfuse refuses (%s)", place, error.strerror)
        if self._options.predecessor is not None:
            connection.go_on(self._options.predecessor)

    def _take_over(self, predecessor: ConnectionState, device: int) -> None:
        assert self._operations is not None
        assert self._open_files is not None
        if self._mount is not None and self._mount.device_minor != predecessor.device_minor:
            self._mount = None  # something else is there by now
        self._open_files.take_over(predecessor.backed)
        self._operations.requests.directories.update(predecessor.directories)
        connection.ask_for_unanswered(device)

    # The hand-over to another process.

    async def hold(self, limit_s: float) -> str | None:
        """Read no request any more, and wait until whoever goes on could begin anew all that were read.

        Returns None when it is so; from then on nothing changes by requests. Else, after `limit_s`, what is
        in the way, and the mount serves on.
        """
        if self._eager is None or self._deferred is None or self._operations is None:
            return extension.REASON
        self._eager.hold()
        with trio.move_on_after(limit_s):
            while not (self._operations.is_settled and self._deferred.is_settled):
                await self._operations.wait_settled()
                await self._deferred.wait_settled()
            if await self._notifier.hold():
                return None
        self.go_on()
        return "programs have calls under way that take too long"

    def go_on(self) -> None:
        """Serve again after `hold`."""
        self._notifier.go_on()
        if self._eager is not None:
            self._eager.go_on()

    def leave(self) -> None:
        """After `hold`: answer nothing any more. `end` then leaves the mount to another process."""
        _extras.leave_unanswered()
        self._left = True
        self._serving.cancel()

    def device(self) -> int:
        """Return another descriptor of the device, by which the mount lasts."""
        return os.dup(_extras.session_fd())

    @property
    def handover_hindrance(self) -> str | None:
        """Why no other process can ever go on with this mount; None: one can."""
        if not extension.AVAILABLE:
            return extension.REASON
        return "something else is mounted over it" if self._mount is None else connection.hindrance()

    def connection(self) -> ConnectionState:
        """Return where the connection to the kernel stands; only where nothing hinders a handover."""
        assert self._mount is not None
        assert self._operations is not None
        assert self._open_files is not None
        request, answer = _extras.negotiation()
        return ConnectionState(
            self._mount.device_minor,
            request,
            answer,
            self._open_files.handed_over(),
            tuple(self._operations.requests.directories.items()),
        )

    async def _end_unanswered(self) -> None:
        with trio.move_on_after(CANCEL_LIMIT_S):
            await self._ended.wait()

    def _target(self, place: str) -> str:
        """What libfuse is to mount at: the place, or by a name of its own a device that is mounted there."""
        device = self._options.device
        return place if device is None else f"/dev/fd/{device.descriptor}"

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            with self._serving:
                async with trio.open_nursery() as nursery:
                    if self._deferred:
                        await nursery.start(self._deferred.run)
                    if self._served:
                        nursery.start_soon(self._served.run)
                    task_status.started()
                    await pyfuse3.main(min_tasks=WAITING_TASKS)
                    nursery.cancel_scope.cancel()
        finally:
            self._ended.set()

    async def end(self) -> None:
        self._notifier.disarm()
        if self._left:
            await self._end_unanswered()
            return
        # Also where the session has ended: a connection that was aborted from outside leaves its mount.
        await self._take_down()
        if not self._ended.is_set():
            pyfuse3.terminate()
            await self._end_handlers()
        idle = await _in_thread(lambda: self._notifier.is_idle_within(CANCEL_LIMIT_S))
        if not idle or not self._ended.is_set():
            await self._abort()
            idle = await _in_thread(lambda: self._notifier.is_idle_within(CANCEL_LIMIT_S))
        if idle and self._ended.is_set():
            self._close()
        else:
            # Its threads or tasks still use the session, so it cannot be freed; the process's end does that.
            _log.error("%s: the session does not end; leaving it to the end of the process", self._place)

    @property
    def _place(self) -> str:
        return self._options.mountpoint

    def _rest(self) -> None:
        if self._eager:
            self._eager.rest()

    async def _take_down(self) -> None:
        mount = self._mount
        if mount is None or not mounts.is_attached(mount):
            return
        if await _in_thread(lambda: self._unmount(mount, lazy=False)):
            return
        _log.warning("%s is in use; detaching it, and its programs get errors from now on", self._place)
        if not await _in_thread(lambda: self._unmount(mount, lazy=True)):
            _log.error("%s cannot be unmounted; aborting its connection", self._place)
            await self._abort()

    def _unmount(self, mount: mounts.Mount, *, lazy: bool) -> bool:
        device = self._options.device
        if device is None or device.made_here:
            return mounts.unmount(mount, lazy=lazy)
        return device.unmount(lazy=lazy, limit_s=mounts.ANSWER_LIMIT_S)

    async def _end_handlers(self) -> None:
        with trio.move_on_after(self._options.handlers_limit_s):
            await self._ended.wait()
            return
        _log.warning("%s: cancelling requests that do not end", self._place)
        self._serving.cancel()
        with trio.move_on_after(CANCEL_LIMIT_S):
            await self._ended.wait()

    async def _abort(self) -> None:
        mount = self._mount
        if mount is not None and not await _in_thread(lambda: mounts.abort_connection(mount)):
            _log.error("%s: the connection cannot be aborted", self._place)

    def _close(self) -> None:
        if self._eager:
            self._eager.restore()
        if self._deferred:
            _extras.session_ended()
        pyfuse3.close(unmount=False)


@asynccontextmanager
async def mount(filesystem: Filesystem, notifier: Notifier, options: MountOptions) -> AsyncIterator[Session]:
    """Mount `filesystem` and serve it; leaving the block unmounts it, in use or not, in bounded time.

    Cancelling the block ends the mount in the same orderly way. Raises MountpointUnusable or
    FuseUnavailable when it cannot be mounted; what the block itself raises comes out in an exception group.
    """
    if options.device is None:
        preflight.check_mountpoint(options.mountpoint)
        preflight.check_fuse(allow_other=options.allow_other)
    else:
        preflight.check_handed(options.mountpoint)
    session = Session(filesystem, notifier, options)
    session.open()
    async with trio.open_nursery() as nursery:
        try:
            with trio.CancelScope(shield=True):  # what was begun has to be ended in order
                await nursery.start(session.serve)
            yield session
        finally:
            with trio.CancelScope(shield=True):
                await session.end()


def _fuse_options(options: MountOptions) -> set[str]:
    source = options.source.encode("ascii", "backslashreplace").decode()
    source = source.replace("\\", "\\\\").replace(",", "\\,")
    chosen = {"default_permissions", f"fsname={source}", f"subtype={SUBTYPE}"}
    if options.read_only:
        chosen.add("ro")
    if options.allow_other:
        chosen.add("allow_other")
    return chosen


async def _in_thread(work: Callable[[], _T]) -> _T:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
