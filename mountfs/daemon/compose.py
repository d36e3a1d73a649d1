"""A mount from start to end: what lies around its parts, and the order of start and stop."""

import logging
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from mountfs.daemon import log_setup, runtime_dir, service_manager
from mountfs.daemon.control import server as control
from mountfs.daemon.control_files import overlaid
from mountfs.daemon.ending import clear_dead
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.handover import Handover, Passed
from mountfs.daemon.identifying import (
    allowed,
    identify,
    keep_capabilities,
    known_capabilities,
    reach_service,
)
from mountfs.daemon.mount_state import MountState
from mountfs.daemon.parts import READ_PATIENCE_S, Outside, Parts
from mountfs.daemon.running import StopReport
from mountfs.daemon.settings import MountSettings
from mountfs.daemon.signals import obey_signals
from mountfs.daemon.upgrading import Upgrading
from mountfs.daemon.viewers.running import viewers
from mountfs.filesystem.overlay import OverlaidFilesystem
from mountfs.kernel import extension
from mountfs.kernel.notifier import Notifier
from mountfs.kernel.preflight import check_mountpoint
from mountfs.kernel.session import MountOptions, mount
from mountfs.model.disk import Disk
from mountfs.model.errors import FuseUnavailable, RemoteUnavailable
from mountfs.model.filesystem import Filesystem
from mountfs.model.remote import Workspace
from mountfs.model.succession import ConnectionState
from mountfs.remotes.fastio.http import last_request_id
from mountfs.remotes.fastio.service import FastioService
from mountfs.rules.latency import Latencies
from mountfs.storage import recovery
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheDirectory
from mountfs.storage.spare_files import SpareFiles
from mountfs.storage.system_disk import SYSTEM_DISK

log = logging.getLogger(__name__)

LEASE_CLOCK: Final = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""It goes on while the host sleeps, as the workspace's does: a sleep must not stretch a lease."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What a mount begins with."""

    settings: MountSettings
    workspace: Workspace
    outage: RemoteUnavailable | None
    directory: CacheDirectory
    passed: Passed | None
    successor: str
    ready: Callable[[], None]
    stopping: Callable[[float], None]
    replacing: Callable[[], None]

    @property
    def given(self) -> Handover | None:
        return _given(self.passed)


@dataclass(frozen=True, slots=True)
class _Mount:
    """What serves one mount."""

    start: _Start
    parts: Parts
    notifier: Notifier
    state: MountState


async def run_mount(
    settings: MountSettings,
    *,
    successor: str,
    ready: Callable[[], None],
    stopping: Callable[[float], None],
    replacing: Callable[[], None],
    passed: Passed | None = None,
    disk: Disk = SYSTEM_DISK,
) -> StopReport:
    """Mount, call `ready` when the mount answers, serve until it is stopped, unmounted or handed over.

    `stopping` is called with the seconds for uploads whenever a stop is requested, `replacing` when the mount
    is handed over, to `successor`, the module that goes on then. `passed`: what the program before this one
    left in this process.
    Raises one of our errors for whatever goes wrong before `ready`.
    """
    given = _given(passed)
    if settings.device is None:
        clear_dead(settings.mountpoint)
        # Before the cache is claimed: a second mount at this place would find it in use, which says less.
        check_mountpoint(str(settings.mountpoint))
    if given is None:
        directory = CacheDirectory.claim(settings.cache_dir)
    else:
        directory = CacheDirectory.claimed(settings.cache_dir, given.descriptors.cache)
    try:
        content_files = await trio.to_thread.run_sync(
            partial(
                ContentFiles,
                directory.layout.content,
                directory.layout.index,
                disk=disk,
                spare=_spare_files(directory.layout.content, disk),
            )
        )
        try:
            if given is None:
                workspace, outage = await identify(settings, content_files)
            else:
                workspace, outage = given.workspace, None
            settings = allowed(settings, workspace)
            async with _journal(directory, content_files, workspace.id, given) as journal:
                start = _Start(
                    settings, workspace, outage, directory, passed, successor, ready, stopping, replacing
                )
                return await _run(start, journal, content_files)
        finally:
            content_files.close()
    finally:
        directory.release()


def _spare_files(folder: Path, disk: Disk) -> SpareFiles | None:
    make = extension.file_maker()
    return None if make is None else SpareFiles(partial(make, str(folder)), disk=disk)


def _given(passed: Passed | None) -> Handover | None:
    return passed if isinstance(passed, Handover) else None


@asynccontextmanager
async def _journal(
    directory: CacheDirectory, content_files: ContentFiles, workspace_id: str, given: Handover | None
) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(directory.layout.journal, workspace=workspace_id, disk=content_files.disk)
    kept = frozenset() if given is None else frozenset(used.ino for used in given.open.inodes)
    await trio.to_thread.run_sync(partial(recovery.recover, journal, content_files, kept=kept))
    journal.start()
    try:
        yield journal
    finally:
        with trio.CancelScope(shield=True):
            await journal.aclose()


async def _run(start: _Start, journal: SqliteJournal, content_files: ContentFiles) -> StopReport:
    settings, workspace = start.settings, start.workspace
    service = await reach_service(settings, READ_PATIENCE_S)
    try:
        capabilities = known_capabilities(settings, content_files)
        remote = service.remote(workspace.id, capabilities=capabilities)
        notifier = Notifier()
        outside = Outside(
            remote=remote,
            history=remote,
            kernel=notifier,
            host=platform.node() or "host",
            lease_clock=LEASE_CLOCK,
            request_id=last_request_id,
        )
        parts = Parts(settings, outside, journal, content_files)
        await parts.load(start.given)
        if start.outage is not None:
            parts.connection.note_failure(start.outage)  # nobody waits for what is known not to answer
        apply = partial(_apply, parts, service)
        latencies = Latencies()
        service.tell_latencies(latencies.observe)
        state = MountState(
            settings,
            workspace,
            parts,
            content_files,
            stopping=start.stopping,
            apply=apply,
            sent=service.sent,
            latencies=latencies,
            passed=start.passed,
        )
        keep = partial(keep_capabilities, capabilities, settings, content_files)
        await _serve(_Mount(start, parts, notifier, state), keep)
        return StopReport(left_in_journal=len(parts.tree.pending), handover=state.handover())
    finally:
        with trio.CancelScope(shield=True):
            await service.aclose()


def _apply(parts: Parts, service: FastioService, settings: MountSettings) -> None:
    """Make the running mount follow these settings; see `reloading.LIVE_KEYS`."""
    log_setup.follow(settings.log_level, settings.token)
    if settings.logins is None:
        service.use_token(settings.token.reveal())
    parts.sender.delay_s = settings.upload_delay_s
    parts.content.upkeep.limit_bytes = settings.cache_size_bytes
    parts.contents.conflict = settings.conflict
    parts.filesystem.strict_opens.always_ask = settings.consistency == "open"
    parts.filesystem.publish_on_close = settings.durability == "remote"
    parts.hooks.follow(settings.hooks)
    try:
        runtime_dir.note_drain_timeout(settings.mountpoint, settings.drain_timeout_s)
    except ConfigurationRefused as error:
        log.error("mountfs umount goes by the drain timeout of before: %s", error.message)


async def _serve(mounted: _Mount, keep_found: Callable[[], Awaitable[None]]) -> None:
    parts = mounted.parts
    async with trio.open_nursery() as traffic:
        traffic.start_soon(keep_found)
        await parts.start_traffic(traffic)
        traffic.start_soon(parts.remove_orphans)
        async with trio.open_nursery() as locking:
            await locking.start(parts.locks.run)
            try:
                await _serve_kernel(mounted)
            finally:
                with trio.CancelScope(shield=True):
                    await parts.locks.aclose()
        with trio.CancelScope(shield=True):
            # The last closes came with the unmount.
            await mounted.state.drain_for_stop()
            await parts.content.upkeep.save_index()
            await parts.hooks.finish()
            await parts.trail.flush()
        traffic.cancel_scope.cancel()
    # What was being sent until now may have lost its name meanwhile.
    await parts.content.upkeep.save_index()


async def _serve_kernel(mounted: _Mount) -> None:
    start, parts, state = mounted.start, mounted.parts, mounted.state
    settings, given = start.settings, start.given
    filesystem = _with_control_dir(mounted)
    overlay = filesystem if isinstance(filesystem, OverlaidFilesystem) else None
    if overlay is not None and given is not None and given.virtual is not None:
        overlay.go_on(given.virtual, given.connection.directories)
    options = mount_options(
        settings,
        source=f"mountfs:{start.workspace.name}",
        predecessor=None if given is None else given.connection,
    )
    async with trio.open_nursery() as around:
        # Before there is a mount: a signal that ended the process then would leave a dead one.
        await around.start(obey_signals, state)
        async with (
            mount(filesystem, mounted.notifier, options) as session,
            viewers(settings, state, parts.tree.happenings),
        ):
            state.session = session
            state.upgrading = Upgrading(
                parts,
                state,
                session,
                overlay,
                start.directory,
                start.workspace,
                start.passed,
                start.successor,
            )
            if given is not None:
                parts.filesystem.doubt_kernel_caches()
            parts.sender.programs_idle_s = lambda: session.programs_idle_s
            parts.content.direct.is_possible = lambda: session.passthrough_refusal is None
            try:
                if not await session.answers():
                    raise FuseUnavailable(f"the mount at {settings.mountpoint} does not answer")
                socket_path = runtime_dir.socket_path(settings.mountpoint)
                await around.start(control.serve, state, socket_path)
                start.ready()
                around.start_soon(service_manager.give_signs_of_life, state.is_well)
                around.start_soon(state.stop_when_unmounted)
                await state.wait_drained_for_stop()
            finally:
                # Also where something failed: from here on the end has a limit.
                state.request_stop(drain_timeout_s=settings.drain_timeout_s)
                if state.is_left:
                    start.replacing()
                parts.events.end()
        around.cancel_scope.cancel()


def mount_options(
    settings: MountSettings, *, source: str, predecessor: ConnectionState | None
) -> MountOptions:
    return MountOptions(
        str(settings.mountpoint),
        source=source,
        read_only=settings.read_only,
        allow_other=settings.allow_other,
        passthrough=settings.passthrough,
        clears_set_id=True,
        device=settings.device,
        predecessor=predecessor,
    )


def _with_control_dir(mounted: _Mount) -> Filesystem:
    settings, parts, state = mounted.start.settings, mounted.parts, mounted.state
    return overlaid(
        parts.filesystem,
        name=settings.control_dir,
        listed=settings.list_control_dir,
        status=state.status,
        waiting=state.waiting_uploads,
        events=parts.events,
        cache_dir=settings.cache_dir,
        branches=parts.branches,
    )
