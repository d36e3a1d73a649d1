"""Room on the disk that only the journal may use."""

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from mountfs.model.allocation import Allocation, AllocationKind
from mountfs.model.disk import Disk, DiskStep

log = logging.getLogger(__name__)

RESERVE_BYTES: Final = 8 * 1024 * 1024
"""Some 20,000 records: of what is closed, renamed, removed and sent while the disk is full."""

HEADROOM: Final = 3
"""The reserve is taken again when the disk has so many times its size."""


class Reserve:
    """A file that is given up when the journal finds the disk full. To be used from one thread at a time."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Raises OSError where there can be no file; a disk that is full already is no error."""
        self._disk = disk
        self._descriptor = disk.open(DiskStep.RESERVE, path, os.O_RDWR | os.O_CREAT)
        self.held = self._allocate()

    def close(self) -> None:
        os.close(self._descriptor)

    def give_up(self) -> bool:
        """Free the room; return whether there was any to free."""
        if not self.held:
            return False
        self.held = False
        log.error("the disk of the cache is full: programs cannot write until there is room again")
        try:
            self._disk.resize(DiskStep.RESERVE, self._descriptor, 0)
        except OSError as error:
            log.error("the room that is kept for the journal: %s", error.strerror)
            return False
        return True

    def hold_again(self) -> None:
        """Take the room again if the disk has enough of it."""
        if not self.held and self._free_bytes() >= HEADROOM * RESERVE_BYTES:
            self.held = self._allocate()
            if self.held:
                log.warning("there is room on the disk of the cache again")

    def _free_bytes(self) -> int:
        # By the descriptor: what becomes of the path is no reason for the journal's thread to end.
        disk = os.fstatvfs(self._descriptor)
        return disk.f_bavail * disk.f_frsize

    def _allocate(self) -> bool:
        """Return whether programs may write: what cannot be kept keeps nobody from it, but a full disk."""
        whole = Allocation(AllocationKind.RESERVE, 0, RESERVE_BYTES, keeps_size=False)
        try:
            self._disk.allocate(DiskStep.RESERVE, self._descriptor, whole)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                # ext4 leaves the part that there was room for.
                with suppress(OSError):
                    self._disk.resize(DiskStep.RESERVE, self._descriptor, 0)
                return False
            log.warning("no room can be kept for the journal: %s", error.strerror)
        return True
