"""Recovery brings content and journal together, loses nothing, and finds nothing to do the second time."""

import logging
import os
import re
from pathlib import Path

import pytest

from mountfs.model.entry import EntryRecord
from mountfs.model.errors import StorageError
from mountfs.model.ids import Ino, VersionId
from mountfs.model.storage import Coverage
from mountfs.storage import schema
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import INO_BLOCK, SqliteJournal
from mountfs.storage.recovery import CONTENT_LOST, ORPHANS_CHUNK, orphans, recover
from tests.t1_storage.records import base, dirty, entry, folder, root


def put_content(content: ContentFiles, ino: int, data: bytes) -> None:
    content.path(Ino(ino)).write_bytes(data)


def read_content(content: ContentFiles, ino: int) -> bytes:
    return content.path(Ino(ino)).read_bytes()


def row(journal: SqliteJournal, ino: int) -> EntryRecord:
    return next(one for one in journal.everything()[0] if one.ino == ino)


def repairs(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("recovery: ")]


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="mountfs.storage.recovery")


def test_sound_cache_stays_as_it_is(
    journal: SqliteJournal, content: ContentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    journal.repair(
        [root(), dirty(5, size=3), entry(6, b"clean", size=100, base=base()), folder(7), dirty(8, b"empty")]
    )
    for ino, data in ((5, b"abc"), (6, b"part"), (8, b"")):
        put_content(content, ino, data)
    content.save_coverage(Ino(6), Coverage(VersionId("3version"), ((0, 4),)))
    before = journal.everything()
    recover(journal, content)
    assert journal.everything() == before
    assert [read_content(content, ino) for ino in (5, 6, 8)] == [b"abc", b"part", b""]
    assert content.coverage(Ino(6)) is not None
    assert repairs(caplog) == []


def test_content_that_no_entry_has_is_found_once_the_journal_is_opened_again(
    tmp_path: Path, journal: SqliteJournal, content: ContentFiles
) -> None:
    journal.repair([root(), dirty(5, size=3)])
    for ino in (5, 6, INO_BLOCK + 7):
        put_content(content, ino, b"abc")
    assert not any(orphans(journal, content)), "what this start may have given out is nobody's orphan"
    again = SqliteJournal(tmp_path / "journal.db", workspace="4")
    try:
        found = [ino for chunk in orphans(again, content) for ino in chunk]
    finally:
        again._reader.close()
    assert found == [6], "numbers that are not given out yet stay out of it"
    assert read_content(content, 5) == b"abc"


def test_many_content_files_are_looked_up_in_chunks(
    tmp_path: Path, journal: SqliteJournal, content: ContentFiles
) -> None:
    count = 2 * ORPHANS_CHUNK + 10
    journal.repair([root(), *(dirty(ino, b"%d" % ino) for ino in range(2, count, 2))])
    for ino in range(2, count):
        put_content(content, ino, b"")
    again = SqliteJournal(tmp_path / "journal.db", workspace="4")
    try:
        chunks = list(orphans(again, content))
    finally:
        again._reader.close()
    assert sorted(ino for chunk in chunks for ino in chunk) == list(range(3, count, 2))
    assert len(chunks) == 3


@pytest.mark.parametrize(
    "statement",
    [
        schema.SELECT_PENDING,
        schema.SELECT_UNLINKED,
        schema.select_known(2),
        f"{schema.SELECT_ENTRY} WHERE parent = ?",
        f"{schema.SELECT_ENTRY} WHERE node = ?",
        f"{schema.SELECT_ENTRY} WHERE ino = ?",
    ],
)
def test_what_a_start_asks_is_answered_by_an_index(journal: SqliteJournal, statement: str) -> None:
    plan = journal._reader.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).fetchall()
    steps = [row["detail"] for row in plan]
    assert steps
    assert all(re.search("USING (COVERING INDEX|INDEX|INTEGER PRIMARY KEY)", step) for step in steps)


def test_deleted_entry_keeps_its_row_for_the_remote_but_no_content(
    journal: SqliteJournal, content: ContentFiles
) -> None:
    deleted = dirty(5, b"deleted", None, size=6, base=base())
    journal.repair([root(), deleted])
    put_content(content, 5, b"bytes!")
    recover(journal, content)
    assert content.size(Ino(5)) is None
    assert row(journal, 5) == deleted


@pytest.mark.parametrize("told", [0, 3, 1000])
def test_what_was_written_before_the_crash_counts(
    journal: SqliteJournal, content: ContentFiles, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    journal.repair([root(), dirty(5, size=told, generation=7)])
    put_content(content, 5, b"written, never closed")
    recover(journal, content)
    assert row(journal, 5) == dirty(5, size=21, generation=7)
    assert read_content(content, 5) == b"written, never closed"
    (line,) = repairs(caplog)
    assert f"has 21 bytes, not {told}" in line


def test_size_of_a_clean_file_is_the_remotes_business(journal: SqliteJournal, content: ContentFiles) -> None:
    clean = entry(5, size=100, base=base())
    journal.repair([root(), clean])
    put_content(content, 5, b"part")
    recover(journal, content)
    assert row(journal, 5) == clean


def test_empty_dirty_file_gets_its_empty_content(
    journal: SqliteJournal, content: ContentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    journal.repair([root(), dirty(5)])
    recover(journal, content)
    assert read_content(content, 5) == b""
    assert row(journal, 5) == dirty(5)
    assert len(repairs(caplog)) == 1


def test_lost_content_is_a_failure_and_never_an_empty_file(
    journal: SqliteJournal, content: ContentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    journal.repair([root(), dirty(5, size=4), entry(6, b"clean", size=4, base=base())])
    recover(journal, content)
    assert row(journal, 5) == dirty(5, size=4, failure=CONTENT_LOST)
    assert row(journal, 6).failure is None
    assert content.size(Ino(5)) is None
    (told,) = (one for one in caplog.records if one.getMessage().startswith("recovery: "))
    assert told.levelno == logging.ERROR


def test_lost_content_stays_lost_when_somebody_opened_it(
    journal: SqliteJournal, content: ContentFiles
) -> None:
    journal.repair([root(), dirty(5, size=4, failure=CONTENT_LOST)])
    put_content(content, 5, b"")
    recover(journal, content)
    assert row(journal, 5) == dirty(5, size=4, failure=CONTENT_LOST)


def test_second_recovery_finds_nothing_to_do(
    journal: SqliteJournal, content: ContentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    journal.repair([root(), dirty(5, b"a"), dirty(6, b"b", size=3), dirty(7, b"c", None)])
    for ino in (6, 7):
        put_content(content, ino, b"longer")
    recover(journal, content)
    assert audit(journal, content) == []
    assert len(repairs(caplog)) == 3
    after = journal.everything()
    caplog.clear()
    recover(journal, content)
    assert journal.everything() == after
    assert repairs(caplog) == []


def test_recovery_in_an_empty_cache(journal: SqliteJournal, content: ContentFiles) -> None:
    recover(journal, content)
    assert journal.everything() == ([], [])


def test_repair_is_all_or_nothing(journal: SqliteJournal, content: ContentFiles) -> None:
    journal.repair([root()])
    pages = journal._reader.execute("PRAGMA page_count").fetchone()[0]
    journal._reader.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError):
        journal.repair(entry(ino, b"%d" % ino) for ino in range(2, 2000))
    assert journal.everything() == ([root()], [])


def test_repair_survives_at_once(journal: SqliteJournal, content: ContentFiles) -> None:
    journal.repair([root(), dirty(5, size=3)])
    put_content(content, 5, b"abcd")
    recover(journal, content)
    other = SqliteJournal(journal._path, workspace="4")
    assert row(other, 5).size == 4
    assert os.path.getsize(journal._path.with_name("journal.db-wal")) > 0
    other._reader.close()
