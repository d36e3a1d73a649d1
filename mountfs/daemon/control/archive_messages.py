"""The requests of the control protocol about the past of the workspace."""

from typing import Literal

from mountfs.daemon.control.message import Below, Message, OnePath
from mountfs.model.history import SearchIn


class VersionsRequest(OnePath):
    ask: Literal["versions"] = "versions"


class FetchVersionRequest(OnePath):
    """`file`: an existing file that the content is written into."""

    ask: Literal["fetch version"] = "fetch version"
    version: str
    file: bytes


class RestoreRequest(OnePath):
    """`version` None: the one before the present."""

    ask: Literal["restore"] = "restore"
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


class EventsRequest(Below):
    ask: Literal["events"] = "events"
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
