"""The audit finds each kind of fault, names what it is about, and finds nothing where nothing is wrong."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from mountfs.model.entry import EntryKind, EntryRecord, OpenUpload
from mountfs.model.ids import ROOT_INO, Ino, UploadId, VersionId
from mountfs.model.storage import Coverage
from mountfs.storage import schema
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from tests.t1_storage.records import base, dirty, entry, folder, root, upload


def put_content(content: ContentFiles, ino: int, size: int) -> None:
    descriptor = content.open(Ino(ino), create=True)
    os.truncate(descriptor, size)
    os.close(descriptor)


def put_uploads(tmp_path: Path, *inos_and_generations: tuple[int, int]) -> None:
    put(tmp_path, *(upload(*one) for one in inos_and_generations))


def put(tmp_path: Path, *uploads: OpenUpload) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db")
    with connection:
        connection.executemany(schema.PUT_UPLOAD, [schema.upload_row(each) for each in uploads])
    connection.close()


def test_sound_cache_has_no_faults(journal: SqliteJournal, content: ContentFiles, tmp_path: Path) -> None:
    journal.repair(
        [
            root(),
            folder(2),
            folder(3, b"below", 2),
            dirty(4, b"file", 3, size=10),
            dirty(5, b"empty", 3),
            entry(6, b"clean", 2, size=10, base=base("2clean")),
            entry(7, b"link", 2, kind=EntryKind.SYMLINK, target=b"file", size=4),
            entry(8, b"deleted", None, base=base("2deleted"), pending=8),
            dirty(9, b"lost its name", None, size=10),
            dirty(10, b"being sent", 2, size=4, generation=3),
        ]
    )
    put_content(content, 4, 10)
    put_content(content, 5, 0)
    put_content(content, 10, 20)
    put_content(content, 6, 10)
    content.save_coverage(Ino(6), Coverage(VersionId("3version"), ((0, 4), (8, 10))))
    put_uploads(tmp_path, (4, 1), (10, 2))
    assert audit(journal, content) == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([entry(5, b"lost", 77)], ["inode 5 'lost'", "inode 77"]),
        ([entry(5, b"lost", 6), entry(6, b"file")], ["inode 5 'lost'", "inode 6 'file'", "no folder"]),
        ([entry(5, b"lost", 6), folder(6, b"gone", None)], ["inode 5 'lost'", "inode 6 'gone'", "deleted"]),
        ([entry(5, b"same"), entry(6, b"same")], ["folder 1", "inodes 5, 6", "'same'"]),
        (
            [entry(5, b"a", base=base("2n")), entry(6, b"b", None, base=base("2n"))],
            ["node 2n", "inodes 5, 6"],
        ),
        ([dirty(5, size=9)], ["inode 5", "does not have it"]),
        ([dirty(5)], ["inode 5", "does not have it"]),
    ],
)
def test_one_fault_is_one_line(
    journal: SqliteJournal, content: ContentFiles, rows: list[EntryRecord], words: list[str]
) -> None:
    journal.repair([root(), *rows])
    (line,) = audit(journal, content)
    assert [word for word in words if word not in line] == [], line


def test_each_cycle_is_one_line(journal: SqliteJournal, content: ContentFiles) -> None:
    journal.repair(
        [
            root(),
            entry(4, b"below", 7),
            folder(5, b"a", 7),
            folder(6, b"b", 5),
            folder(7, b"c", 6),
            folder(9, b"self", 9),
        ]
    )
    first, second = audit(journal, content)
    assert first == "inode 5 'a': lies in itself, 3 folders up"
    assert second == "inode 9 'self': lies in itself, 1 folders up"


def test_dirty_content_shorter_than_its_size_is_a_fault_and_longer_is_none(
    journal: SqliteJournal, content: ContentFiles
) -> None:
    journal.repair([root(), dirty(5, b"short", size=10), dirty(6, b"long", size=10)])
    put_content(content, 5, 9)
    put_content(content, 6, 11)
    (line,) = audit(journal, content)
    assert "inode 5 'short'" in line
    assert "9 of 10 bytes" in line
    assert audit(journal, content, in_use={Ino(5)}) == []


def test_dirty_content_must_be_queued(journal: SqliteJournal, content: ContentFiles) -> None:
    journal.repair([root(), dirty(5, pending=None)])
    put_content(content, 5, 0)
    (line,) = audit(journal, content)
    assert "not queued" in line


def test_uploads_belong_to_an_entry_and_to_its_generation(
    journal: SqliteJournal, content: ContentFiles, tmp_path: Path
) -> None:
    clean = entry(6, b"clean", generation=5)
    journal.repair([root(), dirty(5, b"dirty", generation=5), clean])
    put_content(content, 5, 0)
    put_uploads(tmp_path, (4, 1), (5, 6), (6, 4))
    lines = audit(journal, content)
    assert len(lines) == 2
    assert "inode 5" in lines[0]
    assert "generation 6" in lines[0]
    assert "inode 6" in lines[1]
    put_uploads(tmp_path, (5, 4))
    assert len(audit(journal, content)) == 1, "what was sent before the last change waits to be given up"


def test_session_of_a_file_that_is_gone_waits_to_be_given_back(
    journal: SqliteJournal, content: ContentFiles, tmp_path: Path
) -> None:
    journal.repair([root()])
    put_uploads(tmp_path, (4, 1))
    assert audit(journal, content) == []


def test_what_was_sent_of_a_file_that_is_gone_is_remembered_while_something_is_pending(
    journal: SqliteJournal, content: ContentFiles, tmp_path: Path
) -> None:
    journal.repair([root(), dirty(5, b"dirty")])
    put_content(content, 5, 0)
    put(tmp_path, replace(upload(4), upload=UploadId("")))
    assert audit(journal, content) == []
    journal.repair([entry(5, b"dirty")])
    (line,) = audit(journal, content)
    assert "inode 4" in line


def test_content_without_an_entry_is_an_orphan(journal: SqliteJournal, content: ContentFiles) -> None:
    journal.repair([root(), entry(300, b"kept")])
    for ino in (300, 301, 302):
        put_content(content, ino, 1)
    lines = audit(journal, content, in_use=[Ino(302)])
    assert [str(content.path(Ino(301))) in line for line in lines] == [True]


def test_index_never_tells_of_bytes_beyond_the_end(journal: SqliteJournal, content: ContentFiles) -> None:
    clean = entry(5, b"clean", size=10, base=base())
    journal.repair([root(), clean, dirty(6, b"dirty", size=10, base=base("2other"))])
    for ino in (5, 6):
        put_content(content, ino, 10)
        content.save_coverage(Ino(ino), Coverage(VersionId("3version"), ((0, 4), (8, 11))))
    (line,) = audit(journal, content)
    assert "inode 5 'clean'" in line
    assert "up to 11" in line
    content.save_coverage(Ino(5), Coverage(VersionId("3older"), ((0, 11),)))
    assert audit(journal, content) == [], "what the index says of another version is not used"


def test_damaged_journal_is_one_report_and_no_traceback(
    journal: SqliteJournal, content: ContentFiles, tmp_path: Path
) -> None:
    journal.repair([root(), *(entry(ino, b"%d" % ino) for ino in range(2, 2000))])
    journal._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek(4096 * 10)
        file.write(os.urandom(4096 * 10))
    journal._reader.execute("PRAGMA cache_size = 0")
    lines = audit(journal, content)
    assert lines
    assert all(line.startswith("journal: ") for line in lines)


def test_row_that_nobody_here_wrote_is_reported(
    journal: SqliteJournal, content: ContentFiles, tmp_path: Path
) -> None:
    journal.repair([root(), entry(5)])
    connection = sqlite3.connect(tmp_path / "journal.db")
    with connection:
        connection.execute("UPDATE entries SET kind = 9 WHERE ino = ?", (5,))
    connection.close()
    (line,) = audit(journal, content)
    assert "cannot be used" in line


def test_audit_changes_nothing(journal: SqliteJournal, content: ContentFiles) -> None:
    journal.repair([root(), dirty(5, size=4), entry(6, b"x", 77)])
    put_content(content, 9, 1)
    before = journal.everything()
    assert audit(journal, content) == audit(journal, content) != []
    assert journal.everything() == before
    assert content.size(Ino(9)) == 1
    assert content.size(ROOT_INO) is None
