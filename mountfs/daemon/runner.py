"""One mount from start to end in this process, whether in the foreground or in the background."""

import ctypes
import logging
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mountfs.daemon import runtime_dir, service_manager
from mountfs.daemon.errors import ConfigurationRefused, first_of_ours
from mountfs.daemon.memory import keep_freed_pieces
from mountfs.daemon.processes import ProcessIdentity
from mountfs.daemon.running import StopReport, shown
from mountfs.daemon.runtime_dir import MountRecord
from mountfs.daemon.settings import MountSettings
from mountfs.daemon.signals import hold_signals
from mountfs.daemon.traces import traced
from mountfs.daemon.watchdog import Watchdog
from mountfs.model.disk import Disk
from mountfs.model.errors import CacheUnusable
from mountfs.storage.layout import room_hint
from mountfs.storage.system_disk import SYSTEM_DISK

if TYPE_CHECKING:
    from mountfs.daemon.handover import Passed

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4
"""Of linux/prctl.h."""


def prepare_cache_dir(folder: Path) -> None:
    """Make the cache directory (0700) if it is missing. Raises CacheUnusable where nothing can be written."""
    try:
        with suppress(FileExistsError):  # what it is shows below
            folder.mkdir(mode=0o700, parents=True)
        probe = folder / f".writable.{os.getpid()}"
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        probe.unlink()
    except OSError as error:
        raise CacheUnusable(
            f"the cache directory {shown(str(folder))} cannot be used: {error.strerror}",
            hint=room_hint(error) or "choose a writable directory with --cache",
        ) from error


def run(
    settings: MountSettings,
    announce_ready: Callable[[], None],
    *,
    successor: str,
    passed: "Passed | None" = None,
    disk: Disk = SYSTEM_DISK,
) -> StopReport:
    """Mount, serve until stopped, and leave a record of how it ended. Does not return where the mount is
    handed over: `successor` is the module that this process goes on with then. `passed`: what the program
    before left, where this one goes on.

    `announce_ready` is called once, when the mount answers. Raises one of our errors for whatever goes
    wrong that was foreseen; its cause holds the whole story. An end that hangs is ended by the watchdog.
    """
    runtime_dir.own_dir()  # refused now rather than when everything is up
    from mountfs.daemon import handover
    from mountfs.daemon.compose import run_mount  # heavy: pyfuse3, httpx, diskcache

    _raise_open_files_limit()
    hide_memory()
    keep_freed_pieces()
    record = _record(settings)
    watchdog = Watchdog(str(settings.mountpoint))

    def ready() -> None:
        watchdog.note_mounted()
        runtime_dir.write_record(record)
        log.info("mounted at %s, pid %d", settings.mountpoint, os.getpid())
        service_manager.tell_ready(f"{settings.workspace} at {shown(str(settings.mountpoint))}")
        announce_ready()

    def stopping(drain_timeout_s: float) -> None:
        watchdog.expect_end(drain_timeout_s)
        service_manager.tell_stopping(drain_timeout_s)

    def replacing() -> None:
        watchdog.expect_end(0.0)
        service_manager.tell_reloading("going on as another version")

    serve = partial(
        run_mount, settings, successor=successor, ready=ready, stopping=stopping, replacing=replacing
    )
    try:
        with traced(settings):
            report = trio.run(partial(serve, passed=passed, disk=disk))
    except BaseExceptionGroup as group:
        ours = first_of_ours(group)
        if ours is None:
            raise
        raise ours from group
    finally:
        watchdog.dismiss()
    if report.handover is not None:
        hold_signals()
        descriptors = report.handover.descriptors.all()
        handover.become(successor, handover.GO_ON, report.handover, descriptors)
    log.info("unmounted, %d entries left in the journal", report.left_in_journal)
    try:
        runtime_dir.note_end(replace(record, left_in_journal=report.left_in_journal))
    except ConfigurationRefused as error:
        log.error("who ended the mount cannot be told how: %s", error.message)
    return report


def _record(settings: MountSettings) -> MountRecord:
    process = ProcessIdentity.of(os.getpid())
    assert process is not None, "this process is alive"
    return MountRecord(
        process=process,
        mountpoint=settings.mountpoint,
        cache_dir=settings.cache_dir,
        url=settings.url,
        workspace=settings.workspace,
        drain_timeout_s=settings.drain_timeout_s,
        brokered=settings.device is not None and not settings.device.made_here,
    )


def _raise_open_files_limit() -> None:
    """Each open file of a program costs the daemon a descriptor or two."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hide_memory() -> None:
    """Let nobody but root read the memory of this process, by core dumps or debuggers: the token is there."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit of 0 keeps no program from it that takes core dumps by a pipe.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
