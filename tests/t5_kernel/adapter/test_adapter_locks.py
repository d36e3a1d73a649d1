"""flock through the adapter: what programs see, whatever happens to them or to the daemon."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mountfs.kernel import extension, mounts
from tests.t5_kernel.adapter.processes import Daemon, Process

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not extension.AVAILABLE, reason=f"NOT TESTED: {extension.REASON}"),
]

StartProgram = Callable[..., Process]

LOCK = """
path, operation = sys.argv[1], int(sys.argv[2])
descriptor = os.open(path, os.O_RDWR)
try:
    fcntl.flock(descriptor, operation)
    say("locked")
except OSError as error:
    say(errno.errorcode[error.errno])
sys.stdin.readline()
"""
SHARED, EXCLUSIVE, NO_WAIT = "1", "2", 4


@pytest.fixture
def file(daemon: Daemon) -> Path:
    path = daemon.mountpoint / "file"
    path.write_bytes(b"content")
    return path


def no_wait(operation: str) -> str:
    return str(int(operation) | NO_WAIT)


def test_exclusive_excludes_and_shared_shares_between_processes(
    file: Path, start_program: StartProgram
) -> None:
    reader = start_program(LOCK, file, SHARED)
    assert reader.line() == "locked"
    assert start_program(LOCK, file, no_wait(SHARED)).line() == "locked"
    assert start_program(LOCK, file, no_wait(EXCLUSIVE)).line() == "EAGAIN"


def test_waiter_gets_the_lock_when_it_is_given_up(
    daemon: Daemon, file: Path, start_program: StartProgram
) -> None:
    holder = start_program(LOCK, file, EXCLUSIVE)
    assert holder.line() == "locked"
    waiter = start_program(LOCK, file, EXCLUSIVE)
    daemon.wait_until("session.waiting_locks == 1")
    holder.tell()
    assert waiter.line() == "locked"


def test_lock_ends_with_its_process(daemon: Daemon, file: Path, start_program: StartProgram) -> None:
    holder = start_program(LOCK, file, EXCLUSIVE)
    assert holder.line() == "locked"
    waiter = start_program(LOCK, file, EXCLUSIVE)
    daemon.wait_until("session.waiting_locks == 1")
    holder.popen.kill()
    assert waiter.line() == "locked"


def test_lock_lives_until_the_last_duplicate_is_closed(file: Path, start_program: StartProgram) -> None:
    holder = start_program(
        """
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
if os.fork():
    os.close(os.dup(descriptor))
    os.close(descriptor)
    say("closed here, open in the child")
    os.wait()
    say("closed everywhere")
    sys.stdin.readline()
else:
    sys.stdin.readline()
""",
        file,
    )
    assert holder.line() == "closed here, open in the child"
    assert start_program(LOCK, file, no_wait(EXCLUSIVE)).line() == "EAGAIN"
    holder.tell()
    assert holder.line() == "closed everywhere"
    assert start_program(LOCK, file, EXCLUSIVE).line() == "locked"


def test_lock_tried_right_after_a_close_is_never_refused(file: Path, start_program: StartProgram) -> None:
    program = start_program(
        """
for turn in range(1000):
    descriptor = os.open(sys.argv[1], os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
say("never refused")
""",
        file,
    )
    assert program.line() == "never refused"


def test_failed_try_and_its_close_do_not_take_the_lock_from_its_holder(
    daemon: Daemon, file: Path, start_program: StartProgram
) -> None:
    assert start_program(LOCK, file, EXCLUSIVE).line() == "locked"
    refused = start_program(LOCK, file, no_wait(EXCLUSIVE))
    assert refused.line() == "EAGAIN"
    refused.tell()
    refused.wait()
    daemon.wait_until("filesystem.dropped_locks == 1")
    assert start_program(LOCK, file, no_wait(EXCLUSIVE)).line() == "EAGAIN"


def test_signal_with_a_handler_interrupts_the_wait(
    daemon: Daemon, file: Path, start_program: StartProgram
) -> None:
    holder = start_program(LOCK, file, EXCLUSIVE)
    assert holder.line() == "locked"
    waiter = start_program(
        """
class Interrupted(Exception): pass
def interrupt(*_): raise Interrupted
signal.signal(signal.SIGUSR1, interrupt)
descriptor = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
except Interrupted:
    say("interrupted")
fcntl.flock(descriptor, fcntl.LOCK_EX)
say("locked")
""",
        file,
    )
    daemon.wait_until("session.waiting_locks == 1")
    waiter.popen.send_signal(signal.SIGUSR1)
    assert waiter.line() == "interrupted"
    daemon.wait_until("session.waiting_locks == 1")
    holder.tell()
    assert waiter.line() == "locked"


@pytest.mark.long
def test_many_waiters_are_served_in_order_while_the_mount_answers(
    daemon: Daemon, file: Path, start_program: StartProgram
) -> None:
    """150 waiters: more than the handlers that pyfuse3 runs at once. 20 of them are killed."""
    holder = start_program(LOCK, file, EXCLUSIVE)
    assert holder.line() == "locked"
    order = daemon.mountpoint / "order"
    order.touch()
    waiters = []
    for number in range(150):
        waiters.append(
            start_program(
                """
descriptor = os.open(sys.argv[1], os.O_RDWR)
order = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.write(order, sys.argv[3].encode() + b"\\n")
""",
                file,
                order,
                str(number),
            )
        )
        daemon.wait_until(f"session.waiting_locks == {number + 1}")
    assert sorted(path.name for path in daemon.mountpoint.iterdir()) == ["file", "order"]
    for waiter in waiters[:20]:
        waiter.popen.kill()
    for waiter in waiters[:20]:
        assert waiter.wait() == -signal.SIGKILL
    daemon.wait_until("session.waiting_locks == 130")
    holder.tell()
    for waiter in waiters[20:]:
        assert waiter.wait() == 0
    assert order.read_text().split() == [str(number) for number in range(20, 150)]


def test_killed_daemon_leaves_no_program_behind(
    daemon: Daemon, file: Path, start_program: StartProgram
) -> None:
    daemon.ask("filesystem.add(1, b'stuck', 0o100644).content.extend(b'content')")
    assert start_program(LOCK, file, EXCLUSIVE).line() == "locked"
    waiters = [start_program(LOCK, file, EXCLUSIVE) for _ in range(10)]
    reader = start_program(
        """
try: os.read(os.open(sys.argv[1], os.O_RDONLY), 1)
except OSError as error: say(errno.errorcode[error.errno])
""",
        daemon.mountpoint / "stuck",
    )
    daemon.wait_until("session.waiting_locks == 10 and filesystem.stuck_requests == 1")
    daemon.popen.kill()
    daemon.wait()
    assert {waiter.line() for waiter in waiters} <= {"ECONNABORTED", "ENOTCONN"}
    assert reader.line() in {"ECONNABORTED", "ENOTCONN"}

    dead = mounts.mount_at(str(daemon.mountpoint))
    assert dead
    assert mounts.state_of(dead) is mounts.MountState.DEAD
    assert mounts.clear_dead_mount(str(daemon.mountpoint))
    assert mounts.mount_at(str(daemon.mountpoint)) is None


def test_end_of_the_mount_frees_every_program_that_waits_in_it(
    daemon: Daemon, file: Path, start_program: StartProgram
) -> None:
    daemon.ask("filesystem.add(1, b'stuck', 0o100644).content.extend(b'content')")
    assert start_program(LOCK, file, EXCLUSIVE).line() == "locked"
    waiter = start_program(LOCK, file, EXCLUSIVE)
    reader = start_program(
        """
os.chdir(os.path.dirname(sys.argv[1]))
try: os.read(os.open(sys.argv[1], os.O_RDONLY), 1)
except OSError as error: say(errno.errorcode[error.errno])
try: os.stat("file")
except OSError as error: say(errno.errorcode[error.errno])
""",
        daemon.mountpoint / "stuck",
    )
    daemon.wait_until("session.waiting_locks == 1 and filesystem.stuck_requests == 1")
    daemon.expected_log = [
        f"WARNING mountfs.kernel.session {daemon.mountpoint} is in use; detaching it, "
        "and its programs get errors from now on",
        f"WARNING mountfs.kernel.session {daemon.mountpoint}: cancelling requests that do not end",
    ]
    daemon.popen.send_signal(signal.SIGTERM)
    assert daemon.ends() == "signal"
    assert waiter.line() == "EIO"
    assert reader.line() in {"EIO", "ENOTCONN", "ECONNABORTED"}  # the kernel may try the page once more
    assert reader.line() == "ENOTCONN"
    assert mounts.mount_at(str(daemon.mountpoint)) is None


def test_without_the_extension_flock_stays_in_the_kernel_and_says_so(
    start_daemon: Callable[..., Daemon], start_program: StartProgram
) -> None:
    daemon = start_daemon({extension.SWITCH: "1"})
    file = daemon.mountpoint / "file"
    file.write_bytes(b"content")
    assert daemon.ask("session.flock_is_forwarded") is False
    assert daemon.ask("extension.REASON") == "switched off by MOUNTFS_NO_EXTENSION"
    programs = [start_program(LOCK, file, no_wait(EXCLUSIVE)) for _ in range(2)]
    assert sorted(program.line() for program in programs) == ["EAGAIN", "locked"]
    assert daemon.ask("filesystem.locks") == {}
    for program in programs:
        program.tell()
        program.wait()
    daemon.tell_end()
    assert daemon.ends() == "told"


def test_request_is_answered_once() -> None:
    from mountfs.kernel import _extras

    with pytest.raises(ValueError, match="unknown or has been answered"):
        _extras.reply(1, 0)
