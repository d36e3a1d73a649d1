"""How a line of the log looks: for people, for programs that take JSON lines, and for systemd's journal."""

import json
import logging
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mountfs.daemon.settings import Secret

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
_HIDDEN: Final = "***"
_MOST_BYTES: Final = 48 * 1024
"""Of one field: what is longer would not fit into a datagram."""

_PRIORITIES: Final = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}


def _without(hidden: Iterable[Secret], text: str) -> str:
    for secret in hidden:
        text = text.replace(secret.reveal(), _HIDDEN)
    return text


class HumanFormatter(logging.Formatter):
    """The last line of defence: no code logs the token on purpose, but foreign errors may quote headers."""

    def __init__(self, secret: Secret, *, tracebacks: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.hidden = {secret}
        """Also tokens of before, which may still be valid."""
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        if not self._tracebacks:
            record.exc_info = record.exc_text = None
        return _without(self.hidden, super().format(record))


class RecordFields(logging.Formatter):
    """What a record says, by names: `time`, `level`, `logger`, `message`, `exception` where there is one, and
    `fixed`, which are the same for each. Without the token, before anything is escaped."""

    def __init__(self, secret: Secret, fixed: Mapping[str, str]) -> None:
        super().__init__()
        self.hidden = {secret}
        self._fixed = dict(fixed)

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return {name: _without(self.hidden, text) for name, text in (told | self._fixed).items()}


class JsonFormatter(RecordFields):
    """One object on each line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record))


class JournalHandler(logging.Handler):
    """Sends each record to systemd's journal, with fields of its own: MOUNTFS_MOUNTPOINT, MOUNTFS_WORKSPACE,
    MOUNTFS_LOGGER and EXCEPTION beside those that journald knows. What it does not take is dropped."""

    def __init__(self, fields: RecordFields, path: Path = JOURNAL_SOCKET) -> None:
        super().__init__()
        self.fields = fields
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told = self.fields.fields(record)
            named = {
                "MESSAGE": told.pop("message"),
                "PRIORITY": str(_PRIORITIES.get(record.levelno, 6)),
                "SYSLOG_IDENTIFIER": "mountfs",
                "CODE_FILE": record.pathname,
                "CODE_LINE": str(record.lineno),
                "EXCEPTION": told.pop("exception", ""),
                **{f"MOUNTFS_{name.upper()}": text for name, text in told.items() if name not in _OWN},
            }
            datagram = b"".join(_field(name, text) for name, text in named.items() if text)
            self._socket.sendto(datagram, socket.MSG_DONTWAIT, self._path)
        except OSError:
            pass  # the journal is away or full: there is nowhere to say so
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


_OWN: Final = frozenset({"time", "level"})
"""journald has its own words for these."""


def _field(name: str, text: str) -> bytes:
    """Return the field with its length in front of the value, so that it may have lines."""
    value = text.encode(errors="backslashreplace")[:_MOST_BYTES]
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def is_journal(descriptor: int) -> bool:
    """Tell whether the descriptor leads to systemd's journal, as JOURNAL_STREAM says."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False
