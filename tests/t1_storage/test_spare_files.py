"""Files made beforehand: what a new entry gets of them, and that none is left."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountfs.model.disk import DiskStep
from mountfs.model.ids import Ino
from mountfs.storage.content import ContentFiles
from mountfs.storage.spare_files import AT_A_TIME, MOST, SpareFiles
from tests.t1_storage.faulty_disk import FaultyDisk


class Maker:
    """Makes files as the C extension does, and tells of each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.calls = threading.Semaphore(0)
        self.error: OSError | None = None

    def __call__(self, count: int) -> list[int]:
        self.calls.release()
        if self.error is not None:
            raise self.error
        flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
        return [os.open(self._folder, flags, 0o600) for _ in range(count)]

    def wait(self, *, calls: int) -> None:
        """Return when the files of all but the last of these calls can be taken."""
        for _ in range(calls):
            assert self.calls.acquire(timeout=10)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def spare(maker: Maker, disk: FaultyDisk) -> Iterator[SpareFiles]:
    made = SpareFiles(maker, disk=disk)
    yield made
    made.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_new_content_is_a_spare_file(
    tmp_path: Path, maker: Maker, spare: SpareFiles, disk: FaultyDisk
) -> None:
    (tmp_path / "content").mkdir()
    content = ContentFiles(tmp_path / "content", tmp_path / "index", disk=disk, spare=spare)
    first = content.create(Ino(5))
    assert disk.counts[DiskStep.CREATE_CONTENT] == 1, "none is made before the first is needed"
    maker.wait(calls=2)
    second = content.create(Ino(6))
    assert disk.counts[DiskStep.CREATE_CONTENT] == 1
    os.write(second, b"content")
    status = content.path(Ino(6)).stat()
    assert os.path.samestat(status, os.fstat(second))
    assert (status.st_size, status.st_nlink, stat.S_IMODE(status.st_mode)) == (7, 1, 0o600)
    assert not os.get_inheritable(second)
    os.close(first)
    os.close(second)
    content.close()


def test_what_has_the_name_already_stays(tmp_path: Path, maker: Maker, spare: SpareFiles) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"there")
    assert spare.take(str(path)) is None
    maker.wait(calls=MOST // AT_A_TIME)
    assert spare.take(str(path)) is None
    assert path.read_bytes() == b"there"


def test_name_that_the_disk_refuses_is_left_to_an_ordinary_open(
    tmp_path: Path, maker: Maker, spare: SpareFiles, disk: FaultyDisk
) -> None:
    assert spare.take(str(tmp_path / "first")) is None
    maker.wait(calls=2)
    disk.fail(DiskStep.NAME_CONTENT, errno=errno.ENOSPC, times=1)
    assert spare.take(str(tmp_path / "second")) is None
    assert not (tmp_path / "second").exists()
    third = spare.take(str(tmp_path / "third"))
    assert third is not None
    os.close(third)


def test_nothing_is_left_when_it_is_closed(tmp_path: Path, maker: Maker, spare: SpareFiles) -> None:
    before = open_descriptors()
    spare.take(str(tmp_path / "first"))
    maker.wait(calls=2)
    assert open_descriptors() > before
    spare.close()
    assert open_descriptors() == before
    assert os.listdir(tmp_path) == []
    assert spare.take(str(tmp_path / "second")) is None


def test_more_are_made_when_a_full_disk_has_room(tmp_path: Path, maker: Maker, spare: SpareFiles) -> None:
    maker.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert spare.take(str(tmp_path / "first")) is None
    maker.wait(calls=1)
    maker.error = None
    assert spare.take(str(tmp_path / "second")) is None
    maker.wait(calls=2)
    third = spare.take(str(tmp_path / "third"))
    assert third is not None
    os.close(third)


def test_disk_without_such_files_is_not_asked_again(tmp_path: Path, maker: Maker, spare: SpareFiles) -> None:
    maker.error = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    spare.take(str(tmp_path / "first"))
    maker.wait(calls=1)
    for number in range(10):
        assert spare.take(str(tmp_path / f"{number}")) is None
    spare.close()
    assert not maker.calls.acquire(blocking=False)
