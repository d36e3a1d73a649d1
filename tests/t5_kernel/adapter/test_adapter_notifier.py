"""Notices to the kernel: seen by programs, and never in the way of anything."""

import os
import time
from collections.abc import Callable

import pytest
import trio

from mountfs.kernel.notifier import DRAIN_LIMIT_S, Notifier
from mountfs.model.ids import Ino
from tests.t5_kernel.adapter.processes import LIMIT_S, Daemon, Process
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

CREATE_FOR_EVER = """
try: os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
except OSError as error: say(errno.errorcode[error.errno])
"""

REMOVE_FOR_EVER = """
try: os.rmdir(sys.argv[1])
except OSError as error: say(errno.errorcode[error.errno])
"""


def _kernel_has_epochs() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 16)


def test_changed_attributes_are_seen_after_the_notice(daemon: Daemon) -> None:
    path = daemon.mountpoint / "file"
    path.touch()
    ino = path.stat().st_ino
    daemon.ask(f"filesystem.nodes[{ino}].content.extend(b'12345')")
    assert path.stat().st_size == 0
    daemon.ask(f"notifier.attributes_changed({ino})")
    daemon.ask("await notifier.drained()")
    assert path.stat().st_size == 5


async def test_notice_about_what_the_kernel_has_only_afterwards_is_sent_again(daemon: Daemon) -> None:
    path = daemon.mountpoint / "file"
    path.touch()
    ino = path.stat().st_ino
    daemon.ask("notifier.entry_changed(1, b'file')")  # nobody has it open: the kernel forgets it
    daemon.ask("await notifier.drained()")
    daemon.ask(f"notifier.attributes_changed({ino})")
    daemon.ask("await notifier.drained()")
    assert path.stat().st_size == 0
    daemon.ask(f"filesystem.nodes[{ino}].content.extend(b'12345')")
    await eventually(lambda: path.stat().st_size == 5, limit_s=LIMIT_S)


def test_notice_about_attributes_leaves_the_cached_pages_alone(daemon: Daemon) -> None:
    path = daemon.mountpoint / "file"
    path.write_bytes(b"old")
    assert path.read_bytes() == b"old"
    ino = path.stat().st_ino
    daemon.ask(f"filesystem.nodes[{ino}].content.__setitem__(slice(0, 3), b'new')")
    daemon.ask(f"notifier.attributes_changed({ino})")
    daemon.ask("await notifier.drained()")
    assert path.read_bytes() == b"old"


def test_changed_content_is_seen_after_the_notice(daemon: Daemon) -> None:
    path = daemon.mountpoint / "file"
    path.write_bytes(b"old")
    assert path.read_bytes() == b"old"
    ino = path.stat().st_ino
    daemon.ask(f"filesystem.nodes[{ino}].content.__setitem__(slice(0, 3), b'new')")
    assert path.read_bytes() == b"old"
    daemon.ask(f"notifier.content_changed({ino})")
    daemon.ask("await notifier.drained()")
    assert path.read_bytes() == b"new"


def test_vanished_entry_is_seen_after_the_notice(daemon: Daemon) -> None:
    path = daemon.mountpoint / "file"
    path.touch()
    daemon.ask("filesystem.root.children.clear()")
    assert path.exists()
    daemon.ask("notifier.entry_changed(1, b'file')")
    daemon.ask("await notifier.drained()")
    assert not path.exists()


needs_epochs = pytest.mark.skipif(
    not _kernel_has_epochs(), reason="NOT TESTED: no notice of everything before Linux 6.16"
)


@needs_epochs
def test_every_name_is_asked_for_again_after_one_notice(daemon: Daemon) -> None:
    known, gone = daemon.mountpoint / "known", daemon.mountpoint / "gone"
    known.touch()
    gone.touch()
    ino = known.stat().st_ino
    daemon.ask(f"filesystem.nodes[{ino}].content.extend(b'12345')")
    daemon.ask("filesystem.root.children.pop(b'gone') and None")
    assert (known.stat().st_size, gone.exists()) == (0, True)
    assert daemon.ask("notifier.can_expire_everything") is True
    daemon.ask("notifier.everything_changed()")
    daemon.ask("await notifier.drained()")
    assert (known.stat().st_size, gone.exists()) == (5, False)


def test_notices_about_what_the_kernel_does_not_know_are_harmless(daemon: Daemon) -> None:
    daemon.ask("[notifier.attributes_changed(99), notifier.content_changed(99)] and None")
    daemon.ask("notifier.entry_changed(99, b'nothing')")
    daemon.ask("await notifier.drained()")


@needs_epochs
def test_notice_about_a_directory_that_is_locked_for_us_waits_for_nobody(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    gone = daemon.mountpoint / "gone"
    gone.touch()
    (daemon.mountpoint / "folder").mkdir()
    program = start_program(CREATE_FOR_EVER, daemon.mountpoint / "folder" / "never")
    daemon.wait_until("filesystem.stuck_requests == 1")
    daemon.ask("filesystem.root.children.pop(b'gone') and None")
    assert gone.exists()
    ino = (daemon.mountpoint / "folder").stat().st_ino
    daemon.ask(f"notifier.entry_changed({ino}, b'other')")
    assert daemon.ask("await notifier.drained()") is True
    assert not gone.exists(), "names that the kernel is not told of one by one expire together"
    daemon.popen.kill()
    assert program.line() in {"ENOTCONN", "ECONNABORTED"}


@pytest.mark.long
def test_notice_that_hangs_in_the_kernel_delays_nobody_for_ever(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    """An entry of a directory cannot be dropped while its removal has no answer."""
    never = daemon.mountpoint / "never"
    never.mkdir()
    ino = never.stat().st_ino
    program = start_program(REMOVE_FOR_EVER, never)
    daemon.wait_until("filesystem.stuck_requests == 1")
    daemon.ask(f"notifier.entry_changed({ino}, b'other')")
    daemon.expected_log = [
        "WARNING mountfs.kernel.notifier the kernel holds up notices; going on without waiting for them",
        f"WARNING mountfs.kernel.session {daemon.mountpoint} is in use; detaching it, "
        "and its programs get errors from now on",
        f"WARNING mountfs.kernel.session {daemon.mountpoint}: cancelling requests that do not end",
    ]
    begun = time.monotonic()
    daemon.ask("await notifier.drained()")
    assert DRAIN_LIMIT_S <= time.monotonic() - begun < DRAIN_LIMIT_S + 2
    assert os.statvfs(daemon.mountpoint).f_files == 1000
    daemon.tell_end()
    assert daemon.ends() == "told"
    assert program.line() == "EIO"


async def test_unarmed_notifier_drops_notices_and_is_drained() -> None:
    notifier = Notifier()
    notifier.attributes_changed(Ino(5))
    with trio.fail_after(LIMIT_S):
        await notifier.drained()
    assert notifier.is_idle_within(0)


async def test_disarming_ends_the_thread_and_those_who_wait_for_it() -> None:
    notifier = Notifier()
    notifier.arm(None)
    notifier.disarm()
    with trio.fail_after(LIMIT_S):
        await notifier.drained()
    assert notifier.is_idle_within(5)
