"""The control protocol: JSON lines over a Unix socket, one request per connection.

The client sends one request line. The daemon answers with any number of `Progress` lines, at least one in
`HEARTBEAT_S`, and then exactly one `Result` or `Failure`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from mountfs.daemon.archive_messages import ArchiveRequest
from mountfs.daemon.message import Message as _Message
from mountfs.model.conflict import Keep

MAX_LINE_BYTES = 16 * 1024 * 1024
HEARTBEAT_S = 1.0


class StatusRequest(_Message):
    ask: Literal["status"] = "status"


class HealthRequest(_Message):
    """Answered with `Health`, and cheap whatever there is to send."""

    ask: Literal["health"] = "health"


class SyncRequest(_Message):
    """`path` is relative to the root of the mount; None means everything."""

    ask: Literal["sync"] = "sync"
    path: bytes | None
    timeout_s: float | None


class DrainRequest(_Message):
    ask: Literal["drain"] = "drain"
    timeout_s: float


class LocksRequest(_Message):
    """`path` is relative to the root of the mount; None means what is in use here."""

    ask: Literal["locks"] = "locks"
    path: bytes | None


class UnlockRequest(_Message):
    ask: Literal["unlock"] = "unlock"
    path: bytes


class FetchRequest(_Message):
    """Bring what is missing at or below the path, and keep it where `pin` says so."""

    ask: Literal["fetch"] = "fetch"
    path: bytes
    pin: bool


class UnpinRequest(_Message):
    ask: Literal["unpin"] = "unpin"
    path: bytes


class StopRequest(_Message):
    """Answered when the daemon has begun to stop; its record tells later how it ended."""

    ask: Literal["stop"] = "stop"
    drain_timeout_s: float


class UpgradeRequest(_Message):
    """Answered when the mount is handed over: whoever answers the next request is the installed version."""

    ask: Literal["upgrade"] = "upgrade"


class AuditRequest(_Message):
    ask: Literal["audit"] = "audit"
    deep: bool = False


class ConflictsRequest(_Message):
    ask: Literal["conflicts"] = "conflicts"
    path: bytes | None


class ResolveRequest(_Message):
    ask: Literal["resolve"] = "resolve"
    path: bytes
    keep: Keep


class ExtractRequest(_Message):
    ask: Literal["extract"] = "extract"
    path: bytes
    folder: str


class RetryRequest(_Message):
    ask: Literal["retry"] = "retry"
    path: bytes | None
    timeout_s: float | None


class DiscardRequest(_Message):
    """`folder`: where copies go; None: into the cache directory."""

    ask: Literal["discard"] = "discard"
    path: bytes
    folder: str | None


class Progress(_Message):
    """`entries_left` is None where the daemon only says that it is at work."""

    answer: Literal["progress"] = "progress"
    entries_left: int | None = None
    bytes_left: int | None = None


class Result(_Message):
    answer: Literal["result"] = "result"
    value: Any


class Failure(_Message):
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
