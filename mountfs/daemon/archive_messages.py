"""The requests of the control protocol about the past of the workspace, and their answers."""

from dataclasses import asdict
from typing import Any, Literal

from mountfs.daemon.archive import Archive
from mountfs.daemon.message import Message
from mountfs.model.history import SearchIn


class VersionsRequest(Message):
    ask: Literal["versions"] = "versions"
    path: bytes


class FetchVersionRequest(Message):
    """`file`: an existing file that the content is written into."""

    ask: Literal["fetch version"] = "fetch version"
    path: bytes
    version: str
    file: bytes


class RestoreRequest(Message):
    """`version` None: the one before the present."""

    ask: Literal["restore"] = "restore"
    path: bytes
    version: str | None


class TrashRequest(Message):
    ask: Literal["trash"] = "trash"


class RestoreFromTrashRequest(Message):
    ask: Literal["restore from trash"] = "restore from trash"
    which: str


class PurgeRequest(Message):
    """`which` None: everything."""

    ask: Literal["purge"] = "purge"
    which: str | None


class SearchRequest(Message):
    ask: Literal["search"] = "search"
    words: str
    among: SearchIn
    limit: int


class EventsRequest(Message):
    ask: Literal["events"] = "events"
    path: bytes | None
    since_ns: int
    limit: int


ArchiveRequest = (
    VersionsRequest
    | FetchVersionRequest
    | RestoreRequest
    | TrashRequest
    | RestoreFromTrashRequest
    | PurgeRequest
    | SearchRequest
    | EventsRequest
)


async def answer(archive: Archive, request: ArchiveRequest) -> Any:
    """Do what is asked; the result is JSON."""
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
