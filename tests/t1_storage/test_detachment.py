"""Content that a program of an earlier mount has open gets a file of its own, and nothing else does."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountfs.model.disk import DiskStep
from mountfs.model.ids import Ino
from mountfs.storage.content import ContentFiles
from mountfs.storage.detachment import detach
from tests.t1_storage.faulty_disk import FaultyDisk

INO = Ino(7)
LONG_AGO_NS = 1_000_000_000_123_456_789


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
    before = content.path(INO).stat().st_ino
    with open(content.path(INO), "r+b"):
        disk.fail(DiskStep.RECOVER_COPY, errno=errno.ENOSPC)
        detach(content, INO)
    assert content.path(INO).stat().st_ino == before
    assert names_beside(content) == ["7"]
    assert "may write to it: [Errno 28]" in caplog.text


def test_what_a_killed_recovery_left_of_a_copy_is_removed(content: ContentFiles) -> None:
    content.path(INO).with_name("7.copy").write_bytes(b"cont")
    detach(content, INO)
    assert names_beside(content) == ["7"]
