"""What only the redo log has is there after a crash, once, and in order."""

import errno
import os
from pathlib import Path

import pytest

from mountfs.model.disk import DiskStep
from mountfs.model.ids import Ino
from mountfs.storage import redo_log
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.redo_log import LoggedBatch, RedoLog
from tests.t1_storage.faulty_disk import FaultyDisk
from tests.t1_storage.records import dirty, entry, upload
from tests.t1_storage.test_journal import child, lines, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def batch(first: int, last: int | None = None) -> LoggedBatch:
    last = last or first
    return LoggedBatch(
        first, last, {Ino(last): (last, b"\xff\n", "\u00e9", None)}, {Ino(1): None}, {"a": "b"}
    )


def test_batches_come_back_as_they_were(path: Path) -> None:
    log = RedoLog(path, run=7)
    written = [batch(1), batch(2, 4), batch(5)]
    assert all(log.append(one) for one in written)
    assert redo_log.read(path, run=7, applied=0) == written
    assert redo_log.read(path, run=7, applied=3) == written[1:], "a batch that is applied in part is whole"
    assert redo_log.read(path, run=7, applied=5) == []
    log.close()


def test_log_of_another_run_is_none(path: Path) -> None:
    RedoLog(path, run=7).append(batch(1))
    assert redo_log.read(path, run=8, applied=0) == []
    assert redo_log.read(path.with_name("absent"), run=7, applied=0) == []


def test_gap_and_damage_end_the_log(path: Path) -> None:
    log = RedoLog(path, run=7)
    for number in (2, 3, 5):
        log.append(batch(number))
    assert redo_log.read(path, run=7, applied=0) == []
    assert redo_log.read(path, run=7, applied=1) == [batch(2), batch(3)]
    log.close()
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    assert redo_log.read(path, run=7, applied=3) == []
    path.write_bytes(content.replace(b"[2,2,", b"[2,9,"))
    assert redo_log.read(path, run=7, applied=1) == []


def test_log_whose_begin_is_not_whole_takes_no_batch(path: Path) -> None:
    disk = FaultyDisk()
    disk.shorten(DiskStep.BEGIN_LOG, times=1)
    log = RedoLog(path, run=7, disk=disk)
    assert not log.append(batch(1))
    log.close()


def test_cleared_log_takes_new_batches(path: Path) -> None:
    log = RedoLog(path, run=7)
    log.append(batch(1))
    log.clear()
    assert log.bytes_used == 0
    log.append(batch(2))
    assert redo_log.read(path, run=7, applied=1) == [batch(2)]


@pytest.mark.parametrize(
    ("taken", "error"),
    [(9, None), (0, errno.ENOSPC), (9, errno.EIO), (None, errno.EIO)],
    ids=["a part", "nothing", "a part with an error", "all with an error"],
)
def test_batch_the_disk_does_not_take_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, taken: int | None, error: int | None
) -> None:
    log = RedoLog(path, run=7)
    log.append(batch(1))
    before = path.read_bytes()
    pwrite = os.pwrite

    def refusing(descriptor: int, content: bytes, offset: int) -> int:
        written = pwrite(descriptor, content[:taken], offset)
        if error is not None:
            raise OSError(error, os.strerror(error))
        return written

    monkeypatch.setattr(os, "pwrite", refusing)
    assert not log.append(batch(2))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert log.append(batch(3))
    assert redo_log.read(path, run=7, applied=0) == [batch(1)]
    assert redo_log.read(path, run=7, applied=2) == [batch(3)]
    log.close()


async def test_committed_waits_for_no_database_and_survives_a_kill(path: Path) -> None:
    with child("commit_beside_a_blocked_database", path) as process:
        assert lines(process, 1) == ["committed"]
    async with started(path) as journal:
        assert journal.everything() == ([dirty(2, b"\xff"), entry(4)], [upload(2)])
    async with started(path) as journal:
        journal.record(entry(2))
        await journal.synced()
        assert journal.everything()[0] == [entry(2), entry(4)], "nothing of it comes back a second time"


def test_older_state_never_comes_back(tmp_path: Path) -> None:
    """The log is older than the database where the death came between taking it over and emptying it."""
    path = tmp_path / "journal.db"
    with child("commit_beside_a_blocked_database", path) as process:
        lines(process, 1)
    log = path.with_name("journal.db-redo")
    content = log.read_bytes()
    SqliteJournal(path, workspace="4").repair([entry(2, b"newer")])
    log.write_bytes(content)
    assert SqliteJournal(path, workspace="4").everything()[0] == [entry(2, b"newer"), entry(4)]
