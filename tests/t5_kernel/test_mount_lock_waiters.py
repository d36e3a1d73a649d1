"""Those who wait for a lock: a crowd of them holds nothing up, and the end of the mount ends their wait."""

import errno
import fcntl
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, Mount, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

CROWD = 1000

WAIT = """
import errno, fcntl, os, sys, threading
threading.stack_size(128 * 1024)
def wait(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        os.write(1, errno.errorcode.get(error.errno, str(error.errno)).encode())
descriptors = [os.open(sys.argv[1], os.O_RDWR) for _ in range(int(sys.argv[2]))]
print("opened", flush=True)
sys.stdin.readline()
for descriptor in descriptors:
    threading.Thread(target=wait, args=[descriptor]).start()
"""


class Crowd:
    """A program that opens a file so many times, and then waits for its lock by each."""

    def __init__(self, world: World, path: Path, number: int) -> None:
        self.program: Popen[bytes] = world.start(
            sys.executable, "-c", WAIT, path, str(number), stdin=PIPE, stdout=PIPE, bufsize=0
        )
        assert self.program.stdout
        assert self.program.stdout.readline() == b"opened\n"

    def wait_for_the_lock(self) -> None:
        assert self.program.stdin
        self.program.stdin.write(b"\n")

    def error(self) -> str:
        """Return what ended the wait."""
        return bytes(self.program.communicate(timeout=PATIENCE_S)[0]).decode()


def _waiting(mount: Mount) -> int:
    return sum(lock["waiters"] for lock in mount.status()["locks"])


def test_a_thousand_waiters_hold_up_nothing_else(world: World) -> None:
    mount = world.mount("first")
    (mount / "file").write_text("")
    crowd = Crowd(world, mount / "file", CROWD)
    with (mount / "file").open("r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        crowd.wait_for_the_lock()
        wait_until(lambda: _waiting(mount) == CROWD, limit_s=PATIENCE_S)
        # More than pyfuse3 has handlers, each a request of its own.
        for number in range(120):
            (mount / f"other-{number}").write_text("content")
            assert (mount / f"other-{number}").read_text() == "content"
        with (mount / "other-0").open("r+") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        crowd.program.kill()
        assert crowd.program.wait(PATIENCE_S) == -signal.SIGKILL
        wait_until(lambda: _waiting(mount) == 0, limit_s=PATIENCE_S)
        fcntl.flock(holder, fcntl.LOCK_UN)
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_end_of_the_mount_ends_a_wait_with_an_error_that_programs_know(world: World) -> None:
    mount = world.mount("first")
    (mount / "file").write_text("")
    waiter = Crowd(world, mount / "file", 1)
    holder = os.open(mount / "file", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiter.wait_for_the_lock()
        wait_until(lambda: _waiting(mount) == 1, limit_s=PATIENCE_S)
        mount.signal(signal.SIGTERM)
        assert waiter.error() == errno.errorcode[errno.EIO]
    finally:
        with suppress(OSError):  # the mount may be gone
            os.close(holder)
