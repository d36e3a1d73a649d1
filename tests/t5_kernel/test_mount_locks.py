"""`flock` across two mounts of one workspace, taken by real programs."""

import errno
import fcntl
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, Mount, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

ROUNDS = 100
LEASE_S = 3

LOCK_FILE = 'exec 9>>"$1.lock"; flock -x 9; read n <"$1"; echo $((n + 1)) >"$1"'
COUNTER_ITSELF = 'exec 9<>"$1"; flock -x 9; read n <&9; echo $((n + 1)) >"$1"'

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
print("opened", flush=True)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print(os.pread(descriptor, 100, 0).decode().strip(), flush=True)
for line in sys.stdin:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, line.strip().encode(), 0)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    print("unlocked", flush=True)
"""


class Holder:
    """A program that opens a file, locks it, says what it reads, and unlocks after a last write."""

    def __init__(self, world: World, path: Path) -> None:
        self.program: Popen[bytes] = world.start(
            sys.executable, "-c", HOLD, path, stdin=PIPE, stdout=PIPE, bufsize=0
        )
        assert self._line() == "opened"

    def _line(self) -> str:
        assert self.program.stdout
        return bytes(self.program.stdout.readline()).decode().strip()

    def locked(self) -> str:
        """Wait for the lock; return what the file has then."""
        return self._line()

    def unlock(self, content: str) -> None:
        assert self.program.stdin
        self.program.stdin.write(content.encode() + b"\n")
        assert self._line() == "unlocked"


def _waiters(mount: Mount) -> int:
    return sum(lock["waiters"] for lock in mount.status()["locks"])


def _wait_for_waiters(mount: Mount, count: int) -> None:
    wait_until(lambda: _waiters(mount) == count, limit_s=PATIENCE_S)


@pytest.fixture
def pair(world: World) -> tuple[Mount, Mount]:
    """Two mounts that both see `file`, which has "0" in it."""
    first, second = world.mount("first"), world.mount("second")
    (first / "file").write_text("0\n")
    first.sync()
    wait_until((second / "file").exists)
    return first, second


@pytest.mark.parametrize("script", [LOCK_FILE, COUNTER_ITSELF], ids=["lock file", "counter itself"])
@pytest.mark.long
def test_four_processes_count_to_four_hundred(world: World, pair: tuple[Mount, Mount], script: str) -> None:
    loop = f"set -e; i=0; while [ $i -lt {ROUNDS} ]; do ( {script} ); i=$((i + 1)); done"
    programs = [world.start("sh", "-c", loop, "sh", mount / "file") for mount in pair for _ in range(2)]
    assert [program.wait(PATIENCE_S) for program in programs] == [0, 0, 0, 0]
    for mount in pair:
        mount.sync()
        with (mount / "file").open() as counter:
            fcntl.flock(counter, fcntl.LOCK_EX)
            assert counter.read() == f"{4 * ROUNDS}\n"
        mount.audit()


def test_non_blocking_lock_is_refused_across_mounts(pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    with (first / "file").open("r+") as holder, (second / "file").open("r+") as other:
        fcntl.flock(holder, fcntl.LOCK_EX)
        for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            with pytest.raises(BlockingIOError) as refused:
                fcntl.flock(other, kind | fcntl.LOCK_NB)
            assert refused.value.errno == errno.EWOULDBLOCK
        fcntl.flock(holder, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_blocked_lock_sees_the_last_write_through_an_open_descriptor(
    world: World, pair: tuple[Mount, Mount]
) -> None:
    first, second = pair
    ahead = Holder(world, first / "file")
    assert ahead.locked() == "0"
    behind = Holder(world, second / "file")
    _wait_for_waiters(second, 1)
    ahead.unlock("a longer text than before")
    assert behind.locked() == "a longer text than before"
    again = Holder(world, first / "file")
    behind.unlock("short")
    assert again.locked() == "short"


def test_killed_waiter_leaves_nothing_behind(world: World, pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    ahead = Holder(world, first / "file")
    ahead.locked()
    behind = Holder(world, second / "file")
    _wait_for_waiters(second, 1)
    behind.program.kill()
    assert behind.program.wait(PATIENCE_S) == -signal.SIGKILL
    _wait_for_waiters(second, 0)
    ahead.unlock("1")
    for mount in (second, first):
        _wait_for_waiters(mount, 0)
        with (mount / "file").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert file.read() == "1"


def test_keyboard_interrupt_ends_a_waiter(world: World, pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    ahead = Holder(world, first / "file")
    ahead.locked()
    for mount in pair:
        before = _waiters(mount)
        # A suite that runs in the background of a shell ignores SIGINT, and its children would with it.
        waiter = world.start("env", "--default-signal=INT", "flock", mount / "file", "true")
        _wait_for_waiters(mount, before + 1)
        waiter.send_signal(signal.SIGINT)
        assert waiter.wait(PATIENCE_S) == -signal.SIGINT
        _wait_for_waiters(mount, before)
    ahead.unlock("1")
    assert Holder(world, second / "file").locked() == "1"


def test_death_of_the_holder_lets_the_other_mount_in(world: World, pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    ahead = Holder(world, first / "file")
    ahead.locked()
    behind = Holder(world, second / "file")
    _wait_for_waiters(second, 1)
    (first / "file").write_text("written before it died")
    ahead.program.kill()
    assert behind.locked() == "written before it died"


@pytest.mark.long
def test_lock_of_a_killed_daemon_ends_with_its_lease(make_world: Callable[..., World]) -> None:
    world = make_world("--min-lock-seconds", "1")
    with world.bounded():
        first = world.mount("first", lease_duration_s=LEASE_S)
        second = world.mount("second", lease_duration_s=LEASE_S)
        (first / "file").write_text("0")
        first.sync()
        wait_until((second / "file").exists)
        ahead = Holder(world, first / "file")
        assert ahead.locked() == "0"
        behind = Holder(world, second / "file")
        _wait_for_waiters(second, 1)
        first.kill()
        assert behind.locked() == "0"
        ahead.program.kill()
        ahead.program.wait(PATIENCE_S)
        first.start()
        behind.unlock("1")
        assert Holder(world, first / "file").locked() == "1"


def test_shared_holders_of_two_processes_keep_the_writer_out(world: World, pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    with (first / "file").open() as one, (first / "file").open() as two:
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(two, fcntl.LOCK_SH)
        writer = Holder(world, second / "file")
        _wait_for_waiters(second, 1)
        fcntl.flock(one, fcntl.LOCK_UN)
        with (second / "file").open() as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(two, fcntl.LOCK_UN)
        assert writer.locked() == "0"
