"""The journal keeps its word: atomic, durable, honest about a disk that refuses; long, being of one piece."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from mountfs.model.effect import Identity
from mountfs.model.entry import ContentStamp, EntryKind, EntryRecord
from mountfs.model.errors import CacheTooNew, CacheUnusable, StorageError
from mountfs.model.ids import ROOT_INO, Ino, NodeId
from mountfs.storage import journal as journal_module
from mountfs.storage import journal_database, redo_log, schema
from mountfs.storage.journal import INO_BLOCK, SqliteJournal
from tests.t1_storage import journal_child
from tests.t1_storage.records import base, dirty, entry, folder, root, upload

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@asynccontextmanager
async def started(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path, workspace="4")
    journal.start()
    try:
        yield journal
    finally:
        with trio.CancelScope(shield=True):
            await journal.aclose()


def on_disk(path: Path) -> dict[int, EntryRecord]:
    """Return the rows as they would be found after a crash now: in the database, then in the redo log."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN")
        facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
        logged = redo_log.read(
            path.with_name(f"{path.name}-redo"), run=int(facts["run"]), applied=int(facts["applied"])
        )
        connection.execute("CREATE TEMP TABLE found AS SELECT * FROM entries")
        for batch in logged:
            for ino, row in batch.entries.items():
                connection.execute("DELETE FROM found WHERE ino = ?", (ino,))
                if row is not None:
                    connection.execute(
                        f"INSERT INTO found ({schema.ENTRY_COLUMNS}) VALUES ({', '.join('?' * len(row))})",
                        row,
                    )
        select = schema.SELECT_ENTRY.replace("FROM entries", "FROM found ORDER BY ino")
        rows = [schema.entry_record(row) for row in connection.execute(select)]
    finally:
        connection.close()
    return {row.ino: row for row in rows}


@contextmanager
def child(mode: str, path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the child; at the end it is killed without warning."""
    command = [sys.executable, "-m", "tests.t1_storage.journal_child", mode, str(path)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def lines(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def rest(process: "subprocess.Popen[str]") -> list[str]:
    """Return what the killed child still said, whole lines only."""
    assert process.stdout is not None
    return [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]


# What is recorded comes back


async def test_records_come_back_as_they_were(path: Path) -> None:
    rows = [
        root(),
        folder(2, b"\xff not UTF-8", listed=True),
        dirty(3, b"file", 2, size=1 << 40, base=base(sha256="0" * 64, size=7), failure="refused"),
        entry(4, b"link", 2, kind=EntryKind.SYMLINK, target=b"../\xfe", base=base("2link", None)),
        entry(5, b"fifo", None, kind=EntryKind.SPECIAL, rdev=259, atime_ns=-1),
    ]
    async with started(path) as journal:
        journal.record(*rows)
        journal.record_upload(upload(3))
        await journal.committed()
        assert list(on_disk(path).values()) == rows
        await journal.synced()
        assert journal.everything() == (rows, [upload(3)])
        assert list(await journal.open_uploads()) == [upload(3)]
        assert list(await journal.children(Ino(2))) == rows[2:4]
        assert list(await journal.by_node([NodeId("2link"), NodeId("2other")])) == [rows[3]]
        assert await journal.by_ino(Ino(5)) == rows[4]
        assert await journal.by_ino(Ino(99)) is None
        assert journal.all_inos() == {1, 2, 3, 4, 5}


async def test_pending_comes_in_the_order_of_its_numbers(path: Path) -> None:
    async with started(path) as journal:
        journal.record(dirty(3, b"a", pending=9), dirty(4, b"b", pending=2), entry(5, b"c"))
        await journal.synced()
        assert [one.ino for one in await journal.pending()] == [4, 3]


async def test_newest_word_counts(path: Path) -> None:
    async with started(path) as journal:
        journal.record(entry(2, b"old"), entry(3))
        journal.record(entry(2, b"new"))
        journal.record_upload(upload(2))
        journal.record_upload(upload(3))
        await journal.committed()
        journal.erase(Ino(3))
        journal.erase(Ino(2))
        journal.record(entry(2, b"again"))
        await journal.synced()
        assert list(on_disk(path).values()) == [entry(2, b"again")]
        assert journal.everything()[1] == [upload(2), upload(3)], (
            "what was sent of it may still be found there"
        )
        journal.erase_upload(Ino(3))
        journal.erase_upload(Ino(2))
        await journal.synced()
        assert journal.everything() == ([entry(2, b"again")], [])


async def test_closing_commits_what_nobody_waited_for(path: Path) -> None:
    async with started(path) as journal:
        journal.record(entry(2))
    assert on_disk(path) == {2: entry(2)}


async def test_journal_that_was_never_started_closes(path: Path) -> None:
    await SqliteJournal(path, workspace="4").aclose()


# Atomic


async def test_half_a_stretch_is_never_on_disk(path: Path) -> None:
    """Looking at the disk lets the writer thread run; it must not have anything to write yet."""
    async with started(path) as journal:
        journal.record(entry(2))
        await journal.committed()
        journal.record(entry(2, generation=1))
        journal.record_upload(upload(2))
        for _ in range(100):
            assert on_disk(path) == {2: entry(2)}
        journal.erase_upload(Ino(2))
        journal.record(entry(3, b"b"))
        await journal.committed()
        assert on_disk(path) == {2: entry(2, generation=1), 3: entry(3, b"b")}


async def test_stretch_without_a_wait_is_never_seen_in_part(path: Path) -> None:
    """Another connection looks all the time, while one stretch after the other changes all rows."""
    count = 200
    seen: set[tuple[int, int, int]] = set()
    ended = threading.Event()

    def look() -> None:
        connection = sqlite3.connect(path)
        while not ended.is_set():
            seen.add(
                connection.execute(
                    "SELECT (SELECT count(*) FROM entries), (SELECT min(generation) FROM entries),"
                    " (SELECT max(generation) FROM entries)"
                ).fetchone()
            )
        connection.close()

    async with started(path) as journal, trio.open_nursery() as nursery:
        for ino in range(2, 2 + count):
            journal.record(entry(ino, b"%d" % ino))
        await journal.synced()
        nursery.start_soon(trio.to_thread.run_sync, look)
        try:
            for generation in range(1, 40):
                for ino in range(2, 2 + count):
                    new = ino if generation % 2 else ino + count
                    old = ino + count if generation % 2 else ino
                    if generation > 1:
                        journal.erase(Ino(old))
                    journal.record(entry(new, b"%d" % new, generation=generation))
                await trio.lowlevel.checkpoint()
                if generation % 3:
                    await journal.synced()
            await journal.committed()
        finally:
            ended.set()
    assert len(seen) > 3, "the looker has to have looked in between"
    assert [one for one in seen if one[0] != count or one[1] != one[2]] == []


@pytest.mark.parametrize("after", [1, 7, 40])
@pytest.mark.parametrize("mode", ["keep_committing", "keep_recording"])
def test_killed_process_leaves_whole_stretches(path: Path, mode: str, after: int) -> None:
    with child(mode, path) as process:
        told = lines(process, after)
        process.kill()
        told += rest(process)
    rows = on_disk(path)
    generations = {row.generation for row in rows.values()}
    assert len(rows) == journal_child.ROWS
    assert len(generations) == 1
    if mode == "keep_committing":
        assert generations.pop() >= int(told[-1])
    assert SqliteJournal(path, workspace="4").integrity_faults() == []


# Inode numbers


def test_inode_number_is_never_given_twice_over_a_kill(path: Path) -> None:
    highest = ROOT_INO + 0
    for told in (1, 3, 9):
        with child("number_inodes", path) as process:
            said = [int(line) for line in lines(process, told)]
            process.kill()
            said += [int(line) for line in rest(process)]
        assert said[0] > highest
        highest = said[-1]
    journal = SqliteJournal(path, workspace="4")
    assert highest < journal.new_ino() <= highest + 2 * INO_BLOCK + 3001


def test_inode_number_nobody_waited_for_is_not_given_again(path: Path) -> None:
    """The child keeps its writer thread from the disk before it asks for the number."""
    with child("number_one_inode", path) as process:
        (told,) = lines(process, 1)
    assert SqliteJournal(path, workspace="4").new_ino() > int(told)


async def test_inode_numbers_are_new_and_start_behind_the_root(path: Path) -> None:
    async with started(path) as journal:
        first = [journal.new_ino() for _ in range(INO_BLOCK + 5)]
    async with started(path) as journal:
        second = [journal.new_ino() for _ in range(5)]
    given = first + second
    assert len(set(given)) == len(given)
    assert min(given) > ROOT_INO


# A disk that refuses


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return how to set how many pages the databases may have, from now on; 0 for no limit."""
    opened: list[sqlite3.Connection] = []
    connect = journal_database.connect
    limits = [0]

    def limit(connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA max_page_count = {limits[0] or 1_000_000}")

    def limiting(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        opened.append(connection)
        if limits[0]:
            limit(connection)
        return connection

    def change(pages: int) -> None:
        limits[0] = pages
        for connection in opened[1:]:
            limit(connection)

    monkeypatch.setattr(journal_database, "connect", limiting)
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    return change


async def until_accepted(journal: SqliteJournal) -> None:
    with trio.fail_after(20):
        await journal_child.until_accepted(journal)


@pytest.mark.parametrize("promise", ["committed", "synced"])
async def test_full_disk_is_told_and_nothing_is_lost(
    path: Path, limited: Callable[[int], None], promise: str
) -> None:
    limited(12)
    many = [dirty(ino, b"%d" % ino) for ino in range(3, 2000)]
    async with started(path) as journal:
        journal.record(entry(2, b"before"))
        await journal.committed()
        journal.record(*many)
        with pytest.raises(StorageError) as caught:
            await getattr(journal, promise)()
        assert caught.value.errno == errno.ENOSPC
        assert str(path) in caught.value.message
        with pytest.raises(StorageError):
            journal.check_writable()
        assert list(on_disk(path)) == [2]
        journal.record(entry(2, b"meanwhile"))
        with pytest.raises(StorageError):
            await journal.committed()
        limited(0)
        await until_accepted(journal)
        journal.check_writable()
        assert list(on_disk(path).values()) == [entry(2, b"meanwhile"), *many]


async def test_refusal_ends_every_wait_and_not_the_journal(
    path: Path, limited: Callable[[int], None]
) -> None:
    limited(12)
    refused = 0

    async def wait() -> None:
        nonlocal refused
        with pytest.raises(StorageError):
            await journal.committed()
        refused += 1

    async with started(path) as journal:
        journal.record(*(dirty(ino, b"%d" % ino) for ino in range(3, 2000)))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(wait)
        assert refused == 5
        limited(0)
        await until_accepted(journal)


async def test_disk_that_stays_full_does_not_keep_the_mount_from_ending(
    path: Path, limited: Callable[[int], None]
) -> None:
    limited(12)
    with trio.fail_after(20):
        async with started(path) as journal:
            journal.record(*(dirty(ino, b"%d" % ino) for ino in range(3, 2000)))


def test_limit_of_the_kernel_is_told_and_nothing_is_lost(path: Path) -> None:
    with child("fill_the_disk", path) as process:
        refused, accepted = lines(process, 2)
    assert refused in {f"refused {errno.EIO}", f"refused {errno.ENOSPC}", f"refused {errno.EFBIG}"}
    assert accepted == "accepted"
    assert len(on_disk(path)) == journal_child.FILLING + 1


async def test_synced_returns_after_the_log_is_on_stable_storage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_fsync: list[tuple[str, dict[int, EntryRecord]]] = []
    fsync = os.fsync

    def listening(descriptor: int) -> None:
        at_fsync.append((os.readlink(f"/proc/self/fd/{descriptor}"), on_disk(path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", listening)
    async with started(path) as journal:
        journal.record(entry(2))
        await journal.committed()
        assert at_fsync == []
        await journal.synced()
        assert at_fsync == [(f"{path}-wal", {2: entry(2)})]
        journal.record(entry(3, b"b"))
        await journal.synced()
        assert at_fsync[-1] == (f"{path}-wal", {2: entry(2), 3: entry(3, b"b")})


async def test_failed_sync_is_no_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [True]
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if broken[0]:
            raise OSError(errno.EIO, "the medium failed")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    async with started(path) as journal:
        journal.record(entry(2))
        with pytest.raises(StorageError) as caught:
            await journal.synced()
        assert caught.value.errno == errno.EIO
        broken[0] = False
        await until_accepted(journal)
        await journal.synced()


async def test_time_beyond_the_year_2262_does_not_end_the_journal(path: Path) -> None:
    async with started(path) as journal:
        journal.record(entry(2, mtime_ns=10_000_000_000 * 1_000_000_000))
        with trio.fail_after(2):
            await journal.committed()


# Journals that are not ours to open


def altered(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


async def test_newer_format_is_refused(path: Path) -> None:
    async with started(path) as journal:
        journal.record(entry(2))
    altered(path, f"UPDATE facts SET value = '{schema.FORMAT + 1}' WHERE name = 'format'")
    with pytest.raises(CacheTooNew):
        SqliteJournal(path, workspace="4")
    altered(path, f"UPDATE facts SET value = '{schema.FORMAT}' WHERE name = 'format'")
    assert SqliteJournal(path, workspace="4").all_inos() == {2}


async def test_older_format_is_brought_to_the_newest(path: Path) -> None:
    async with started(path) as journal:
        journal.record(root(), dirty(2))
    for statement in (
        "DROP INDEX entries_exposed",
        "ALTER TABLE entries DROP COLUMN exposed_mtime_ns",
        "ALTER TABLE entries DROP COLUMN exposed_size",
        "ALTER TABLE entries DROP COLUMN xattrs",
        "ALTER TABLE entries DROP COLUMN base_text",
        "ALTER TABLE entries DROP COLUMN base_modified_ns",
        "ALTER TABLE entries DROP COLUMN is_foreign",
        "ALTER TABLE entries DROP COLUMN sealed",
        "ALTER TABLE entries DROP COLUMN author",
        "UPDATE facts SET value = '1' WHERE name = 'format'",
    ):
        altered(path, statement)
    written = dirty(
        2,
        exposed=ContentStamp(7, 8),
        xattrs=((b"user.\xff", b"\x00\xff"), (b"user.b", b"")),
        author=Identity(7, None, "program", "/group", "", "agent"),
    )
    async with started(path) as journal:
        assert journal.everything()[0] == [root(), dirty(2)]
        journal.record(written)
    assert SqliteJournal(path, workspace="4").exposed_entries() == [written]


def test_row_of_an_older_format_is_completed() -> None:
    row = schema.entry_row(dirty(2))
    assert schema.completed(row[:-1]) == row == schema.completed(row)


async def test_damaged_author_is_an_unknown_one(path: Path) -> None:
    async with started(path) as journal:
        journal.record(root(), dirty(2, author=Identity(7, 8, "program", "/group", "", "")))
    for damage in ("no JSON", "[7, 8]", '[7, 8, "program", "/group", "", 9]', '["7", 8, "", "", "", ""]'):
        altered(path, f"UPDATE entries SET author = '{damage}' WHERE ino = 2")
        assert SqliteJournal(path, workspace="4").everything()[0] == [root(), dirty(2)]


async def test_journal_of_another_workspace_is_refused(path: Path) -> None:
    await SqliteJournal(path, workspace="4").aclose()
    with pytest.raises(CacheUnusable, match="belongs to workspace 4, not 5"):
        SqliteJournal(path, workspace="5")
    assert SqliteJournal(path, workspace="4").all_inos() == set()


def test_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"these are not the rows you look for" * 1000)
    before = path.read_bytes()
    with pytest.raises(CacheUnusable, match="cannot be used"):
        SqliteJournal(path, workspace="4")
    assert path.read_bytes() == before


async def test_damaged_database_is_refused(path: Path) -> None:
    async with started(path) as journal:
        journal.record(*(entry(ino, b"%d" % ino) for ino in range(2, 2000)))
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(4096))
    with pytest.raises(CacheUnusable):
        SqliteJournal(path, workspace="4")


def test_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(CacheUnusable):
        SqliteJournal(path, workspace="4")
