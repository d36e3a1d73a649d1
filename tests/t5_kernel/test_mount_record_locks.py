"""fcntl record locks by real programs: on one mount as POSIX says, and across two mounts of one workspace."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, Mount, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

PROGRAM = """
import errno, fcntl, os, struct, sys
TYPES = {"read": fcntl.F_RDLCK, "write": fcntl.F_WRLCK, "unlock": fcntl.F_UNLCK}
NAMES = {number: name for name, number in TYPES.items()}
CALLS = {"set": fcntl.F_SETLK, "wait": fcntl.F_SETLKW, "test": fcntl.F_GETLK,
         "ofd-set": fcntl.F_OFD_SETLK, "ofd-wait": fcntl.F_OFD_SETLKW, "ofd-test": fcntl.F_OFD_GETLK}
ERRORS = {errno.EAGAIN: "EAGAIN", errno.EDEADLK: "EDEADLK"}
files = {}
def answer(call, name, kind="", start="0", size="0"):
    if call == "open":
        files[name] = os.open(sys.argv[1] if not kind else kind, os.O_RDWR)
    elif call == "open-read":
        files[name] = os.open(sys.argv[1], os.O_RDONLY)
    elif call == "dup":
        files[kind] = os.dup(files[name])
    elif call == "close":
        os.close(files.pop(name))
    elif call == "flock":
        fcntl.flock(files[name], fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif call == "flock-wait":
        fcntl.flock(files[name], fcntl.LOCK_EX)
    elif call == "flock-unlock":
        fcntl.flock(files[name], fcntl.LOCK_UN)
    elif call == "add":
        seen = os.pread(files[name], 20, 0)
        os.pwrite(files[name], b"%d" % (int(seen) + 1), 0)
        return seen.decode()
    elif call == "fork":
        child = os.fork()
        if not child:
            try:
                answer(*kind.split(","))
                os._exit(0)
            except OSError as error:
                os._exit(error.errno)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return ERRORS.get(code, str(code)) if code else "ok"
    else:
        wanted = struct.pack("hhqqi", TYPES[kind], 0, int(start), int(size), 0)
        found = struct.unpack("hhqqi", fcntl.fcntl(files[name], CALLS[call], wanted))
        if call in ("test", "ofd-test"):
            return " ".join(map(str, (NAMES[found[0]], found[2], found[3], found[4])))
    return "ok"
for line in sys.stdin:
    try:
        print(answer(*line.split()), flush=True)
    except OSError as error:
        print(ERRORS.get(error.errno, str(error)), flush=True)
"""


class Program:
    """A process that does with the file, opened as `a`, what it is told."""

    def __init__(self, world: World, path: Path) -> None:
        self.process: Popen[bytes] = world.start(
            sys.executable, "-c", PROGRAM, path, stdin=PIPE, stdout=PIPE, bufsize=0
        )
        assert self("open a") == "ok"

    def begin(self, command: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(command.encode() + b"\n")

    def answer(self) -> str:
        assert self.process.stdout
        return bytes(self.process.stdout.readline()).decode().strip()

    def __call__(self, command: str) -> str:
        self.begin(command)
        return self.answer()


def _waiters(mount: Mount) -> int:
    return sum(lock["waiters"] for lock in mount.status()["locks"])


def _wait_for_waiters(mount: Mount, count: int) -> None:
    wait_until(lambda: _waiters(mount) == count, limit_s=PATIENCE_S)


@pytest.fixture
def mount(world: World) -> Iterator[Mount]:
    with world.bounded():
        mount = world.mount("first")
        for name in ("file", "other"):
            (mount / name).write_text("0")
        mount.sync()
        yield mount


@pytest.fixture
def one(world: World, mount: Mount) -> Program:
    return Program(world, mount / "file")


@pytest.fixture
def two(world: World, mount: Mount) -> Program:
    return Program(world, mount / "file")


def test_ranges_are_locked_by_themselves_and_the_holder_is_named(one: Program, two: Program) -> None:
    assert one("set a write 10 10") == "ok"
    assert two("set a write 20 5") == "ok"
    assert two("set a read 0 11") == "EAGAIN"
    assert two("test a read 0 0") == f"write 10 10 {one.process.pid}"
    assert one("set a unlock 12 2") == "ok"
    assert two("test a write 12 0") == f"write 14 6 {one.process.pid}"
    assert two("test a write 12 2") == "unlock 12 2 0"
    assert one("set a read 10 2") == "ok"
    assert two("set a read 10 2") == "ok"
    assert one("set a write 10 2") == "EAGAIN"
    assert two("test a write 11 0") == f"read 10 2 {one.process.pid}"


def test_any_close_of_the_process_unlocks_but_of_no_other(one: Program, two: Program) -> None:
    for call in ("open b", "open-read b", "dup a b"):
        assert one("set a write") == "ok"
        assert one("fork - test,a,write") == "ok"
        assert two("set a write") == "EAGAIN", "the end of a child gives up its parent's locks"
        assert one(call) == "ok"
        assert two("set a write") == "EAGAIN"
        assert one("close b") == "ok"
        assert two("set a write") == "ok", call
        assert two("set a unlock") == "ok"


def test_a_child_does_not_inherit(one: Program) -> None:
    assert one("set a write") == "ok"
    assert one("fork - set,a,write") == "EAGAIN"


def test_a_read_lock_ends_with_its_read_only_descriptor(one: Program, two: Program) -> None:
    assert one("open-read b") == "ok"
    assert one("set b read") == "ok"
    assert two("set a write") == "EAGAIN"
    assert one("close b") == "ok"
    assert two("wait a write") == "ok"


def test_open_file_description_locks_end_with_their_description(one: Program, two: Program) -> None:
    assert one("open b") == "ok"
    assert one("dup b c") == "ok"
    assert one("ofd-set b write") == "ok"
    assert one("ofd-set a write") == "EAGAIN", "another description of the same process"
    assert one("ofd-test a write") == "write 0 0 -1"
    assert one("ofd-test c write") == "unlock 0 0 0", "a duplicate is of the same description"
    assert two("test a write") == f"write 0 0 {one.process.pid}"
    assert one("close b") == "ok"
    assert two("set a write") == "EAGAIN", "the description is still open as c"
    assert one("close c") == "ok"
    assert two("wait a write") == "ok"
    one.begin("ofd-wait a read")
    assert two("set a unlock") == "ok"
    assert one.answer() == "ok"


def test_flock_and_record_locks_ignore_each_other(one: Program, two: Program) -> None:
    assert one("flock a") == "ok"
    assert two("set a write") == "ok"
    assert two("flock a") == "EAGAIN"


def test_a_circle_is_a_deadlock(mount: Mount, one: Program, two: Program) -> None:
    for program in (one, two):
        assert program(f"open b {mount / 'other'}") == "ok"
    assert one("set a write") == "ok"
    assert two("set b write") == "ok"
    one.begin("wait b write")
    _wait_for_waiters(mount, 1)
    assert two("wait a read") == "EDEADLK"
    assert two("set b unlock") == "ok"
    assert one.answer() == "ok"


def test_the_death_of_holder_and_waiter_leaves_nothing(
    world: World, mount: Mount, one: Program, two: Program
) -> None:
    three = Program(world, mount / "file")
    assert one("set a write") == "ok"
    two.begin("wait a write")
    _wait_for_waiters(mount, 1)
    two.process.kill()
    assert two.process.wait(PATIENCE_S) == -signal.SIGKILL
    _wait_for_waiters(mount, 0)
    three.begin("wait a write")
    _wait_for_waiters(mount, 1)
    one.process.kill()
    assert three.answer() == "ok"


def test_locks_hold_across_mounts_and_the_next_holder_reads_what_was_written(
    world: World, mount: Mount, one: Program
) -> None:
    second = world.mount("second")
    wait_until((second / "file").exists)
    there = Program(world, second / "file")
    assert one("set a write 100 1") == "ok"
    assert one("add a") == "0"
    assert there("set a read 200 1") == "EAGAIN", "the lease is of the file"
    there.begin("wait a write 100 1")
    _wait_for_waiters(second, 1)
    assert one("close a") == "ok"
    assert there.answer() == "ok"
    assert there("add a") == "1"
    assert there("set a unlock") == "ok"
    for seen, program in (("2", Program(world, mount / "file")), ("3", there)):
        assert program("wait a write") == "ok"
        assert program("add a") == seen
        assert program("set a unlock") == "ok"
    second.sync()
    assert (second / "file").read_text() == "4"


@pytest.mark.parametrize("calls", [("wait a write", "set a unlock"), ("flock-wait a", "flock-unlock a")])
def test_open_descriptors_of_two_mounts_read_the_last_value_of_equal_size(
    world: World, mount: Mount, one: Program, calls: tuple[str, str]
) -> None:
    lock, unlock = calls
    second = world.mount("second")
    wait_until((second / "file").exists)
    there = Program(world, second / "file")
    for number in range(9):
        program = (one, there)[number % 2]
        assert program(lock) == "ok"
        assert program("add a") == str(number)
        assert program(unlock) == "ok"
