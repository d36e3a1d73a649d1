"""Empty files that are made beforehand, so that a program that creates one waits for a name only.

A new file costs a file system several times what its name does. They have no name until they are used, so
nothing is left of them when the process ends, and to make one holds up nobody who needs the same folder.
"""

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from mountfs.model.disk import Disk, DiskStep
from mountfs.storage.system_disk import SYSTEM_DISK

log = logging.getLogger(__name__)

MOST: Final = 64
"""So many are open at most: what a program creates while the thread may wait for the GIL."""

FEW: Final = 48
"""With so few left more are made."""

AT_A_TIME: Final = 16

UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
"""What a file system says that has no files without a name; any other error may pass."""

MakeFiles = Callable[[int], list[int]]
"""Returns descriptors of so many new files without a name, or of fewer. Raises OSError where it made none."""


class SpareFiles:
    """To be used from one thread, but for the one that makes the files, which begins with the first use."""

    def __init__(self, make: MakeFiles, *, disk: Disk = SYSTEM_DISK) -> None:
        self._make = make
        self._disk = disk
        self._descriptors: deque[int] = deque()
        self._wanted = threading.Event()
        self._ends = False
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Return when the thread has ended and no file is left. Bounded by the disk alone."""
        self._ends = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def take(self, path: str) -> int | None:
        """Return a descriptor of an empty file that has this name now; None where there is none, or where the
        disk refuses the name."""
        if len(self._descriptors) <= FEW and not self._wanted.is_set():
            self._want_more()
        if not self._descriptors:
            return None
        descriptor = self._descriptors.popleft()
        try:
            self._disk.link(DiskStep.NAME_CONTENT, descriptor, path)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _want_more(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spare files", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while not self._ends:
            self._wanted.wait()
            self._wanted.clear()
            try:
                while len(self._descriptors) < MOST and not self._ends:
                    self._descriptors.extend(self._make(AT_A_TIME))
            except OSError as error:
                # Whoever needs a file is told by the disk itself.
                if error.errno in UNSUPPORTED:
                    log.info("no files are made beforehand here: %s", error.strerror)
                    return
