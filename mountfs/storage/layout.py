"""The cache directory: what lies where, and that only one daemon works on it."""

import errno
import fcntl
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mountfs.model.errors import CacheInUse, CacheUnusable


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """Paths below one cache directory (see docs/architecture.md)."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def journal(self) -> Path:
        return self.root / "journal" / "journal.db"

    @property
    def content(self) -> Path:
        return self.root / "content"

    @property
    def saved(self) -> Path:
        """Copies of what programs gave up; nothing removes them."""
        return self.root / "saved"

    @property
    def index(self) -> Path:
        return self.root / "index"


class CacheDirectory:
    """The cache directory while this process owns it.

    The owner is whoever holds a flock on `lock`: it ends with the process, however that ends.
    """

    def __init__(self, layout: CacheLayout, lock_descriptor: int) -> None:
        self.layout = layout
        self._lock = lock_descriptor

    @classmethod
    def claimed(cls, root: Path, descriptor: int) -> Self:
        """Go on with the claim of the program that this process was before; see `keep_claim`."""
        return cls(CacheLayout(root), descriptor)

    @classmethod
    def claim(cls, root: Path) -> Self:
        """Create the directory where missing and claim it. Raises CacheUnusable, CacheInUse."""
        layout = CacheLayout(root)
        try:
            for folder in (root, layout.journal.parent, layout.content):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(root)
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CacheUnusable(
                f"the cache directory {root} cannot be used: {reason}",
                hint=room_hint(error) or "choose a writable directory by --cache",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise CacheInUse(
                f"the cache directory {root} is in use by another mount (process {owner or 'unknown'})"
            ) from error
        _tell_owner(descriptor)
        return cls(layout, descriptor)

    def keep_claim(self) -> int:
        """Return a descriptor by which the claim lasts beyond `release`."""
        return os.dup(self._lock)

    def release(self) -> None:
        os.close(self._lock)


def _tell_owner(descriptor: int) -> None:
    """Only for the message to a second one: on a full disk it stays unknown."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _check_private(root: Path) -> None:
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise CacheUnusable(f"the cache directory {root} belongs to another user")
    if status.st_mode & 0o077:
        root.chmod(0o700)


def errno_of(error: Exception) -> int:
    """Return what programs are told where the operating system, or SQLite, refused something of the cache."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return errno.ENOSPC if is_full else errno.EIO


def room_hint(error: Exception) -> str:
    """Tell what to do where the disk of the cache is full, "" where that is not what is wrong."""
    is_full = (
        error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, OSError)
        else getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    )
    return "make room on its disk, or choose another directory by --cache" if is_full else ""
