"""fallocate, holes and copies through the adapter: what the file system is told, and what programs get."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mountfs.kernel import extension
from scripts.posix.syscalls import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    fallocate,
)
from tests.t5_kernel.adapter.processes import Daemon, Process
from tests.t6_system.machine import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not extension.AVAILABLE, reason=f"NOT TESTED: {extension.REASON}"),
]


def test_each_mode_of_fallocate_is_told_with_its_caller(daemon: Daemon) -> None:
    with (daemon.mountpoint / "file").open("w+b", buffering=0) as file:
        file.write(b"x" * 10_000)
        fallocate(file.fileno(), 0, 5_000, 10_000)
        fallocate(file.fileno(), FALLOC_KEEP_SIZE, 0, 1 << 20)
        fallocate(file.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 1_000, 2_000)
        fallocate(file.fileno(), FALLOC_ZERO_RANGE, 14_000, 2_000)
        assert os.fstat(file.fileno()).st_size == 16_000
        expected = bytearray(16_000)
        expected[:10_000] = b"x" * 10_000
        expected[1_000:3_000] = bytes(2_000)
        assert os.pread(file.fileno(), 20_000, 0) == expected
    told = daemon.ask("[(a.kind.value, a.start, a.end, a.keeps_size) for a, _ in filesystem.allocations]")
    assert told == [
        ("reserve", 5_000, 15_000, False),
        ("reserve", 0, 1 << 20, True),
        ("hole", 1_000, 3_000, True),
        ("zeros", 14_000, 16_000, False),
    ]
    assert daemon.ask("{(c.uid, c.gid, c.pid) for _, c in filesystem.allocations}") == {
        (os.getuid(), os.getgid(), os.getpid())
    }


def test_holes_are_looked_for_and_nothing_behind_the_end_is_found(daemon: Daemon) -> None:
    with (daemon.mountpoint / "file").open("w+b", buffering=0) as file:
        file.write(b"x" * 100)
        assert os.lseek(file.fileno(), 30, os.SEEK_DATA) == 30
        assert os.lseek(file.fileno(), 30, os.SEEK_HOLE) == 100
        with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is checked
            os.lseek(file.fileno(), 100, os.SEEK_DATA)
        assert refused.value.errno == errno.ENXIO


def test_copy_is_done_by_the_file_system(daemon: Daemon) -> None:
    (daemon.mountpoint / "source").write_bytes(b"0123456789" * 1000)
    with (
        (daemon.mountpoint / "source").open("rb") as source,
        (daemon.mountpoint / "new").open("w+b") as target,
    ):
        assert os.copy_file_range(source.fileno(), target.fileno(), 5_000, 5, 100) == 5_000
        assert os.copy_file_range(source.fileno(), target.fileno(), 5_000, 10_000, 0) == 0
    assert (daemon.mountpoint / "new").read_bytes() == bytes(100) + (b"0123456789" * 1000)[5:5_005]
    assert daemon.ask("filesystem.copies") >= 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_copy_that_hangs_is_interrupted(
    daemon: Daemon, start_program: Callable[..., Process], number: signal.Signals
) -> None:
    for name in ("stuck", "target"):
        (daemon.mountpoint / name).write_bytes(b"x" * 100)
    program = start_program(
        """
source, target = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDWR)
say("begins")
try:
    os.copy_file_range(source, target, 100)
except KeyboardInterrupt:
    say("interrupted")
""",
        daemon.mountpoint / "stuck",
        daemon.mountpoint / "target",
    )
    assert program.line() == "begins"
    daemon.wait_until("filesystem.stuck_requests == 1")
    os.kill(program.pid, number)
    assert program.line() == ("interrupted" if number is signal.SIGINT else "")
    program.wait()
    assert (daemon.mountpoint / "target").read_bytes() == b"x" * 100


def test_harmless_signal_does_not_end_a_copy(daemon: Daemon, start_program: Callable[..., Process]) -> None:
    for name in ("stuck", "target", "other"):
        (daemon.mountpoint / name).write_bytes(b"x" * 100)
    program = start_program(
        """
signal.signal(signal.SIGCHLD, lambda *_: None)
source, target = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDWR)
say(os.copy_file_range(source, target, 100))
""",
        daemon.mountpoint / "stuck",
        daemon.mountpoint / "target",
    )
    daemon.wait_until("filesystem.stuck_requests == 1")
    os.kill(program.pid, signal.SIGCHLD)
    # Uninterruptible, unless it has ended: the daemon is told, and reads that before any other request.
    wait_until(lambda: Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] in "DZ")
    (daemon.mountpoint / "other").read_bytes()
    daemon.ask("filesystem.free()")
    assert program.line() == "100"


def test_copy_is_one_for_the_program_that_asks_for_it(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    for name in ("source", "target"):
        (daemon.mountpoint / name).write_bytes(b"x" * 100)
    program = start_program(
        """
source, target = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDWR)
say("ready")
sys.stdin.readline()
say(os.copy_file_range(source, target, 100))
""",
        daemon.mountpoint / "source",
        daemon.mountpoint / "target",
    )
    assert program.line() == "ready"
    for number in range(20):
        (daemon.mountpoint / f"of another program {number}").touch()
    program.tell()
    assert program.line() == "100"
    assert set(daemon.ask("filesystem.copied_for")) == {program.pid}


def test_waiting_copies_do_not_eat_the_handlers(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    """pyfuse3 runs at most 99 handlers. What the copies need was opened before: nothing else is under way."""
    for name in ("stuck", "other"):
        (daemon.mountpoint / name).write_bytes(b"x" * 100)
    program = start_program(
        """
import threading
source = os.open(sys.argv[1], os.O_RDONLY)
targets = [os.open(sys.argv[2] + str(number), os.O_RDWR | os.O_CREAT) for number in range(120)]
for target in targets:
    threading.Thread(target=os.copy_file_range, args=[source, target, 100], daemon=True).start()
say("begun")
sys.stdin.readline()
os._exit(0)
""",
        daemon.mountpoint / "stuck",
        daemon.mountpoint / "target",
    )
    assert program.line() == "begun"
    daemon.wait_until("filesystem.stuck_requests == 120")
    assert Path(daemon.mountpoint / "other").stat().st_size == 100
    program.tell()
    assert program.wait() == 0


def test_first_copies_at_once_are_done_by_the_file_system(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    """Kernels ask for copies of any length first; where they were refused twice at once, they gave up all."""
    for name in ("source", "target0", "target1"):
        (daemon.mountpoint / name).write_bytes(b"x" * 100)
    program = start_program(
        """
import threading
source = os.open(sys.argv[1], os.O_RDONLY)
targets = [os.open(sys.argv[2] + str(number), os.O_RDWR) for number in range(2)]
threads = [threading.Thread(target=os.copy_file_range, args=[source, target, 100]) for target in targets]
say("ready")
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
        daemon.mountpoint / "source",
        daemon.mountpoint / "target",
    )
    assert program.line() == "ready"
    daemon.popen.send_signal(signal.SIGSTOP)
    os.waitpid(daemon.pid, os.WUNTRACED)
    program.tell()
    wait_until(lambda: sleeps_of(program.pid).count("request_wait_answer") == 2)
    daemon.popen.send_signal(signal.SIGCONT)
    assert program.wait() == 0
    assert daemon.ask("filesystem.copies") == 2


def sleeps_of(pid: int) -> list[str]:
    """Return in which function of the kernel each thread of the process sleeps."""
    return [place.read_text() for place in Path(f"/proc/{pid}/task").glob("*/wchan")]
