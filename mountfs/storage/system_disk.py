"""The file system as it is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mountfs.model.allocation import Allocation
from mountfs.model.disk import DiskStep
from mountfs.storage import room


class SystemDisk:
    """Implements `mountfs.model.disk.Disk`; the names of the steps are for tests."""

    def open(self, step: DiskStep, path: str | Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, step: DiskStep, descriptor: int, content: bytes, offset: int) -> int:
        return os.pwrite(descriptor, content, offset)

    def resize(self, step: DiskStep, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def allocate(self, step: DiskStep, descriptor: int, allocation: Allocation) -> None:
        room.allocate(descriptor, allocation)

    def copy(
        self, step: DiskStep, source: int, offset: int, target: int, target_offset: int, size: int
    ) -> int:
        return os.copy_file_range(source, target, size, offset, target_offset)

    def sync(self, step: DiskStep, descriptor: int) -> None:
        os.fsync(descriptor)

    def write_back(self, step: DiskStep, descriptor: int) -> None:
        room.write_back(descriptor)

    def sync_path(self, step: DiskStep, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(step, descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, step: DiskStep, path: Path) -> None:
        path.unlink()

    def rename(self, step: DiskStep, path: Path, target: Path) -> None:
        path.rename(target)

    def link(self, step: DiskStep, descriptor: int, path: str) -> None:
        # The folder is not looked at, as the path is absolute; without one os.link does not follow links.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)

    def commit(self, step: DiskStep, transaction: Callable[[], object]) -> None:
        transaction()


SYSTEM_DISK: Final = SystemDisk()
