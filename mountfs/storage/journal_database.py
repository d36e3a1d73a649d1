"""The database of the journal: how it is opened, brought up to date and written."""

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.errors import CacheTooNew, CacheUnusable, StorageError
from mountfs.model.ids import Ino
from mountfs.storage import redo_log, schema
from mountfs.storage.layout import errno_of, room_hint

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S: Final = 5.0

IN_USE_SINCE: Final = "boot"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class Batch:
    """Rows by key, the newest of each; None erases."""

    entries: dict[Ino, schema.Row | None] = field(default_factory=dict)
    uploads: dict[Ino, schema.Row | None] = field(default_factory=dict)
    facts: dict[str, str | None] = field(default_factory=dict)
    sync: bool = False
    last: bool = False
    number: int = 0

    def absorb(self, later: "Batch") -> None:
        self.entries.update(later.entries)
        self.uploads.update(later.uploads)
        self.facts.update(later.facts)
        self.sync |= later.sync
        self.last |= later.last
        self.number = later.number

    def is_empty(self) -> bool:
        return not (self.entries or self.uploads or self.facts or self.sync)

    def rows(self) -> int:
        return len(self.entries) + len(self.uploads) + len(self.facts)


def connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    return connection


def workspace_of(path: Path) -> str:
    """Return the id of the workspace that this journal is of. Raises CacheUnusable."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            found = connection.execute("SELECT value FROM facts WHERE name = 'workspace'").fetchone()
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    if found is None:
        raise CacheUnusable(f"the journal {path} does not tell of which workspace it is")
    return str(found[0])


def prepare(connection: sqlite3.Connection, path: Path, workspace: str, disk: Disk) -> None:
    def bring_up_to_date() -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for number in range(written_as, schema.FORMAT):
                for statement in schema.MIGRATIONS[number]:
                    connection.execute(statement)
            for statement in schema.INDEXES:
                connection.execute(statement)
            connection.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [("format", str(schema.FORMAT)), ("workspace", workspace)],
            )

    try:
        disk.commit(DiskStep.OPEN_JOURNAL, lambda: connection.executescript(schema.TABLES))
        facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
        written_as = int(facts.get("format", schema.FORMAT))
        if written_as > schema.FORMAT:
            raise CacheTooNew(f"the cache {path.parent} was written by a newer mountfs")
        if facts.get("workspace", workspace) != workspace:
            raise CacheUnusable(
                f"the cache {path.parent} belongs to workspace {facts['workspace']}, not {workspace}",
                hint="choose another --cache",
            )
        disk.commit(DiskStep.OPEN_JOURNAL, bring_up_to_date)
    except (sqlite3.Error, OSError) as error:
        raise damaged(path, error) from error


def open_redo_log(connection: sqlite3.Connection, path: Path, disk: Disk) -> redo_log.RedoLog:
    """Bring into the database what only the redo log has, and begin a new one. Raises CacheUnusable."""
    log_path = path.with_name(path.name + "-redo")
    facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    run, applied = int(facts.get("run", 0)), int(facts.get("applied", 0))
    batch = Batch(facts={"run": str(run + 1)})
    try:
        for logged in redo_log.read(log_path, run=run, applied=applied):
            entries = {ino: row and schema.completed(row) for ino, row in logged.entries.items()}
            batch.absorb(Batch(entries, logged.uploads, logged.facts))
        if batch.rows() > 1:
            log.info("%d rows of the journal come from its redo log", batch.rows() - 1)
        write(disk, DiskStep.RECOVER_LOG, path, connection, batch)
        return redo_log.RedoLog(log_path, run=run + 1, disk=disk)
    except (sqlite3.Error, OSError, ValueError) as error:
        raise damaged(path, error) from error


def lost_power(connection: sqlite3.Connection) -> bool:
    """Tell whether the host ended before the last user of the journal did."""
    row = connection.execute("SELECT value FROM facts WHERE name = ?", [IN_USE_SINCE]).fetchone()
    return row is not None and row[0] != boot_id()


def boot_id() -> str:
    """Return what names this boot of the host."""
    return BOOT_ID.read_text().strip()


def write(disk: Disk, step: DiskStep, path: Path, connection: sqlite3.Connection, batch: Batch) -> None:
    disk.commit(step, lambda: _execute(connection, batch))
    if batch.sync:
        disk.sync_path(DiskStep.SYNC_JOURNAL, path.with_name(path.name + "-wal"))


def _execute(connection: sqlite3.Connection, batch: Batch) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(schema.PUT_ENTRY, [row for row in batch.entries.values() if row])
        connection.executemany(
            "DELETE FROM entries WHERE ino = ?", [(ino,) for ino, row in batch.entries.items() if not row]
        )
        connection.executemany(schema.PUT_UPLOAD, [row for row in batch.uploads.values() if row])
        connection.executemany(
            "DELETE FROM uploads WHERE ino = ?", [(ino,) for ino, row in batch.uploads.items() if not row]
        )
        connection.executemany(
            "INSERT OR REPLACE INTO facts VALUES (?, ?)", [fact for fact in batch.facts.items() if fact[1]]
        )
        connection.executemany(
            "DELETE FROM facts WHERE name = ?", [(name,) for name, value in batch.facts.items() if not value]
        )
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('applied', ?)", [str(batch.number)])


def reserve_inos(connection: sqlite3.Connection, path: Path, ceiling: int, disk: Disk) -> None:
    statement = "INSERT OR REPLACE INTO facts VALUES ('ino_ceiling', ?)"
    try:
        disk.commit(DiskStep.OPEN_JOURNAL, lambda: connection.execute(statement, [str(ceiling)]))
    except (sqlite3.Error, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> CacheUnusable:
    return CacheUnusable(
        f"the journal {path} cannot be used: {error}",
        hint=room_hint(error) or "keep a copy of it; mountfs doctor tells more",
    )


def storage_error(path: Path, error: Exception) -> StorageError:
    return StorageError(f"the journal {path} cannot be written: {error}", errno=errno_of(error))
