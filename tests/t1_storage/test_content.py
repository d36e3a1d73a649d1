"""Content files and their index: nothing in them is believed that mountfs did not write."""

import errno
import os
import pickle
import sqlite3
import stat
from pathlib import Path
from typing import Any

import diskcache
import pytest

from mountfs.model.errors import CacheUnusable, StorageError
from mountfs.model.ids import Ino, VersionId
from mountfs.model.storage import Coverage
from mountfs.storage.content import FOLDERS, ContentFiles
from tests.small_disk import fill_disk, small_disk_at

SOME = Coverage(VersionId("3abc"), ((0, 4096), (8192, 10_000)))


def put(content: ContentFiles, ino: int, data: bytes) -> None:
    descriptor = content.open(Ino(ino), create=True)
    os.write(descriptor, data)
    os.close(descriptor)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def rewrite_index(tmp_path: Path, mode: int, value: object, filename: str | None = None) -> None:
    connection = sqlite3.connect(tmp_path / "index" / "cache.db")
    with connection:
        connection.execute("UPDATE Cache SET mode = ?, value = ?, filename = ?", (mode, value, filename))
    connection.close()


# Files


def test_descriptor_reads_and_writes_and_belongs_to_the_caller(content: ContentFiles) -> None:
    descriptor = content.open(Ino(5), create=True)
    assert os.pwrite(descriptor, b"bytes", 3) == 5
    again = content.open(Ino(5), create=False)
    assert os.pread(again, 10, 0) == b"\0\0\0bytes"
    assert not os.get_inheritable(again)
    os.close(descriptor)
    os.close(again)
    assert stat.S_IMODE(content.path(Ino(5)).stat().st_mode) == 0o600
    assert content.size(Ino(5)) == 8


def test_content_that_is_not_there_is_told(content: ContentFiles) -> None:
    with pytest.raises(StorageError) as caught:
        content.open(Ino(5), create=False)
    assert caught.value.errno == errno.EIO
    assert content.size(Ino(5)) is None
    assert content.coverage(Ino(5)) is None


def test_stored_tells_every_file_and_what_it_takes(content: ContentFiles) -> None:
    inos = {5, 5 + FOLDERS, 6, 10**12}
    for ino in inos:
        put(content, ino, bytes(10_000))
    content.path(Ino(5)).with_name("not a number").touch()
    stored = {one.ino: one for one in content.stored()}
    assert set(stored) == inos
    status = content.path(Ino(6)).stat()
    assert stored[Ino(6)].bytes_on_disk == status.st_blocks * 512
    assert stored[Ino(6)].used_at == status.st_atime
    assert len({content.path(Ino(ino)).parent for ino in range(FOLDERS)}) == FOLDERS


def test_content_that_cannot_be_counted_is_told(content: ContentFiles, tmp_path: Path) -> None:
    put(content, 300, b"1")
    (tmp_path / "content" / "zz").touch()
    with pytest.raises(StorageError):
        list(content.stored())


def test_sparse_content_counts_what_it_takes(content: ContentFiles) -> None:
    descriptor = content.open(Ino(5), create=True)
    os.truncate(descriptor, 1 << 30)
    os.close(descriptor)
    (stored,) = content.stored()
    assert stored.bytes_on_disk < 1 << 20


def test_sync_covers_the_file_and_its_name(content: ContentFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def listening(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    descriptor = content.open(Ino(5), create=True)
    monkeypatch.setattr(os, "fsync", listening)
    content.sync(Ino(5), descriptor)
    os.close(descriptor)
    path = content.path(Ino(5))
    assert synced == [str(path), str(path.parent)]


# The index


def test_coverage_comes_back_over_a_restart(content: ContentFiles, tmp_path: Path) -> None:
    for ino in (5, 6, 7):
        put(content, ino, b"x")
    content.save_coverage(Ino(5), SOME)
    content.save_coverage(Ino(6), Coverage(VersionId("3empty"), ()))
    content.save_coverage(Ino(7), SOME)
    content.save_coverage(Ino(7), None)
    content.close()
    again = ContentFiles(tmp_path / "content", tmp_path / "index")
    assert again.coverage(Ino(5)) == SOME
    assert again.coverage(Ino(6)) == Coverage(VersionId("3empty"), ())
    assert again.coverage(Ino(7)) is None
    again.close()


def test_coverage_of_missing_content_is_none(content: ContentFiles) -> None:
    put(content, 5, b"x")
    content.save_coverage(Ino(5), SOME)
    content.path(Ino(5)).unlink()
    assert content.coverage(Ino(5)) is None


def test_removal_takes_content_and_index_and_may_be_repeated(content: ContentFiles) -> None:
    put(content, 5, b"x")
    put(content, 6, b"y")
    content.save_coverage(Ino(5), SOME)
    content.remove(Ino(5))
    content.remove(Ino(5))
    assert [one.ino for one in content.stored()] == [6]
    put(content, 5, b"other")
    assert content.coverage(Ino(5)) is None


def test_removal_that_breaks_off_leaves_no_index_entry_without_content(
    content: ContentFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other order would leave bytes of a new file behind what the index tells of the old one."""
    put(content, 5, b"x")
    content.save_coverage(Ino(5), SOME)

    def refusing(path: Path) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(Path, "unlink", refusing)
    with pytest.raises(StorageError) as caught:
        content.remove(Ino(5))
    assert caught.value.errno == errno.EROFS
    assert content.size(Ino(5)) == 1
    assert content.coverage(Ino(5)) is None


def test_index_that_finds_the_disk_full_tells_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    many = [(Ino(ino), SOME) for ino in range(2, 5000)]
    with small_disk_at(tmp_path / "disk", mebibytes=4) as place:
        (place / "content").mkdir()
        content = ContentFiles(place / "content", place / "index")
        put(content, 2, b"some")
        fill_disk(place / "rest")
        with pytest.raises(StorageError) as told:
            content.save_coverages(many)
        assert told.value.errno == errno.ENOSPC
        (place / "rest").unlink()
        content.save_coverages(many)
        assert content.coverage(Ino(2)) == SOME
        fill_disk(place / "rest")
        with pytest.raises(StorageError) as told:
            content.remove_all(ino for ino, _ in many)
        assert told.value.errno == errno.ENOSPC
        (place / "rest").unlink()
        content.remove_all(ino for ino, _ in many)
        assert content.coverage(Ino(2)) is None
        content.close()


def test_facts_come_back_over_a_restart(content: ContentFiles, tmp_path: Path) -> None:
    limits = {"chunks": 35, "sizes": [1, 2.5, None, True], "name": "\u2603"}
    content.save_fact("limits", limits)
    content.save_fact("5", "not an inode")
    content.close()
    again = ContentFiles(tmp_path / "content", tmp_path / "index")
    assert again.fact("limits") == limits
    assert again.fact("unknown") is None
    assert again.coverage(Ino(5)) is None
    again.close()


def test_index_keeps_more_than_diskcache_would(content: ContentFiles) -> None:
    for number in range(200):
        content.save_fact(str(number), "x" * 60_000)
    assert all(content.fact(str(number)) is not None for number in range(200))


# What somebody else wrote


def test_pickle_in_the_index_is_refused_and_not_executed(content: ContentFiles, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    trap = pickle.dumps(Trap(mark))
    content.save_fact("limits", 1)
    rewrite_index(tmp_path, diskcache.core.MODE_PICKLE, sqlite3.Binary(trap))
    with pytest.raises(StorageError) as caught:
        content.fact("limits")
    assert caught.value.errno == errno.EIO
    assert not mark.exists()
    pickle.loads(trap)
    assert mark.exists(), "the trap must be one"


def test_pickle_in_a_value_file_is_refused_and_not_executed(content: ContentFiles, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "index" / "trap.val").write_bytes(pickle.dumps(Trap(mark)))
    content.save_fact("limits", 1)
    for mode in (diskcache.core.MODE_PICKLE, diskcache.core.MODE_TEXT, diskcache.core.MODE_BINARY):
        rewrite_index(tmp_path, mode, None, "trap.val")
        with pytest.raises(StorageError):
            content.fact("limits")
    assert not mark.exists()


@pytest.mark.parametrize("mode", [diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY])
def test_other_kinds_of_values_are_refused(content: ContentFiles, tmp_path: Path, mode: int) -> None:
    content.save_fact("limits", 1)
    for value in (b"[]", "[]"):
        rewrite_index(tmp_path, mode, value)
        with pytest.raises(StorageError):
            content.fact("limits")


@pytest.mark.parametrize(
    "value",
    [
        "not JSON",
        "[]",
        "7",
        "{}",
        '{"version":"3a"}',
        '{"version":"3a","ranges":7}',
        '{"version":"3a","ranges":[["a",1]]}',
    ],
)
def test_index_entry_that_makes_no_sense_is_a_storage_error(
    content: ContentFiles, tmp_path: Path, value: str
) -> None:
    put(content, 5, b"x")
    content.save_coverage(Ino(5), SOME)
    rewrite_index(tmp_path, diskcache.core.MODE_TEXT, value)
    with pytest.raises(StorageError):
        content.coverage(Ino(5))


def test_index_that_is_no_database_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "cache.db").write_bytes(b"no database" * 1000)
    with pytest.raises(CacheUnusable):
        ContentFiles(tmp_path / "content", tmp_path / "index")
