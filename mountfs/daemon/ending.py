"""Ends a mount from outside: drain, unmount, and wait for the daemon to be gone, each within a bound."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mountfs.daemon import runtime_dir, watchdog
from mountfs.daemon.control.messages import Progress
from mountfs.daemon.errors import DaemonSilent, DataLeft, MountpointBusy, NotMounted
from mountfs.daemon.mounted import Mounted, find
from mountfs.daemon.processes import users_of
from mountfs.daemon.running import shown
from mountfs.daemon.runtime_dir import MountRecord
from mountfs.kernel import mounts
from mountfs.kernel.mounts import MountState

_log = logging.getLogger(__name__)

_GRACE_S = watchdog.GRACE_S + 15.0
"""For what a daemon does after its uploads: end handlers, close databases, or be ended by its watchdog."""

_DYING_S = 2.0
"""How long a daemon that was just killed may take to be gone."""

_BUSY_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """`was_dead`: the daemon was gone before, and what it left of its mount was cleared."""

    left_in_journal: int
    was_dead: bool = False


def end_mount(mounted: Mounted, *, drain_timeout_s: float | None, tell: Callable[[Progress], None]) -> Ended:
    """End the mount after at most `drain_timeout_s` of uploads (None: what its configuration says).

    Nothing has changed when MountpointBusy is raised. Raises DaemonSilent where the daemon hangs, DataLeft
    where it died on the way, NotMounted where another command ended the mount meanwhile.
    """
    _release_killed(mounted)
    if mounted.record is None or not mounted.has_live_daemon:
        return _clear(mounted)
    try:
        return _end_live(mounted, mounted.record, drain_timeout_s, tell)
    except DaemonSilent as error:
        if mounted.record.process.wait_gone(_DYING_S):
            return _ended_in_order(mounted) or _clear(mounted)
        raise mounted.silent(error) from error


def clear_dead(mountpoint: Path) -> None:
    """Take away what a killed daemon left at this place, if anything; what a live one serves stays."""
    with suppress(NotMounted):
        _release_killed(find(mountpoint))
    mounts.clear_dead_mount(str(mountpoint))


def _release_killed(mounted: Mounted) -> None:
    """End the requests of a mount whose daemon was killed and cannot end by itself.

    A notice to the kernel waits for the lock of a directory, a program that has it waits for the daemon, and
    the kernel ends the program's request only when the last thread of the daemon is gone.
    """
    if mounted.record is None or mounted.mount is None or not mounted.record.process.is_dying():
        return
    if mounted.record.process.wait_gone(_DYING_S):
        return
    _log.warning("%s: its killed daemon cannot end; its requests are ended", _place(mounted))
    mounts.abort_connection(mounted.mount)
    mounted.record.process.wait_gone(_DYING_S)


def _end_live(
    mounted: Mounted, record: MountRecord, drain_timeout_s: float | None, tell: Callable[[Progress], None]
) -> Ended:
    limit_s = record.drain_timeout_s if drain_timeout_s is None else drain_timeout_s
    deadline = time.monotonic() + limit_s
    if mounted.mount is not None:
        _refuse_busy(mounted)
        if limit_s > 0:
            mounted.client().drain(limit_s, tell)
        is_left = record.brokered or mounts.unmount(mounted.mount, lazy=False)
        if not is_left and mounts.is_attached(mounted.mount):  # else somebody was faster
            _refuse_busy(mounted)
            raise MountpointBusy(
                f"{_place(mounted)} cannot be unmounted: it is in use, or belongs to another user"
            )
    _stop(mounted, record, max(0.0, deadline - time.monotonic()))
    ended = _ended_in_order(mounted)
    if ended is None:
        runtime_dir.forget_record(mounted.mountpoint)
        raise DataLeft(
            f"the daemon of {_place(mounted)} died before it had ended in order",
            hint="what it had not sent is sent by the next mount with its cache",
        )
    return ended


def _refuse_busy(mounted: Mounted) -> None:
    users = [f"{program} ({pid})" for pid, program in users_of(mounted.mountpoint) if pid != os.getpid()]
    if users:
        more = f" and {len(users) - _BUSY_SHOWN} more" if len(users) > _BUSY_SHOWN else ""
        raise MountpointBusy(
            f"{_place(mounted)} is in use by {', '.join(users[:_BUSY_SHOWN])}{more}",
            hint="end these programs, or let them leave the directory",
        )


def _stop(mounted: Mounted, record: MountRecord, drain_timeout_s: float) -> None:
    try:
        mounted.client().stop(drain_timeout_s=drain_timeout_s)
    except DaemonSilent:
        # Unmounting ends a daemon with nothing to send at once, perhaps before it could be asked.
        if record.process.wait_gone(_GRACE_S):
            return
        raise
    if not record.process.wait_gone(drain_timeout_s + _GRACE_S):
        raise DaemonSilent("unmounted, but its daemon does not end")


def _ended_in_order(mounted: Mounted) -> Ended | None:
    """Take what the daemon left told of its end; None where it died. Raises NotMounted where another command
    ended the mount, and took that."""
    found = runtime_dir.find_record(mounted.mountpoint)
    if found is None:
        raise NotMounted(
            f"{_place(mounted)} was unmounted by another command, which was told what is left to send"
        )
    if found[0].left_in_journal is None:
        return None
    runtime_dir.forget_record(mounted.mountpoint)
    return Ended(found[0].left_in_journal)


def _clear(mounted: Mounted) -> Ended:
    place = _place(mounted)
    if mounted.mount is not None and mounts.is_attached(mounted.mount):
        state = mounts.state_of(mounted.mount)
        if state is not MountState.DEAD:
            raise DaemonSilent(
                f"{place} is a mount of mountfs, but no daemon of this user serves it",
                hint="unmount it as the user who mounted it",
            )
        if not mounts.unmount(mounted.mount, lazy=True):
            raise MountpointBusy(f"{place}: what a dead daemon left there cannot be unmounted by this user")
    runtime_dir.forget_record(mounted.mountpoint)
    return Ended(0, was_dead=True)


def _place(mounted: Mounted) -> str:
    return shown(str(mounted.mountpoint))
