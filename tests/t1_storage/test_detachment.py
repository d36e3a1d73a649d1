"""Content that a program of an earlier mount has open gets a file of its own, and nothing else does."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from mountfs.model.disk import DiskStep
from mountfs.model.ids import Ino
from mountfs.storage.content import ContentFiles
from mountfs.storage.detachment import detach
from tests.t1_storage.faulty_disk import CrashPoint, FaultyDisk, Moment

INO = Ino(7)
LONG_AGO_NS = 1_000_000_000_123_456_789


class Killed(BaseException):
    """Nothing that the code under test handles."""


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def content(tmp_path: Path, disk: FaultyDisk) -> Iterator[ContentFiles]:
    (tmp_path / "content").mkdir()
    made = ContentFiles(tmp_path / "content", tmp_path / "index", disk=disk)
    made.path(INO).write_bytes(b"content")
    os.utime(made.path(INO), ns=(LONG_AGO_NS, LONG_AGO_NS))
    yield made
    made.close()


@pytest.fixture
def program(content: ContentFiles) -> Iterator[int]:
    """A descriptor that an earlier mount gave."""
    descriptor = os.open(content.path(INO), os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def names_beside(content: ContentFiles) -> list[str]:
    return os.listdir(content.path(INO).parent)


@pytest.mark.usefixtures("program")
def test_what_is_open_for_writing_becomes_another_file_of_the_same_state(content: ContentFiles) -> None:
    before = content.path(INO).stat()
    detach(content, INO)
    after = content.path(INO).stat()
    assert after.st_ino != before.st_ino
    assert (after.st_size, after.st_mtime_ns, after.st_mode) == (before.st_size, LONG_AGO_NS, 0o100600)
    assert content.path(INO).read_bytes() == b"content"
    assert names_beside(content) == ["7"]


def test_what_the_program_writes_then_goes_nowhere(content: ContentFiles, program: int) -> None:
    os.pwrite(program, b"before.", 0)
    detach(content, INO)
    os.pwrite(program, b"behind.", 0)
    assert content.path(INO).read_bytes() == b"before."


def test_what_nobody_writes_to_stays(content: ContentFiles, disk: FaultyDisk) -> None:
    before = content.path(INO).stat()
    with open(content.path(INO), "rb"):
        detach(content, INO)
    assert content.path(INO).stat() == before
    assert disk.counts[DiskStep.RECOVER_COPY] == 0


def test_what_is_not_there_is_no_failure(content: ContentFiles) -> None:
    detach(content, Ino(8))


@pytest.mark.usefixtures("program")
def test_without_room_for_a_copy_the_file_stays(
    content: ContentFiles, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.shorten(DiskStep.RECOVER_COPY, times=1)
    detach(content, INO)
    assert content.path(INO).read_bytes() == b"content", "a copy by pieces"
    before = content.path(INO).stat()
    with open(content.path(INO), "r+b"):
        disk.observer = lambda step: disk.fail(step, errno=errno.ENOSPC)  # when the copy is there
        detach(content, INO)
    assert content.path(INO).stat() == before
    assert names_beside(content) == ["7"]
    assert "may write to it: [Errno 28]" in caplog.text


def test_what_is_written_while_it_is_copied_shows_in_the_times(
    content: ContentFiles, disk: FaultyDisk, program: int
) -> None:
    """Else recovery would take it for what was there before."""

    def write(step: DiskStep) -> None:
        if disk.counts[step] == 2:  # the copy has its length, and no bytes yet
            os.pwrite(program, b"CONTENT", 0)

    disk.observer = write
    detach(content, INO)
    assert content.path(INO).read_bytes() == b"CONTENT"
    assert content.path(INO).stat().st_mtime_ns > LONG_AGO_NS


def test_holes_are_not_filled(content: ContentFiles, program: int) -> None:
    size = 1 << 40
    os.truncate(program, size)
    os.pwrite(program, b"middle", size // 2)
    detach(content, INO)
    status = content.path(INO).stat()
    assert (status.st_size, status.st_blocks) == (size, os.fstat(program).st_blocks)
    with content.path(INO).open("rb") as copy:
        assert copy.read(8) == b"content\0"
        copy.seek(size // 2)
        assert copy.read(8) == b"middle\0\0"


@pytest.mark.parametrize("moment", Moment)
def test_kill_at_any_step_leaves_one_file_or_the_other(
    content: ContentFiles, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    def kill(*_: object) -> NoReturn:
        raise Killed

    with content.path(INO).open("r+b"):
        detach(content, INO)
    steps = disk.counts[DiskStep.RECOVER_COPY]
    assert steps == 6, "made, given its length, filled, synced, renamed, and the folder synced"
    monkeypatch.setattr(os, "kill", kill)
    for occurrence in range(1, steps + 1):
        with content.path(INO).open("r+b"):
            content.disk = FaultyDisk(crash=CrashPoint(DiskStep.RECOVER_COPY, occurrence, moment))
            with pytest.raises(Killed):
                detach(content, INO)
            content.disk = disk
            _has_its_state(content)
            detach(content, INO)
        _has_its_state(content)
        assert names_beside(content) == ["7"]


def _has_its_state(content: ContentFiles) -> None:
    assert content.path(INO).read_bytes() == b"content"
    assert content.path(INO).stat().st_mtime_ns == LONG_AGO_NS


def test_what_a_killed_recovery_left_of_a_copy_is_removed(content: ContentFiles) -> None:
    content.path(INO).with_name("7.copy").write_bytes(b"cont")
    detach(content, INO)
    assert names_beside(content) == ["7"]
