"""The local disk: a directory beside the caches of all others."""

import os
from pathlib import Path

from scripts.benchmarks.systems.base import Confirm, System


class LocalDisk(System):
    name = "ext4"
    has_server = False

    def mount(self, cache: Path) -> None:
        self.version = _filesystem_of(self.mountpoint)

    def is_alive(self) -> bool:
        return True

    def forget(self) -> bool:
        """The page cache of the whole machine could be dropped, which is not ours to do."""
        return False

    def confirm(self) -> Confirm | None:
        return None

    def _end_client(self) -> None:
        return


def _filesystem_of(folder: Path) -> str:
    """The type of the mount with the longest path above the folder."""
    best = ("", "?")
    with open("/proc/self/mountinfo") as table:
        for line in table:
            left, _, right = line.partition(" - ")
            place = left.split()[4]
            if os.path.commonpath([place, folder]) == place and len(place) >= len(best[0]):
                best = (place, right.split()[0])
    return best[1]
