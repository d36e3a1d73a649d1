"""The audit log: JSON lines that are whole, in files that do not grow for ever."""

import resource
import stat
from pathlib import Path

import pytest

from mountfs.model.errors import StorageError
from mountfs.storage.effect_log import LOG_NAME, EffectLog, Reader


def numbers(reader: Reader) -> list[int]:
    return [row["n"] for row in reader.new_rows()]


def test_rows_are_read_once_and_over_rotations(tmp_path: Path) -> None:
    log = EffectLog(tmp_path, file_bytes=100, old_files=3)
    reader = Reader(tmp_path)
    assert numbers(reader) == []
    log.append([{"n": 0}, {"n": 1}])
    assert numbers(reader) == [0, 1]
    assert numbers(reader) == []
    for n in range(2, 30):
        log.append([{"n": n}])
    assert numbers(reader) == list(range(2, 30))
    for n in range(30, 34):
        log.append([{"n": n}])
    assert numbers(reader) == [30, 31, 32, 33]


def test_files_are_private_and_bounded(tmp_path: Path) -> None:
    log = EffectLog(tmp_path, file_bytes=100, old_files=2)
    for n in range(200):
        log.append([{"n": n}])
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [LOG_NAME, f"{LOG_NAME}.1", f"{LOG_NAME}.2"]
    assert all(path.stat().st_size <= 100 and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert numbers(Reader(tmp_path))[-1] == 199


def test_line_that_a_crash_cut_off_spoils_no_other(tmp_path: Path) -> None:
    log = EffectLog(tmp_path)
    log.append([{"n": 1}])
    with (tmp_path / LOG_NAME).open("ab") as file:
        file.write(b'{"n": 2')
    reader = Reader(tmp_path)
    assert numbers(reader) == [1]
    log.append([{"n": 3}])
    assert numbers(reader) == [3]


def test_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        EffectLog(tmp_path).append([{"n": 1}])


def test_disk_that_takes_a_part_of_the_rows_is_told(tmp_path: Path) -> None:
    log = EffectLog(tmp_path)
    log.append([{"n": 1}])
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, most[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            log.append([{"n": 2}, {"n": 3}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    log.append([{"n": 4}])
    assert numbers(Reader(tmp_path)) == [1, 2, 4]
