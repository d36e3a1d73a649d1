"""The journal: a SQLite database in WAL mode, written by one thread that groups what came meanwhile."""

import errno
import json
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import trio

from mountfs.model.conflict import Conflict
from mountfs.model.disk import Disk, DiskStep
from mountfs.model.entry import EntryRecord, OpenUpload
from mountfs.model.errors import StorageError
from mountfs.model.ids import ROOT_INO, Ino, NodeId
from mountfs.model.remote import KnownLease
from mountfs.storage import journal_database as database
from mountfs.storage import redo_log, schema
from mountfs.storage.journal_database import Batch
from mountfs.storage.reserve import Reserve
from mountfs.storage.system_disk import SYSTEM_DISK

log = logging.getLogger(__name__)

INO_BLOCK: Final = 10_000
"""Inode numbers are reserved on disk in blocks, so that most new files cost no extra row."""

RETRY_S: Final = 0.5
"""How long the writer waits before it tries a refused transaction again."""

RESERVE_AGAIN_S: Final = 1.0
"""How soon the journal looks whether a full disk has room again."""

GATHER_S: Final = 0.05
"""How long a transaction gathers while nobody waits for it."""

LOGGED_ROWS: Final = 1000
"""More rows than this are not worth the trio thread's time: who waits for them waits for the database."""

CLEAR_BYTES: Final = 256 * 1024
"""The redo log is emptied when it is larger than this and the database has all of it."""


class SqliteJournal:
    """Implements `mountfs.model.storage.Journal`.

    Records gather in memory during a synchronous stretch of the trio thread and are handed to the writer
    thread at its end, so that a transaction never splits one. `committed` means written to the redo log or
    to the database's WAL (it survives the death of the process); `synced` means that the WAL is on stable
    storage. What only the redo log has is brought into the database when the journal is opened.
    """

    def __init__(self, path: Path, *, workspace: str, disk: Disk = SYSTEM_DISK) -> None:
        """Open or create the journal. Raises CacheTooNew, CacheUnusable (damaged, of another workspace)."""
        self._path = path
        self._disk = disk
        self._reader = database.connect(path)
        self._reader_lock = threading.Lock()
        database.prepare(self._reader, path, workspace, disk)
        self._redo = database.open_redo_log(self._reader, path, disk)
        self.lost_power = database.lost_power(self._reader)
        """Whether the host ended before the last user of this journal did."""
        self._unlogged: list[Batch] = []
        ceiling = self._reader.execute("SELECT value FROM facts WHERE name = 'ino_ceiling'").fetchone()
        self._next_ino = int(ceiling[0]) if ceiling else 2
        self.first_new_ino = Ino(self._next_ino)
        """Every inode number of an earlier start is lower."""
        self._ino_ceiling = self._next_ino + INO_BLOCK
        database.reserve_inos(self._reader, path, self._ino_ceiling, disk)
        self._gathering = Batch()
        self._gathered: dict[Ino, EntryRecord | None] = {}
        """The entries of `_gathering`; only the last record of each becomes a row."""
        self._outstanding: deque[Batch] = deque()
        """What the writer thread has not reported yet, oldest first."""
        self._hand_over_due = False
        self._handed_over = 0
        self._done = 0
        self._synced = 0
        self._refused: StorageError | None = None
        self._waiting = trio.lowlevel.ParkingLot()
        self._queue: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._urgent = threading.Event()
        """Somebody waits for the database."""
        self._reserve: Reserve | None = None
        """Used by the writer thread alone once that has started."""
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the writer thread; to be called once, from the trio thread."""
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._write_batches, name="journal", daemon=True)
        self._thread.start()

    async def aclose(self) -> None:
        """Commit and sync what was recorded, then end the writer thread. Bounded by the disk alone."""
        thread = self._thread
        if thread is not None:
            self._gathering.facts[database.IN_USE_SINCE] = None
            self._gathering.sync = self._gathering.last = True
            self._hand_over()
            self._urgent.set()
            await trio.to_thread.run_sync(thread.join)
            self._thread = None
        if self._reserve is not None:
            self._reserve.close()
        self._redo.close()
        self._reader.close()

    # Recording: synchronous, on the trio thread.

    def check_writable(self) -> None:
        if self._refused is not None:
            raise self._refused

    def has_reserve(self) -> bool:
        return self._reserve is None or self._reserve.held

    def record(self, *entries: EntryRecord) -> None:
        for entry in entries:
            self._gathered[entry.ino] = entry
        self._schedule_hand_over()

    def erase(self, ino: Ino) -> None:
        self._gathered[ino] = None
        self._schedule_hand_over()

    def record_upload(self, upload: OpenUpload) -> None:
        self._gathering.uploads[upload.ino] = schema.upload_row(upload)
        self._schedule_hand_over()

    def erase_upload(self, ino: Ino) -> None:
        self._gathering.uploads[ino] = None
        self._schedule_hand_over()

    def record_conflict(self, conflict: Conflict) -> None:
        self._gathering.facts[schema.conflict_fact(conflict.ino)] = schema.conflict_value(conflict)
        self._schedule_hand_over()

    def record_lease(self, lease: KnownLease) -> None:
        self._gathering.facts[schema.lease_fact(lease.ino)] = schema.lease_value(lease)
        self._schedule_hand_over()

    def erase_lease(self, ino: Ino) -> None:
        self._gathering.facts[schema.lease_fact(ino)] = None
        self._schedule_hand_over()

    def record_pin(self, ino: Ino, path: bytes) -> None:
        self._gathering.facts[schema.pin_fact(ino)] = schema.pin_value(path)
        self._schedule_hand_over()

    def erase_pin(self, ino: Ino) -> None:
        self._gathering.facts[schema.pin_fact(ino)] = None
        self._schedule_hand_over()

    def erase_conflict(self, ino: Ino) -> None:
        self._gathering.facts[schema.conflict_fact(ino)] = None
        self._schedule_hand_over()

    def record_request(self, node: NodeId, place: tuple[NodeId, str]) -> None:
        self._gathering.facts[schema.request_fact(node)] = json.dumps(place)
        self._schedule_hand_over()

    def erase_request(self, node: NodeId) -> None:
        self._gathering.facts[schema.request_fact(node)] = None
        self._schedule_hand_over()

    def new_ino(self) -> Ino:
        ino = self._next_ino
        self._next_ino += 1
        if ino + INO_BLOCK // 2 >= self._ino_ceiling:
            # Early enough to be on disk before the first of them is used.
            self._ino_ceiling += INO_BLOCK
            self._gathering.facts["ino_ceiling"] = str(self._ino_ceiling)
            self._schedule_hand_over()
        return Ino(ino)

    def _schedule_hand_over(self) -> None:
        if not self._hand_over_due and self._token is not None:
            self._hand_over_due = True
            self._token.run_sync_soon(self._hand_over_in_turn)

    def _hand_over_in_turn(self) -> None:
        self._hand_over_due = False
        self._hand_over()

    def _hand_over(self) -> None:
        batch, self._gathering = self._gathering, Batch()
        if self._gathered:
            batch.entries = {
                ino: None if entry is None else schema.entry_row(entry)
                for ino, entry in self._gathered.items()
            }
            self._gathered.clear()
        if batch.is_empty():
            return
        self._handed_over += 1
        batch.number = self._handed_over
        self._unlogged.append(batch)
        self._outstanding.append(batch)
        self._queue.put(batch)

    # Waiting for the disk.

    def is_readable(self) -> bool:
        return self._gathering.is_empty() and not self._gathered and self._done == self._handed_over

    def unwritten(self) -> set[Ino]:
        return set(self._gathered).union(*(batch.entries for batch in self._outstanding))

    async def committed(self) -> None:
        self._hand_over()
        if self._refused is None and self._log():
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        self._urgent.set()
        number = self._handed_over
        while self._done < number:
            self.check_writable()
            await self._waiting.park()

    def _log(self) -> bool:
        """Write to the redo log what the database may not have yet; return whether all of it is there."""
        if not self._unlogged:
            return True
        if sum(batch.rows() for batch in self._unlogged) > LOGGED_ROWS:
            return False
        together = Batch()
        for batch in self._unlogged:
            together.absorb(batch)
        logged = self._redo.append(
            redo_log.LoggedBatch(
                first=self._unlogged[0].number,
                last=together.number,
                entries=together.entries,
                uploads=together.uploads,
                facts=together.facts,
            )
        )
        if logged:
            self._unlogged.clear()
        return logged

    async def synced(self) -> None:
        self._gathering.sync = True
        self._hand_over()
        self._urgent.set()
        number = self._handed_over
        while self._synced < number:
            self.check_writable()
            await self._waiting.park()

    def _report_done(self, batch: Batch) -> None:
        self._done = batch.number
        if batch.sync:
            self._synced = batch.number
        self._refused = None
        while self._outstanding and self._outstanding[0].number <= batch.number:
            self._outstanding.popleft()
        self._unlogged = [waiting for waiting in self._unlogged if waiting.number > batch.number]
        if self._done == self._handed_over and self._redo.bytes_used > CLEAR_BYTES:
            self._redo.clear()
        self._waiting.unpark_all()

    def _report_refused(self, error: StorageError) -> None:
        self._refused = error
        self._waiting.unpark_all()

    # The writer thread.

    def _write_batches(self) -> None:
        connection = database.connect(self._path)
        assert self._token is not None
        try:
            batch = Batch()
            while not batch.last:
                batch = self._next_batch()
                self._write_until_accepted(connection, batch)
        except trio.RunFinishedError:
            log.warning("the journal's writer ends with the event loop")
        finally:
            connection.close()

    def _next_batch(self) -> Batch:
        batch = Batch()
        batch.absorb(self._wait_for_batch())
        # The redo log has it already: a transaction for each close would take the processor from programs.
        self._urgent.wait(GATHER_S)
        self._urgent.clear()
        while True:
            try:
                batch.absorb(self._queue.get_nowait())
            except queue.Empty:
                return batch

    def _wait_for_batch(self) -> Batch:
        while True:
            try:
                return self._queue.get(timeout=None if self.has_reserve() else RESERVE_AGAIN_S)
            except queue.Empty:
                assert self._reserve is not None
                self._reserve.hold_again()

    def _write_until_accepted(self, connection: sqlite3.Connection, batch: Batch) -> None:
        assert self._token is not None
        while True:
            try:
                database.write(self._disk, DiskStep.COMMIT_JOURNAL, self._path, connection, batch)
            except Exception as error:
                # Whatever it is, the records are kept, whoever waits is told, and the thread lives on.
                refusal = database.storage_error(self._path, error)
                if refusal.errno == errno.ENOSPC and self._reserve is not None and self._reserve.give_up():
                    continue
                log.error("%s; trying again", refusal.message)
                self._token.run_sync_soon(self._report_refused, refusal)
                if batch.last:
                    return
                try:
                    batch.absorb(self._queue.get(timeout=RETRY_S))
                except queue.Empty:
                    continue
            else:
                if self._reserve is not None:
                    self._reserve.hold_again()
                self._token.run_sync_soon(self._report_done, batch)
                return

    # Reading what is not in memory.

    async def children(self, parent: Ino) -> Sequence[EntryRecord]:
        return await self._select(f"{schema.SELECT_ENTRY} WHERE parent = ?", (parent,))

    async def by_node(self, nodes: Sequence[NodeId]) -> Sequence[EntryRecord]:
        return await self._select(schema.select_by_node(len(nodes)), tuple(nodes))

    async def by_ino(self, ino: Ino) -> EntryRecord | None:
        found = await self._select(f"{schema.SELECT_ENTRY} WHERE ino = ?", (ino,))
        return found[0] if found else None

    async def pending(self) -> Sequence[EntryRecord]:
        """Return what the remote has something to learn of, oldest first."""
        return await self._select(schema.SELECT_PENDING, ())

    async def open_uploads(self) -> Sequence[OpenUpload]:
        def select() -> list[OpenUpload]:
            with self._reader_lock:
                return [schema.upload_record(row) for row in self._reader.execute("SELECT * FROM uploads")]

        return await trio.to_thread.run_sync(select)

    async def leases(self) -> Sequence[KnownLease]:
        """Return those that an earlier run had when it died. What cannot be read is left out, and logged."""

        def select() -> list[KnownLease]:
            found = []
            for name, value in self._rows(schema.SELECT_LEASES):
                try:
                    found.append(schema.lease_record(name, value))
                except (ValueError, TypeError) as error:
                    log.error("the journal's record %r cannot be read: %s", name, error)
            return found

        return await trio.to_thread.run_sync(select)

    async def pins(self) -> Sequence[tuple[Ino, bytes]]:
        """Return what is pinned. What cannot be read is left out, and logged."""

        def select() -> list[tuple[Ino, bytes]]:
            found = []
            for name, value in self._rows(schema.SELECT_PINS):
                try:
                    found.append(schema.pin_record(name, value))
                except (ValueError, TypeError) as error:
                    log.error("the journal's record %r cannot be read: %s", name, error)
            return found

        return await trio.to_thread.run_sync(select)

    async def files_below(self, tops: Sequence[Ino]) -> Sequence[tuple[Ino, int]]:
        def select() -> list[tuple[Ino, int]]:
            rows = self._rows(schema.select_files_below(len(tops)), tops)
            return [(Ino(ino), size) for ino, size in rows]

        return await trio.to_thread.run_sync(select)

    async def conflicts(self) -> Sequence[Conflict]:
        """Return what nobody has resolved yet. What cannot be read is left out, and logged."""

        def select() -> list[Conflict]:
            found = []
            for name, value in self._rows(schema.SELECT_CONFLICTS):
                try:
                    found.append(schema.conflict_record(name, value))
                except (ValueError, KeyError, TypeError) as error:
                    log.error("the journal's record %r cannot be read: %s", name, error)
            return found

        return await trio.to_thread.run_sync(select)

    async def requests(self) -> dict[NodeId, tuple[NodeId, str]]:
        def select() -> dict[NodeId, tuple[NodeId, str]]:
            return dict(schema.request_record(*row) for row in self._rows(schema.SELECT_REQUESTS))

        return await trio.to_thread.run_sync(select)

    def pending_entries(self) -> list[EntryRecord]:
        """Return what `pending` does. Blocks; for recovery. Raises CacheUnusable."""
        return [schema.entry_record(row) for row in self._rows(schema.SELECT_PENDING)]

    def exposed_entries(self) -> list[EntryRecord]:
        """Return whose content programs could write to past the daemon. Blocks. Raises CacheUnusable."""
        return [schema.entry_record(row) for row in self._rows(schema.SELECT_EXPOSED)]

    def unlinked_inos(self) -> list[Ino]:
        """Return whose entries have no name any more. Blocks; for recovery. Raises CacheUnusable."""
        return [Ino(row[0]) for row in self._rows(schema.SELECT_UNLINKED, (ROOT_INO,))]

    def known_inos(self, inos: Sequence[Ino]) -> set[Ino]:
        """Return which of these have an entry. Blocks. Raises CacheUnusable."""
        return {Ino(row[0]) for row in self._rows(schema.select_known(len(inos)), inos)}

    def _rows(self, statement: str, arguments: Sequence[object] = ()) -> list[sqlite3.Row]:
        with self._reader_lock:
            try:
                return self._reader.execute(statement, arguments).fetchall()
            except sqlite3.Error as error:
                raise database.damaged(self._path, error) from error

    def all_inos(self) -> set[Ino]:
        """Return every inode number that has an entry. Blocks; for recovery and audit."""
        with self._reader_lock:
            return {Ino(row[0]) for row in self._reader.execute("SELECT ino FROM entries")}

    def everything(self) -> tuple[list[EntryRecord], list[OpenUpload]]:
        """Return all that is on disk at one moment. Blocks; for recovery and audit. Raises CacheUnusable."""
        with self._reader_lock:
            try:
                self._reader.execute("BEGIN")
                entries = [schema.entry_record(row) for row in self._reader.execute(schema.SELECT_ENTRY)]
                uploads = [schema.upload_record(row) for row in self._reader.execute("SELECT * FROM uploads")]
            except (sqlite3.Error, ValueError) as error:
                raise database.damaged(self._path, error) from error
            finally:
                self._reader.rollback()
        return entries, uploads

    def integrity_faults(self) -> list[str]:
        """Return what SQLite finds wrong with the database. Blocks; for the audit."""
        with self._reader_lock:
            try:
                rows = self._reader.execute("PRAGMA integrity_check").fetchall()
            except sqlite3.DatabaseError as error:
                return [str(error)]
        return [row[0] for row in rows if row[0] != "ok"]

    # Before the start.

    def repair(self, entries: Iterable[EntryRecord]) -> None:
        """Replace these entries, on stable storage when it returns. Blocks; only before `start`.

        Either all are replaced or none. Raises StorageError.
        """
        self._write_alone(Batch(entries={entry.ino: schema.entry_row(entry) for entry in entries}, sync=True))

    def begin_use(self) -> None:
        """What the loss of power left is repaired: from here on another one would be noticed. Takes the room
        that is kept for the journal. Blocks; only before `start`. Raises StorageError."""
        self._write_alone(Batch(facts={database.IN_USE_SINCE: database.boot_id()}))
        try:
            self._reserve = Reserve(self._path.with_name("reserve"), self._disk)
        except OSError as error:
            raise database.storage_error(self._path, error) from error

    def _write_alone(self, batch: Batch) -> None:
        assert self._thread is None, "the writer thread has its own view of what is to be written"
        with self._reader_lock:
            try:
                database.write(self._disk, DiskStep.RECOVER_ENTRIES, self._path, self._reader, batch)
            except (sqlite3.Error, OSError) as error:
                raise database.storage_error(self._path, error) from error

    async def _select(self, statement: str, arguments: tuple[object, ...]) -> list[EntryRecord]:
        def select() -> list[EntryRecord]:
            with self._reader_lock:
                return [schema.entry_record(row) for row in self._reader.execute(statement, arguments)]

        return await trio.to_thread.run_sync(select)
