"""The database: one writer thread that commits in groups, and a few reader threads.

An answer to a mutation is given only after its commit. Jobs that wait while a commit is under way
share the next one; each runs in its own savepoint, so that a refused job leaves no trace in its
group.
"""

import asyncio
import itertools
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable, Result, create_engine, event, insert
from sqlalchemy.exc import DatabaseError

from mountfs.server import schema
from mountfs.server.behaviour import Behaviour
from mountfs.server.clock import now_us
from mountfs.server.names import NAME_KEYS
from mountfs.server.opaque_ids import shown

T = TypeVar("T")

_READERS = 4
_GROUP = 128
_record_activity = insert(schema.activity)


class DatabaseUnusable(Exception):
    """The database file is damaged, of a newer program, or cannot be opened."""


class Transaction:
    """What one mutation does: statements, announcements, topics to wake, blobs left without an owner."""

    def __init__(self, connection: Connection, behaviour: Behaviour) -> None:
        self._connection = connection
        self.behaviour = behaviour
        self.now_us = now_us()
        self.announcements: list[dict[str, Any]] = []
        self.orphans: list[str] = []
        self.topics: set[str] = set()

    def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        """Run one statement in this mutation."""
        return self._connection.execute(statement, parameters)

    def changed_rows(self, statement: Executable, parameters: Any = None) -> int:
        """Run one statement; how many rows it touched."""
        result = self._connection.execute(statement, parameters)
        return result.rowcount if isinstance(result, CursorResult) else 0

    @property
    def connection(self) -> Connection:
        """For query functions shared with readers."""
        return self._connection

    def announce(self, entity: str, kind: str, object_id: str, event_name: str | None = None) -> None:
        """Tell waiting clients of `entity` that the object changed; becomes visible with the commit."""
        self.announcements.append(
            {
                "entity": entity,
                "key": f"{kind}:{shown(object_id)}",
                "event": event_name,
                "object_id": object_id,
                "at_us": self.now_us,
            }
        )


@dataclass
class _Job:
    work: Callable[[Transaction], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None
    transaction: Transaction | None = field(default=None)


class Database:
    """Access for the event loop: `read` and `write` run a function in a thread and give its result.

    `on_commit(topics, orphans)` is called in the writer thread after each commit, before its answers.
    """

    def __init__(
        self,
        path: Path,
        fsync: bool,
        on_commit: Callable[[set[str], list[str]], None],
        behaviour: Behaviour,
    ) -> None:
        self._engine = _open(path, fsync, NAME_KEYS[behaviour.names], twins=behaviour.twins)
        self._on_commit = on_commit
        self._behaviour = behaviour
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._writer.start()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work` in a reader thread, on one snapshot that contains every commit answered so far."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_blocking, work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """`work` in the writer thread; returns after the commit, raises what it raised after undoing it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, loop, future))
        return await future

    def close(self) -> None:
        """Finish the queued mutations and close all connections."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    def _read_blocking(self, work: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._engine.connect()
        with connection.begin():
            return work(connection)

    def _write_forever(self) -> None:
        with self._engine.connect().execution_options(writes=True) as connection:
            while (first := self._jobs.get()) is not None:
                group = [first]
                last = False
                while len(group) < _GROUP and not last and not self._jobs.empty():
                    job = self._jobs.get()
                    if job is None:
                        last = True
                    else:
                        group.append(job)
                self._commit_group(connection, group)
                if last:
                    return

    def _commit_group(self, connection: Connection, group: Sequence[_Job]) -> None:
        try:
            with connection.begin():
                for job in group:
                    _run(connection, job, self._behaviour)
        except BaseException as error:
            for job in group:
                job.error = job.error or error
        done = [job.transaction for job in group if job.error is None and job.transaction is not None]
        topics = {row["entity"] for transaction in done for row in transaction.announcements}
        topics.update(itertools.chain.from_iterable(transaction.topics for transaction in done))
        orphans = list(itertools.chain.from_iterable(transaction.orphans for transaction in done))
        self._on_commit(topics, orphans)
        for loop in {job.loop for job in group}:
            loop.call_soon_threadsafe(_release, [job for job in group if job.loop is loop])


def _run(connection: Connection, job: _Job, behaviour: Behaviour) -> None:
    """The job in its own savepoint: its error undoes it alone."""
    transaction = Transaction(connection, behaviour)
    connection.exec_driver_sql("SAVEPOINT job")
    try:
        job.result = job.work(transaction)
        if transaction.announcements:
            connection.execute(_record_activity, transaction.announcements)
    except Exception as error:
        job.error = error  # before it is undone: that fails where a full disk has undone the whole group
        connection.exec_driver_sql("ROLLBACK TO job")
    connection.exec_driver_sql("RELEASE job")
    job.transaction = transaction


def _release(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.cancelled():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def is_disk_full(error: Exception) -> bool:
    """Whether the database had no room for what was written."""
    return isinstance(error, DatabaseError) and (
        getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    )


def _open(path: Path, fsync: bool, name_key: Callable[[str], str], *, twins: bool) -> Engine:
    engine = create_engine(f"sqlite+pysqlite:///{path}", pool_size=_READERS + 1, query_cache_size=500)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("casefold", 1, str.casefold, deterministic=True)
        connection.isolation_level = None  # transactions begin where `begin` below says so
        connection.create_function("name_key", 1, name_key, deterministic=True)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if fsync else 'NORMAL'}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    try:
        _create_tables(engine, twins=twins)
    except (DatabaseError, OSError) as error:
        raise DatabaseUnusable(f"{path}: {error}") from error
    return engine


def _create_tables(engine: Engine, *, twins: bool) -> None:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version in (0, schema.SCHEMA_VERSION):
            # Tables that were added since then are made too: they change nothing for what was there.
            schema.metadata.create_all(connection)
            for statement in schema.TWIN_NAMES if twins else ():
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
        else:
            raise DatabaseUnusable(
                f"the database has format {version}, this program knows {schema.SCHEMA_VERSION}"
            )
