"""How much room there is: that of the disk with the cache, since the workspace tells none."""

import os
from pathlib import Path

from mountfs.model.filesystem import Capacity


def capacity_of(cache_dir: Path) -> Capacity:
    """Blocks. Raises OSError."""
    disk = os.statvfs(cache_dir)
    return Capacity(
        total_bytes=disk.f_blocks * disk.f_frsize,
        free_bytes=disk.f_bavail * disk.f_frsize,
        files=disk.f_files,
        files_free=disk.f_favail,
    )
