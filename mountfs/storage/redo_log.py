"""What the journal's database does not have yet: appended by plain writes, for which nobody has to wait.

A batch that was written here survives the death of the process; the loss of power it survives only in the
database. Each line is a checksum and JSON; the first names the run of the daemon that wrote the file, so that
a log whose batches the database has taken over is known for an old one.
"""

import json
import logging
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.ids import Ino
from mountfs.storage import untrusted_json
from mountfs.storage.system_disk import SYSTEM_DISK

log = logging.getLogger(__name__)

MOST_BYTES: Final = 64 * 1024 * 1024
"""A log of this size takes no more until the database has caught up."""

Values = tuple[int | str | bytes | None, ...]


@dataclass(frozen=True, slots=True)
class LoggedBatch:
    """The rows of the batches `first` to `last` by key, the newest of each; None erases."""

    first: int
    last: int
    entries: dict[Ino, Values | None]
    uploads: dict[Ino, Values | None]
    facts: dict[str, str | None]


class RedoLog:
    """The log of this run; to be used from one thread."""

    def __init__(self, path: Path, *, run: int, disk: Disk = SYSTEM_DISK) -> None:
        """Begin an empty log in place of an earlier one. Raises OSError."""
        self._disk = disk
        self._descriptor = disk.open(DiskStep.BEGIN_LOG, path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        first = _line(run)
        self._begin = disk.write(DiskStep.BEGIN_LOG, self._descriptor, first, 0)
        self._usable = self._begin == len(first)
        self._end = self._begin

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def bytes_used(self) -> int:
        return self._end - self._begin

    def append(self, batch: LoggedBatch) -> bool:
        """Write the batch; return False, with nothing of it in the log, where the disk does not take it."""
        content = _line(
            [batch.first, batch.last, _pairs(batch.entries), _pairs(batch.uploads), _pairs(batch.facts)]
        )
        if not self._usable or self._end + len(content) > MOST_BYTES:
            return False
        try:
            written = self._disk.write(DiskStep.APPEND_LOG, self._descriptor, content, self._end)
            complete = written == len(content)
        except OSError:
            complete = False
        if complete:
            self._end += len(content)
        else:
            self._cut()
        return complete

    def clear(self) -> None:
        """The database has all of it."""
        self._end = self._begin
        self._cut()

    def _cut(self) -> None:
        try:
            self._disk.resize(DiskStep.CUT_LOG, self._descriptor, self._end)
        except OSError as error:
            # What is behind the end would be taken for a part of the log.
            self._usable = False
            log.error("the journal's log cannot be used any more in this run: %s", error.strerror)


def read(path: Path, *, run: int, applied: int) -> list[LoggedBatch]:
    """Return what the log of this run has beyond batch `applied`, in order, up to the first gap or damage.

    Raises OSError.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    if not lines or _parsed(lines[0]) != run:
        return []
    missing: list[LoggedBatch] = []
    for line in lines[1:]:
        batch = _batch(line)
        if batch is None or batch.first > applied + 1:
            break
        if batch.last > applied:
            missing.append(batch)
            applied = batch.last
    return missing


def _line(value: object) -> bytes:
    content = _to_json(value).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _wrap_bytes(value: object) -> list[str]:
    # A list of one string: no other value of a row is a list.
    assert isinstance(value, bytes)
    return [value.decode("latin-1")]


# Nothing in it refers to itself, and looking for that takes as long as the rest.
_to_json: Final = json.JSONEncoder(separators=(",", ":"), default=_wrap_bytes, check_circular=False).encode


def _pairs(rows: dict[Any, Any]) -> list[tuple[Any, Any]]:
    return list(rows.items())


def _parsed(line: bytes) -> Any:
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(content):
        return None
    try:
        return untrusted_json.loads(content)
    except ValueError:
        return None


def _batch(line: bytes) -> LoggedBatch | None:
    parsed = _parsed(line)
    if parsed is None:
        return None
    try:
        first, last, entries, uploads, facts = parsed
        return LoggedBatch(int(first), int(last), _rows(entries), _rows(uploads), dict(facts))
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError):
        return None  # a sound checksum on what we never wrote


def _rows(pairs: Iterable[tuple[int, list[Any] | None]]) -> dict[Ino, Values | None]:
    return {Ino(int(key)): None if row is None else tuple(map(_unwrap, row)) for key, row in pairs}


def _unwrap(value: int | str | list[str] | None) -> int | str | bytes | None:
    return value[0].encode("latin-1") if isinstance(value, list) else value
