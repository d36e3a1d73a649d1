"""The audit log of a mount: JSON lines, rotated. Each line is whole or missing after a crash."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mountfs.model.errors import StorageError
from mountfs.storage import untrusted_json

LOG_NAME: Final = "audit.jsonl"
FILE_BYTES: Final = 10 * 1024 * 1024
OLD_FILES: Final = 5


class EffectLog:
    """Appends to `folder/audit.jsonl`; full files become `audit.jsonl.1` and so on, the oldest goes.

    Every call may block on the disk.
    """

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES, old_files: int = OLD_FILES) -> None:
        self._path = folder / LOG_NAME
        self._file_bytes = file_bytes
        self._old_files = old_files

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Raises StorageError; then none of the rows, or some, are there."""
        lines = b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)
        try:
            with suppress(FileNotFoundError):
                if self._path.stat().st_size + len(lines) > self._file_bytes:
                    self._rotate()
            descriptor = self._open()
            try:
                unwritten = self._line_end(descriptor) + lines
                while unwritten:
                    # A disk that gets full takes a part, and refuses the rest.
                    unwritten = unwritten[os.write(descriptor, unwritten) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(
                f"the audit log {self._path} cannot be written: {error.strerror}", errno=error.errno or 0
            ) from error

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _line_end(self, descriptor: int) -> bytes:
        """Return what ends a line that a crash or a full disk left unfinished."""
        size = os.fstat(descriptor).st_size
        return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""

    def _rotate(self) -> None:
        for number in range(self._old_files, 0, -1):
            younger = numbered(self._path, number - 1)
            with suppress(FileNotFoundError):
                younger.rename(numbered(self._path, number))


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


class Reader:
    """Reads a log that somebody else writes, each row once, the oldest first, over rotations."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_NAME
        self._file = 0
        """The inode of the file that was read last."""
        self._offset = 0

    def new_rows(self) -> Iterator[dict[str, Any]]:
        """Yield what was not read before; what is no row, or not whole yet, is left out."""
        for path in self._unread():
            with suppress(FileNotFoundError), path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._file:
                    self._file, self._offset = inode, 0
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    row = _parsed(line)
                    if row is not None:
                        yield row

    def _unread(self) -> list[Path]:
        """Return the files from the one that was read last on, the oldest first."""
        files: list[Path] = []
        path, number = self._path, 0
        with suppress(FileNotFoundError):
            while True:
                inode = path.stat().st_ino
                files.append(path)
                if inode == self._file:
                    break
                number += 1
                path = numbered(self._path, number)
        return files[::-1]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the row of a line, None where it is none."""
    with suppress(ValueError):
        row = untrusted_json.loads(line)
        if isinstance(row, dict):
            return row
    return None
