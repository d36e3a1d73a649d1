"""The files of the control directory, `.mountfs` in the root of each mount: what `mountfs status` knows, to
be read by any program that can read a file."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import trio

from mountfs.daemon.event_stream import EventStream
from mountfs.daemon.running import LockState, Status, WaitingUpload
from mountfs.filesystem.overlay import OverlaidFilesystem
from mountfs.filesystem.virtual_tree import VirtualTree
from mountfs.model.errors import StorageError
from mountfs.model.filesystem import Filesystem
from mountfs.model.virtual import PLAIN, Snapshot, StaticDirectory, VirtualContent, VirtualNode

AUDIT_NAME: Final = "audit.jsonl"
"""Below the cache directory; whoever keeps the audit log appends there."""


class MadeFile:
    """A file whose content is made at each open. Implements `VirtualFile`."""

    look = PLAIN

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make

    async def open(self, flags: int) -> VirtualContent:
        return Snapshot(self._make())


class DiskFile:
    """A file of our disk, empty where there is none; what is appended while it is open is read as well.
    Implements `VirtualFile`."""

    look = PLAIN

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self, flags: int) -> VirtualContent:
        try:
            return _OnDisk(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError:
            return Snapshot(b"")
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}", errno=error.errno or 0) from error


class _OnDisk:
    is_stream = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self, offset: int, size: int) -> bytes:
        return await trio.to_thread.run_sync(os.pread, self._descriptor, size, offset)

    def close(self) -> None:
        os.close(self._descriptor)


def overlaid(
    inner: Filesystem,
    *,
    name: str,
    listed: bool,
    status: Callable[[], Status],
    waiting: Callable[[], list[WaitingUpload]],
    events: EventStream,
    cache_dir: Path,
    branches: Mapping[bytes, VirtualNode],
) -> Filesystem:
    """Return the file system with the control directory in its root; as it is where `name` is empty.

    `branches` are more entries of the directory, by name.
    """
    if not name:
        return inner
    files: dict[bytes, VirtualNode] = {
        b"status.json": MadeFile(lambda: status_json(status())),
        b"uploads": MadeFile(lambda: upload_lines(waiting())),
        b"locks": MadeFile(lambda: lock_lines(status().locks)),
        b"audit.jsonl": DiskFile(cache_dir / AUDIT_NAME),
        b"events": events,
    }
    top = StaticDirectory({**files, **branches})
    encoded = os.fsencode(name)
    virtual = VirtualTree(top, name=encoded, uid=os.getuid(), gid=os.getgid())
    return OverlaidFilesystem(inner, virtual, name=encoded, listed=listed)


def status_json(status: Status) -> bytes:
    """Return the object that `mountfs status --json` has for this mount."""
    return json.dumps({"answers": True, **asdict(status)}, indent=2).encode() + b"\n"


def upload_lines(waiting: list[WaitingUpload]) -> bytes:
    """A line for each change: state, bytes sent, bytes, path, and why it failed, with tabs between."""
    return _lines([each.state, each.sent_bytes, each.size_bytes, each.path, each.reason] for each in waiting)


def lock_lines(locks: tuple[LockState, ...]) -> bytes:
    """A line for each locked file: kind, owners, waiters, seconds left of the lease or -, lost, path."""
    return _lines(
        [
            lock.kind,
            lock.owners,
            lock.waiters,
            "-" if lock.lease_s is None else f"{lock.lease_s:.0f}",
            lock.lost,
            lock.path,
        ]
        for lock in locks
    )


def _lines(rows: Iterable[list[str | int]]) -> bytes:
    return "".join("\t".join(map(_field, row)) + "\n" for row in rows).encode()


def _field(value: str | int) -> str:
    """Return it without what would end a field or a line, or command a terminal."""
    return "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" for character in str(value)
    )
