"""A lease that ends under a real program: it is told, and nothing that it wrote passes for a version."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from scripts.lock_histories.clock_step import SteppedClocks
from tests.t5_kernel.mounted import PATIENCE_S, Mount, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

LEASE_S = 3
LONG_LEASE_S = 60

PROGRAM = """
import errno, fcntl, os, sys
kind, path = sys.argv[1:]
lock = fcntl.flock if kind == "flock" else fcntl.lockf
descriptor = os.open(path, os.O_RDWR)
steps = {
    "lock": lambda: lock(descriptor, fcntl.LOCK_EX),
    "try": lambda: lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
    "unlock": lambda: lock(descriptor, fcntl.LOCK_UN),
    "write": lambda: os.pwrite(descriptor, b"ours", 0),
    "read": lambda: os.pread(descriptor, 100, 0).decode(),
    "fsync": lambda: os.fsync(descriptor),
    "close": lambda: os.close(descriptor),
}
for line in sys.stdin:
    try:
        print(steps[line.strip()]() or "ok", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""


class Program:
    """Does what it is told to a file that it has open, and tells what came of it."""

    def __init__(self, world: World, kind: str, path: Path) -> None:
        self._process: Popen[bytes] = world.start(
            sys.executable, "-c", PROGRAM, kind, path, stdin=PIPE, stdout=PIPE, bufsize=0
        )

    def does(self, step: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(step.encode() + b"\n")
        return bytes(self._process.stdout.readline()).decode().strip()


@pytest.fixture
def leased(make_world: Callable[..., World]) -> Iterator[World]:
    """A server that grants short leases, with `file` in its workspace."""
    world = make_world("--min-lock-seconds", "1")
    with world.api() as api:
        api.upload("file", b"old")
    with world.bounded():
        yield world


def _conflict_copies(mount: Mount) -> list[str]:
    return [path.read_text() for path in mount.place.iterdir() if path.name.startswith("file (conflict ")]


@pytest.mark.long
def test_what_a_paused_daemon_would_send_after_its_lease_is_kept_aside(leased: World) -> None:
    # The upload is sealed and waits when the daemon stops.
    first = leased.mount("first", lease_duration_s=LEASE_S, upload_delay_s=1.0)
    second = leased.mount("second", lease_duration_s=LEASE_S)
    ours, theirs = (Program(leased, "flock", mount / "file") for mount in (first, second))
    assert [ours.does(step) for step in ("lock", "write", "fsync")] == ["ok", "4", "ok"]
    first.signal(signal.SIGSTOP)
    try:
        assert theirs.does("lock") == "ok"
        assert theirs.does("read") == "old"
        (second / "file").write_text("theirs")
        assert theirs.does("unlock") == "ok"
    finally:
        first.signal(signal.SIGCONT)
    wait_until(lambda: first.status()["leases_lost"] == 1, limit_s=PATIENCE_S)
    assert [lock["lost"] for lock in first.status()["locks"]] == [1]
    said = leased.machine.run("locks", first.place).succeeded().stdout
    assert "LOST" in said
    assert "lost the lock" in first.log()
    assert [ours.does(step) for step in ("fsync", "lock", "close")] == ["EIO", "EIO", "EIO"]
    first.sync()
    wait_until(lambda: _conflict_copies(second) == ["ours"], limit_s=PATIENCE_S)
    for mount in (first, second):
        assert (mount / "file").read_text() == "theirs"
        assert mount.status()["locks"] == []
        mount.audit()


def test_a_descriptor_is_good_again_after_its_unlock(leased: World) -> None:
    first = leased.mount("first", lease_duration_s=LEASE_S)
    ours = Program(leased, "fcntl", first / "file")
    assert [ours.does(step) for step in ("lock", "write")] == ["ok", "4"]
    first.signal(signal.SIGSTOP)
    with leased.api() as api:
        lock = f"{api.storage}{api.children()['file']}/lock/"
        wait_until(lambda: not api.get(lock)["locked"], limit_s=PATIENCE_S)
    first.signal(signal.SIGCONT)
    wait_until(lambda: first.status()["leases_lost"] == 1, limit_s=PATIENCE_S)
    assert [ours.does(step) for step in ("unlock", "lock", "read", "write")] == ["EIO", "ok", "old", "4"]
    assert [ours.does(step) for step in ("fsync", "unlock", "close")] == ["ok", "ok", "ok"]
    with leased.api() as api:
        assert api.read(api.children()["file"]) == b"ours"
    assert _conflict_copies(first) == ["ours"]


def test_a_sleep_of_the_host_counts_for_the_lease(leased: World, tmp_path: Path) -> None:
    clocks = SteppedClocks(tmp_path)
    mount = leased.mount("first", lease_duration_s=60, environment=clocks.environment)
    ours, other = (Program(leased, "flock", mount / "file") for _ in range(2))
    assert [ours.does(step) for step in ("lock", "write")] == ["ok", "4"]
    clocks.sleep(3600)
    assert ours.does("unlock") == "EIO"
    assert other.does("lock") == "ok"
    assert other.does("read") == "old"
    assert mount.status()["leases_lost"] == 1


@pytest.mark.long
def test_a_lease_that_still_holds_when_a_killed_daemon_comes_back_is_kept(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    with world.bounded():
        # Nothing that the dead daemon had to send can have gone out by itself.
        first = world.mount("first", lease_duration_s=LONG_LEASE_S, upload_delay_s=LONG_LEASE_S)
        second = world.mount("second")
        (first / "file").write_text("old")
        first.sync()
        wait_until((second / "file").exists)
        ours = Program(world, "flock", first / "file")
        assert [ours.does(step) for step in ("lock", "write", "fsync")] == ["ok", "4", "ok"]
        first.kill()
        theirs = Program(world, "flock", second / "file")
        assert theirs.does("try") == "EAGAIN"
        began = time.monotonic()
        first.start()
        assert theirs.does("lock") == "ok"
        assert time.monotonic() - began < LONG_LEASE_S, "it was given back, and did not just end"
        assert theirs.does("read") == "ours"
        assert "going on with the lock" in first.log()
        assert first.status()["leases_lost"] == 0
        assert _conflict_copies(second) == []


@pytest.mark.long
def test_a_lease_that_ended_before_a_killed_daemon_comes_back_is_lost(leased: World) -> None:
    first = leased.mount("first", lease_duration_s=LEASE_S, upload_delay_s=60.0)
    second = leased.mount("second", lease_duration_s=LEASE_S)
    ours, theirs = (Program(leased, "flock", mount / "file") for mount in (first, second))
    assert [ours.does(step) for step in ("lock", "write", "fsync")] == ["ok", "4", "ok"]
    first.kill()
    assert [theirs.does(step) for step in ("lock", "read")] == ["ok", "old"]
    (second / "file").write_text("theirs")
    assert theirs.does("unlock") == "ok"
    first.start()
    first.sync()
    assert (first / "file").read_text() == "theirs"
    wait_until(lambda: _conflict_copies(second) == ["ours"], limit_s=PATIENCE_S)
    assert "going on with the lock" not in first.log()
    first.audit()
