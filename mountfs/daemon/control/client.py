"""The other end of the control socket: plain blocking calls with a bound on silence."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mountfs.daemon.control.archive_messages import ArchiveRequest
from mountfs.daemon.control.messages import (
    ANSWER,
    MAX_LINE_BYTES,
    AuditRequest,
    ConflictsRequest,
    DiscardRequest,
    DrainRequest,
    ExtractRequest,
    Failure,
    FetchRequest,
    LocksRequest,
    Progress,
    Request,
    ResolveRequest,
    Result,
    RetryRequest,
    StatusRequest,
    StopRequest,
    SyncRequest,
    UnlockRequest,
    UnpinRequest,
    UpgradeRequest,
)
from mountfs.daemon.errors import DaemonSilent, ReportedError
from mountfs.daemon.running import (
    ConflictState,
    ExtractedSide,
    FetchOutcome,
    LockReport,
    RemoteHolder,
    Status,
    SyncOutcome,
)
from mountfs.daemon.runtime_dir import short_socket_path
from mountfs.model.conflict import Keep

SILENCE_S = 10.0
"""A daemon at work says so every second; after this long without a word it is taken to hang."""

_OVERTIME_S = 15.0
"""How much longer than its own limit a request may take."""

_STATUS: TypeAdapter[Status] = TypeAdapter(Status)
_CONFLICTS: TypeAdapter[list[ConflictState]] = TypeAdapter(list[ConflictState])
_SIDES: TypeAdapter[list[ExtractedSide]] = TypeAdapter(list[ExtractedSide])
_LOCKS: TypeAdapter[tuple[LockReport, ...]] = TypeAdapter(tuple[LockReport, ...])
_HOLDER: TypeAdapter[RemoteHolder | None] = TypeAdapter(RemoteHolder | None)
_FETCHED: TypeAdapter[FetchOutcome] = TypeAdapter(FetchOutcome)
_SYNC_OUTCOME: TypeAdapter[SyncOutcome] = TypeAdapter(SyncOutcome)


def _ignore(progress: Progress) -> None:
    """For requests whose progress nobody wants to see."""


class ControlClient:
    """Asks one daemon. Every call raises DaemonSilent where nothing answers, ReportedError where the daemon
    answered with an error."""

    def __init__(self, path: Path, *, silence_s: float = SILENCE_S) -> None:
        self._path = path
        self._silence_s = silence_s

    def status(self) -> Status:
        return _STATUS.validate_python(self._ask(StatusRequest()))

    def sync(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        limit_s = None if timeout_s is None else timeout_s + _OVERTIME_S
        outcome = self._ask(SyncRequest(path=path, timeout_s=timeout_s), limit_s=limit_s)
        return _SYNC_OUTCOME.validate_python(outcome)

    def drain(self, timeout_s: float, tell: Callable[[Progress], None]) -> int:
        """Return the number of entries left in the journal."""
        return int(self._ask(DrainRequest(timeout_s=timeout_s), tell, limit_s=timeout_s + _OVERTIME_S))

    def fetch(self, path: bytes, *, pin: bool, tell: Callable[[Progress], None]) -> FetchOutcome:
        return _FETCHED.validate_python(self._ask(FetchRequest(path=path, pin=pin), tell))

    def unpin(self, path: bytes) -> None:
        self._ask(UnpinRequest(path=path))

    def locks(self, path: bytes | None) -> tuple[LockReport, ...]:
        return _LOCKS.validate_python(self._ask(LocksRequest(path=path)))

    def unlock(self, path: bytes) -> RemoteHolder | None:
        """Return who held the lock, None where nobody did."""
        return _HOLDER.validate_python(self._ask(UnlockRequest(path=path)))

    def stop(self, *, drain_timeout_s: float) -> None:
        self._ask(StopRequest(drain_timeout_s=drain_timeout_s))

    def upgrade(self) -> None:
        """Have the mount handed over to the installed version; returns when the running one has let go."""
        self._ask(UpgradeRequest())

    def audit(self, *, deep: bool = False) -> list[str]:
        return [str(finding) for finding in self._ask(AuditRequest(deep=deep))]

    # What `Remedies` does.

    def conflicts(self, path: bytes | None) -> list[ConflictState]:
        return _CONFLICTS.validate_python(self._ask(ConflictsRequest(path=path)))

    def resolve(self, path: bytes, keep: Keep) -> list[str]:
        return [str(copy) for copy in self._ask(ResolveRequest(path=path, keep=keep))]

    def extract(self, path: bytes, folder: str) -> list[ExtractedSide]:
        return _SIDES.validate_python(self._ask(ExtractRequest(path=path, folder=folder)))

    def retry(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        limit_s = None if timeout_s is None else timeout_s + _OVERTIME_S
        outcome = self._ask(RetryRequest(path=path, timeout_s=timeout_s), limit_s=limit_s)
        return _SYNC_OUTCOME.validate_python(outcome)

    def discard(self, path: bytes, folder: str | None) -> list[str]:
        return [str(copy) for copy in self._ask(DiscardRequest(path=path, folder=folder))]

    def ask(self, request: ArchiveRequest, *, limit_s: float | None = None) -> Any:
        """Return what the daemon answers to a request about the past of its workspace, as JSON."""
        return self._ask(request, limit_s=limit_s)

    def _ask(
        self, request: Request, tell: Callable[[Progress], None] = _ignore, *, limit_s: float | None = None
    ) -> Any:
        deadline = None if limit_s is None else time.monotonic() + limit_s
        try:
            return self._converse(request, tell, deadline)
        except (OSError, ValidationError, EOFError) as error:
            raise DaemonSilent(f"the daemon does not answer at {self._path}: {_why(error)}") from error

    def _converse(self, request: Request, tell: Callable[[Progress], None], deadline: float | None) -> Any:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._silence_s)
            with short_socket_path(self._path) as address:
                _connect(connection, address, time.monotonic() + self._silence_s)
            connection.sendall(request.to_line())
            with connection.makefile("rb") as lines:
                while True:
                    answer = ANSWER.validate_json(_next_line(lines.readline(MAX_LINE_BYTES)))
                    match answer:
                        case Result():
                            return answer.value
                        case Failure():
                            raise ReportedError(answer.message, hint=answer.hint, types=answer.types)
                        case Progress():
                            tell(answer)
                    if deadline is not None and time.monotonic() > deadline:
                        raise TimeoutError


def _connect(connection: socket.socket, address: str, deadline: float) -> None:
    while True:
        with suppress(BlockingIOError):  # the backlog of a busy daemon is full
            connection.connect(address)
            return
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
        time.sleep(0.05)


def _next_line(line: bytes) -> bytes:
    if not line:
        raise EOFError
    return line


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it does not react in time"
        case OSError():
            return error.strerror or str(error)
        case EOFError():
            return "it ended while asked"
        case _:
            return "its answer is not understood; is it another version of mountfs?"
