"""The last resort: a daemon that was asked to stop and hangs on the way is ended, whatever holds it up."""

import faulthandler
import logging
import os
import threading
import time
from typing import Final

from mountfs.kernel import mounts
from mountfs.kernel.mounts import Mount

log = logging.getLogger(__name__)

GRACE_S: Final = 45.0
"""What an end in order may take besides its uploads; each of its steps has a limit of its own below this."""

HUNG_EXIT_CODE: Final = 13
"""With this the process ends when it did not do so in order: `ExitCode.TIMEOUT` of the command line."""


class Watchdog:
    """Ends this process by force when it outlives a stop request by too much.

    Closed files are safe, as after any kill of the daemon. It is a thread, so that an event loop that
    hangs does not hold it up.
    """

    def __init__(self, mountpoint: str) -> None:
        self._mountpoint = mountpoint
        self._mount: Mount | None = None
        self._condition = threading.Condition()
        self._deadline: float | None = None
        self._ended = False

    def note_mounted(self) -> None:
        """The mount is there: remember which one it is."""
        self._mount = mounts.mount_at(self._mountpoint)

    def expect_end(self, drain_timeout_s: float) -> None:
        """A stop with so much time for uploads was requested. The earliest expectation counts."""
        deadline = time.monotonic() + drain_timeout_s + GRACE_S
        with self._condition:
            if self._deadline is None:
                threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
            self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
            self._condition.notify_all()

    def dismiss(self) -> None:
        """The mount ended."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def _watch(self) -> None:
        with self._condition:
            while not self._ended:
                assert self._deadline is not None
                left_s = self._deadline - time.monotonic()
                if left_s <= 0:
                    break
                self._condition.wait(left_s)
            if self._ended:
                return
        self._end_by_force()

    def _end_by_force(self) -> None:
        try:
            log.critical("the end of the mount hangs: ending the process; the next mount goes on")
            faulthandler.dump_traceback(2)
            # So that no program waits, and no thread of this process is stuck in the kernel.
            if self._mount is not None:
                mounts.abort_connection(self._mount)
                if mounts.is_attached(self._mount):
                    mounts.unmount(self._mount, lazy=True)
        finally:
            os._exit(HUNG_EXIT_CODE)
