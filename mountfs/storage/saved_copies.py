"""Copies of content that programs are about to lose: plain files, for people."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.errors import StorageError
from mountfs.storage.system_disk import SYSTEM_DISK

PIECE_BYTES: Final = 1024 * 1024


class SavedFiles:
    """Implements `mountfs.model.storage.SavedCopies`; `default` is where copies go that nobody named a folder
    for."""

    def __init__(self, default: Path, *, disk: Disk = SYSTEM_DISK) -> None:
        self._default = default
        self._disk = disk

    def save(self, folder: str | None, path: bytes, descriptor: int) -> str:
        target = Path(folder) if folder is not None else self._default
        target = target / os.fsdecode(path)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _copy(self._disk, descriptor, target)
        except OSError as error:
            raise StorageError(
                f"no copy can be saved at {target}: {error.strerror or error}",
                errno=error.errno or errno.EIO,
                hint="nothing was given up; name another folder by --to",
            ) from error


def _copy(disk: Disk, source: int, target: Path) -> str:
    for path in free_names(target):
        try:
            copy = disk.open(DiskStep.SAVE_COPY, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            continue
        try:
            _copy_bytes(disk, source, copy)
            disk.sync(DiskStep.SYNC_COPY, copy)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(copy)
        disk.sync_path(DiskStep.SYNC_COPY_FOLDER, path.parent)
        return str(path)
    raise AssertionError("there is no end of names")


def _copy_bytes(disk: Disk, source: int, target: int) -> None:
    position = 0
    while piece := os.pread(source, PIECE_BYTES, position):
        position += disk.write(DiskStep.SAVE_COPY, target, piece, position)


def free_names(target: Path) -> Iterator[Path]:
    """Yield the path itself and then others like it, without an end."""
    yield target
    number = 2
    while True:
        yield target.with_name(f"{target.stem} ({number}){target.suffix}")
        number += 1
