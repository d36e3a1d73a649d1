"""The control protocol: JSON lines over a Unix socket, one request per connection.

The client sends one request line. The daemon answers with any number of `Progress` lines, at least one in
`HEARTBEAT_S`, and then exactly one `Result` or `Failure`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from mountfs.daemon.control.archive_messages import ArchiveRequest
from mountfs.daemon.control.message import Below, Message, OnePath
from mountfs.model.conflict import Keep

MAX_LINE_BYTES = 16 * 1024 * 1024
HEARTBEAT_S = 1.0


class StatusRequest(Message):
    ask: Literal["status"] = "status"


class HealthRequest(Message):
    """Answered with `Health`, and cheap whatever there is to send."""

    ask: Literal["health"] = "health"


class SyncRequest(Below):
    ask: Literal["sync"] = "sync"
    timeout_s: float | None


class DrainRequest(Message):
    ask: Literal["drain"] = "drain"
    timeout_s: float


class LocksRequest(Below):
    """Without a path: of what is in use here."""

    ask: Literal["locks"] = "locks"


class UnlockRequest(OnePath):
    ask: Literal["unlock"] = "unlock"


class FetchRequest(OnePath):
    """Bring what is missing at or below the path, and keep it where `pin` says so."""

    ask: Literal["fetch"] = "fetch"
    pin: bool


class UnpinRequest(OnePath):
    ask: Literal["unpin"] = "unpin"


class StopRequest(Message):
    """Answered when the daemon has begun to stop; its record tells later how it ended."""

    ask: Literal["stop"] = "stop"
    drain_timeout_s: float


class UpgradeRequest(Message):
    """Answered when the mount is handed over: whoever answers the next request is the installed version."""

    ask: Literal["upgrade"] = "upgrade"


class AuditRequest(Message):
    ask: Literal["audit"] = "audit"
    deep: bool = False


class ConflictsRequest(Below):
    ask: Literal["conflicts"] = "conflicts"


class ResolveRequest(OnePath):
    ask: Literal["resolve"] = "resolve"
    keep: Keep


class ExtractRequest(OnePath):
    ask: Literal["extract"] = "extract"
    folder: str


class RetryRequest(Below):
    ask: Literal["retry"] = "retry"
    timeout_s: float | None


class DiscardRequest(OnePath):
    """`folder`: where copies go; None: into the cache directory."""

    ask: Literal["discard"] = "discard"
    folder: str | None


class Progress(Message):
    """`entries_left` is None where the daemon only says that it is at work."""

    answer: Literal["progress"] = "progress"
    entries_left: int | None = None
    bytes_left: int | None = None


class Result(Message):
    answer: Literal["result"] = "result"
    value: Any


class Failure(Message):
    """An error of the daemon. `types`: its class names, the closest first."""

    answer: Literal["failure"] = "failure"
    message: str
    hint: str
    types: tuple[str, ...]


Remedy = ConflictsRequest | ResolveRequest | ExtractRequest | RetryRequest | DiscardRequest
Fetching = FetchRequest | UnpinRequest
Locking = LocksRequest | UnlockRequest
Asking = StatusRequest | HealthRequest | AuditRequest
Known = SyncRequest | DrainRequest | StopRequest | UpgradeRequest | Remedy | Locking | Fetching
Request = Asking | Known | ArchiveRequest
Answer = Progress | Result | Failure

REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="ask")])
ANSWER: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="answer")])
