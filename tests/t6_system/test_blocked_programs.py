"""However a mount ends, a program that waits in it for a lock can be killed, and mostly ends by itself."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel

_LOCK = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    print("open", flush=True)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        print("locked", flush=True)
        sys.stdin.read()
    except OSError as error:
        print("error", error.errno, flush=True)
"""


class Locker:
    """A program that takes an exclusive lock, and holds it until it is released."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LOCK, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd="/",
        )

    def next_word(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    @property
    def state(self) -> str:
        """Return the letter that the kernel gives the process: D cannot be killed."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(line.split()[1] for line in status.splitlines() if line.startswith("State:"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def _contended(machine: Machine, place: Path) -> Iterator[tuple[Locker, Locker]]:
    """Yield one program that holds a lock, and one that waits for it."""
    path = place / "lock"
    with ExitStack() as stack:
        holder = Locker(path)
        stack.callback(holder.end)
        assert (holder.next_word(), holder.next_word()) == ("open", "locked")
        waiter = Locker(path)
        stack.callback(waiter.end)
        assert waiter.next_word() == "open"
        wait_until(lambda: [lock["waiters"] for lock in machine.status(place)["locks"]] == [1])
        yield holder, waiter


def test_sigterm_ends_the_wait_with_an_error(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    daemon = machine.daemon(place)
    with _contended(machine, place) as (_holder, waiter):
        daemon.send(signal.SIGTERM)
        assert daemon.wait_gone(90)
        assert waiter.next_word().startswith("error")
        waiter.process.wait(30)
    assert not is_mounted(place)


@pytest.mark.long
def test_sigterm_with_a_frozen_server_ends_the_wait_too(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    config = machine.configure("drain_timeout_s = 1")
    machine.mount(server, place, "--config", config).succeeded()
    daemon = machine.daemon(place)
    with _contended(machine, place) as (_holder, waiter):
        server.freeze()
        daemon.send(signal.SIGTERM)
        assert daemon.wait_gone(90)
        assert waiter.next_word().startswith("error")
    assert not is_mounted(place)


@pytest.mark.long
def test_kill_of_the_daemon_leaves_programs_that_can_be_killed(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    daemon = machine.daemon(place)
    with _contended(machine, place) as (holder, waiter):
        daemon.send(signal.SIGKILL)
        assert daemon.wait_gone(30)
        assert waiter.next_word().startswith("error")
        waiter.process.wait(30)
        assert holder.state == "S"
        # The stale mount is replaced although a program still has a file of it open.
        machine.mount(server, place).succeeded()
        assert (place / "lock").read_bytes() == b""
    machine.run("umount", place).succeeded()


def test_umount_is_refused_and_disturbs_nobody(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    with _contended(machine, place) as (holder, waiter):
        machine.run("umount", place).refused(ExitCode.BUSY, f"({waiter.process.pid})")
        assert waiter.state == "S"
        holder.release()
        assert waiter.next_word() == "locked"
        waiter.release()
    machine.run("umount", place).succeeded()


def test_waiting_program_can_be_killed_while_the_daemon_hangs(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    daemon = machine.daemon(place)
    with _contended(machine, place) as (_holder, waiter):
        daemon.send(signal.SIGSTOP)
        waiter.process.kill()
        daemon.send(signal.SIGKILL)  # what the program's message says as a last resort
        assert daemon.wait_gone(30)
        assert waiter.process.wait(30) == -signal.SIGKILL
    machine.run("umount", place).succeeded()
