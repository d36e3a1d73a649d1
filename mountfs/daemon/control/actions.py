"""What the daemon does for each request of the control protocol."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import trio

from mountfs.daemon.archive import Archive
from mountfs.daemon.control.archive_messages import (
    ArchiveRequest,
    EventsRequest,
    FetchVersionRequest,
    PurgeRequest,
    RestoreFromTrashRequest,
    RestoreRequest,
    SearchRequest,
    TrashRequest,
    VersionsRequest,
)
from mountfs.daemon.control.messages import (
    Answer,
    AuditRequest,
    ConflictsRequest,
    DiscardRequest,
    DrainRequest,
    ExtractRequest,
    FetchRequest,
    HealthRequest,
    LocksRequest,
    Progress,
    Remedy,
    Request,
    ResolveRequest,
    RetryRequest,
    StatusRequest,
    StopRequest,
    SyncRequest,
    UnlockRequest,
    UnpinRequest,
    UpgradeRequest,
)
from mountfs.daemon.running import DrainProgress, Remedies, RunningMount, shown
from mountfs.model.errors import MountfsError

log = logging.getLogger(__name__)

Tell = Callable[[Answer], Awaitable[None]]
"""Sends one answer to the client."""

_T = TypeVar("_T")


async def perform(running: RunningMount, request: Request, tell: Tell) -> Any:
    """Do what is asked, and return what is to be told of it, as JSON has it. Raises what the mount raises."""
    match request:
        case StatusRequest():
            return asdict(running.status())
        case HealthRequest():
            return asdict(running.health())
        case SyncRequest():
            return asdict(await running.sync(request.path, timeout_s=request.timeout_s))
        case DrainRequest():
            return await _telling(partial(running.drain, request.timeout_s), tell)
        case FetchRequest():
            fetch = partial(running.fetch, request.path, pin=request.pin)
            return asdict(await _telling(lambda note: fetch(progress=note), tell))
        case UnpinRequest():
            return await running.unpin(request.path)
        case LocksRequest():
            return [asdict(lock) for lock in await running.locks(request.path)]
        case UnlockRequest():
            held = await running.unlock(request.path)
            return asdict(held) if held is not None else None
        case StopRequest() | UpgradeRequest():
            return await _let_go(running, request)
        case AuditRequest():
            return [shown(finding) for finding in await running.audit(deep=request.deep)]
        case _:
            if isinstance(request, ArchiveRequest):
                return await _archive(running.archive, request)
            return await _remedy(running.remedies, request)


async def _remedy(remedies: Remedies, request: Remedy) -> Any:
    match request:
        case ConflictsRequest():
            return [asdict(each) for each in await remedies.conflicts(request.path)]
        case ResolveRequest():
            log.info("control: resolve %r, keep %s", request.path, request.keep.value)
            return [shown(copy) for copy in await remedies.resolve(request.path, request.keep)]
        case ExtractRequest():
            return [asdict(each) for each in await remedies.extract(request.path, request.folder)]
        case RetryRequest():
            return asdict(await remedies.retry(request.path, timeout_s=request.timeout_s))
        case DiscardRequest():
            log.info("control: discard %r", request.path)
            return [shown(copy) for copy in await remedies.discard(request.path, request.folder)]


async def _let_go(running: RunningMount, request: StopRequest | UpgradeRequest) -> None:
    if isinstance(request, UpgradeRequest):
        log.info("control: asked to hand the mount over")
        return await running.upgrade()
    log.info("control: asked to stop")
    return running.request_stop(drain_timeout_s=request.drain_timeout_s)


async def _archive(archive: Archive, request: ArchiveRequest) -> Any:
    match request:
        case VersionsRequest():
            return [asdict(each) for each in await archive.versions(request.path)]
        case FetchVersionRequest():
            await archive.fetch_version(request.path, request.version, request.file)
            return None
        case RestoreRequest():
            return asdict(await archive.restore(request.path, request.version))
        case TrashRequest():
            return [asdict(each) for each in await archive.trashed()]
        case RestoreFromTrashRequest():
            return asdict(await archive.restore_from_trash(request.which))
        case PurgeRequest():
            return [asdict(each) for each in await archive.purge(request.which)]
        case SearchRequest():
            return asdict(await archive.search(request.words, request.among, request.limit))
        case EventsRequest():
            told = await archive.events(request.path, since_ns=request.since_ns, limit=request.limit)
            return [asdict(each) for each in told]


async def _telling(work: Callable[[Callable[[DrainProgress], None]], Awaitable[_T]], tell: Tell) -> _T:
    """Do the work, and tell the client how far it is."""
    # Only the newest state is worth telling: a client that reads slowly must not hold up the work.
    latest: list[DrainProgress] = []
    news = trio.Event()

    def note(progress: DrainProgress) -> None:
        latest[:] = [progress]
        news.set()

    async def report() -> None:
        nonlocal news
        while True:
            await news.wait()
            news = trio.Event()
            await tell(Progress(entries_left=latest[0].entries_left, bytes_left=latest[0].bytes_left))

    refusal: MountfsError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report)
        try:
            outcome = await work(note)
        except MountfsError as error:
            refusal = error  # raised here it would come out in a group
        nursery.cancel_scope.cancel()
    if refusal is not None:
        raise refusal
    return outcome
