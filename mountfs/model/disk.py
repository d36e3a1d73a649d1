"""The port to the file system that holds the cache: every step that changes it has a name.

Tests fail, shorten, record or never end a step by its name; see `tests/t1_storage/faulty_disk.py`.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mountfs.model.allocation import Allocation


class DiskStep(StrEnum):
    """What is done, and so what a crash in front of it, within it or behind it leaves."""

    CREATE_CONTENT = "create-content"
    NAME_CONTENT = "name-content"
    """An empty file that was made beforehand becomes the content of a new entry."""
    WRITE_CONTENT = "write-content"
    RESIZE_CONTENT = "resize-content"
    ALLOCATE_CONTENT = "allocate-content"
    """Room is reserved, a hole made, or a range zeroed."""
    COPY_CONTENT = "copy-content"
    """A program copies from file to file."""
    SYNC_CONTENT = "sync-content"
    SYNC_CONTENT_FOLDER = "sync-content-folder"
    WRITE_BACK_CONTENT = "write-back-content"
    REMOVE_CONTENT = "remove-content"
    EVICT_CONTENT = "evict-content"
    FETCH_CONTENT = "fetch-content"
    """A piece of a download goes to its place."""
    FIT_CONTENT = "fit-content"
    """A clean file gets the length that its version has."""
    STAGE_CONTENT = "stage-content"
    """A newer version, or a sealed state, arrives in a file without a name."""
    REPLACE_CONTENT = "replace-content"
    """A newer version goes in place of the older one."""
    COPY_ASIDE = "copy-aside"
    """Content that is in conflict gets a file of its own, which no entry has yet."""

    SET_ASIDE = "set-aside"
    """Damaged content goes to where it is kept for people."""
    SYNC_ASIDE = "sync-aside"

    SAVE_INDEX = "save-index"
    FORGET_INDEX = "forget-index"

    OPEN_JOURNAL = "open-journal"
    """Tables are made, migrated, and numbers reserved."""
    COMMIT_JOURNAL = "commit-journal"
    SYNC_JOURNAL = "sync-journal"
    BEGIN_LOG = "begin-log"
    APPEND_LOG = "append-log"
    CUT_LOG = "cut-log"

    RECOVER_LOG = "recover-log"
    """What only the redo log had goes into the database."""
    RECOVER_ENTRIES = "recover-entries"
    RECOVER_EMPTY = "recover-empty"
    """Content that is empty by the journal gets its file."""
    RECOVER_REMOVE = "recover-remove"
    RECOVER_COPY = "recover-copy"
    """Content that a program may still be writing to gets a file of its own."""

    RESERVE = "reserve"
    """Room that only the journal may use is taken or given up."""

    SAVE_COPY = "save-copy"
    SYNC_COPY = "sync-copy"
    SYNC_COPY_FOLDER = "sync-copy-folder"


class Disk(Protocol):
    """Each call is the one of the operating system, and raises OSError as that does.

    Reading is not in here: it changes nothing.
    """

    def open(self, step: DiskStep, path: str | Path, flags: int) -> int:
        """Return a descriptor; a file that is made can be used by its owner only."""
        ...

    def write(self, step: DiskStep, descriptor: int, content: bytes, offset: int) -> int:
        """Return how many bytes were written, which may be too few."""
        ...

    def resize(self, step: DiskStep, descriptor: int, size: int) -> None: ...

    def allocate(self, step: DiskStep, descriptor: int, allocation: Allocation) -> None: ...

    def copy(
        self, step: DiskStep, source: int, offset: int, target: int, target_offset: int, size: int
    ) -> int:
        """Copy up to `size` bytes, sharing them where the disk can; return how many were."""
        ...

    def sync(self, step: DiskStep, descriptor: int) -> None: ...

    def write_back(self, step: DiskStep, descriptor: int) -> None:
        """Return when no page of the file is dirty that was before; what outlives a loss of power is as it
        was."""
        ...

    def sync_path(self, step: DiskStep, path: Path) -> None:
        """Sync a file or a folder that is not open."""
        ...

    def unlink(self, step: DiskStep, path: Path) -> None: ...

    def rename(self, step: DiskStep, path: Path, target: Path) -> None: ...

    def link(self, step: DiskStep, descriptor: int, path: str) -> None:
        """Give a file that was made without a name this one, which must be free."""
        ...

    def commit(self, step: DiskStep, transaction: Callable[[], object]) -> None:
        """Run what ends in one commit of a database."""
        ...
