"""Records: SQLite inserts, and a log that is opened for each line."""

import os
import sqlite3
from contextlib import closing

from scripts.benchmarks.workloads.base import Place, Readings, Unit, Workload
from scripts.benchmarks.workloads.clock import timed

LINE = b"2026-01-01T00:00:00Z worker: one line of a log, as long as most of them are\n"


def sqlite_inserts(place: Place) -> Readings:
    """With SQLite's own defaults: rollback journal, full synchronisation."""
    single, bulk = place.sizes.single_inserts, place.sizes.bulk_inserts
    insert = "INSERT INTO records (text) VALUES (?)"
    path = place.directory / "records.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, text TEXT)")
        with timed() as each:
            for number in range(single):
                database.execute(insert, (f"record {number}",))
        with timed() as together:
            database.execute("BEGIN")
            database.executemany(insert, ((f"record {number}",) for number in range(bulk)))
            database.execute("COMMIT")
    return {"sqlite.single": each.rate(single), "sqlite.bulk": together.rate(bulk)}


def append_log(place: Place) -> Readings:
    path, count = place.directory / "worker.log", place.sizes.appends
    with timed() as span:
        for _ in range(count):
            with open(path, "ab", buffering=0) as log:
                log.write(LINE)
    if os.stat(path).st_size != count * len(LINE):
        raise OSError("lines are missing")
    return {"log.append": span.per(count)}


WORKLOADS = (
    Workload("sqlite", {"sqlite.single": Unit.PER_SECOND, "sqlite.bulk": Unit.PER_SECOND}, sqlite_inserts),
    Workload("append_log", {"log.append": Unit.MICROSECONDS}, append_log),
)
