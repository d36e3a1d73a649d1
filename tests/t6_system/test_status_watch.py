"""`mountfs status --watch`: what it shows in wide and narrow terminals, and how it ends."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.status_watch import Moment, view
from mountfs.daemon.running import Status
from tests.t6_system.machine import PROGRAM, Machine, Server
from tests.t6_system.stand_in import STATUS


def _shown(status: Status | str, before: Status | None, width: int) -> str:
    console = Console(width=width, height=40, highlight=False, force_terminal=False)
    earlier = Moment("/mnt/w", before, 10.0) if before is not None else None
    with console.capture() as captured:
        console.print(view(Moment("/mnt/w", status, 12.0), earlier, width))
    return captured.get()


def test_throughput_is_the_growth_since_the_last_look() -> None:
    later = replace(STATUS, sent_bytes=4 * 1024**2, fetched_bytes=2048)
    text = _shown(later, STATUS, 100)
    assert "up 2.0 MiB/s" in text
    assert "down 1.0 KiB/s" in text
    assert "up 0 B/s" in _shown(STATUS, later, 100), "a daemon that was started anew"


def test_uploads_failures_and_locks_are_shown_and_names_are_no_markup() -> None:
    text = _shown(STATUS, None, 100)
    assert " 20 % big.bin" in text
    assert "FAILED na\\xffme [b]: name refused" in text
    assert "lock a.lock: exclusive, 1 holding, 2 waiting, lease 34 s, 1 LOST" in text
    assert "the daemon does not answer" in _shown("the daemon does not answer", None, 100)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = _shown(STATUS, STATUS, width).splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    (upload,) = [line for line in lines if " 20 % big.bin"[:15] in line]
    assert ("━" in upload) == (width == 80), "a bar only where there is room for it"


def test_watch_and_json_exclude_each_other(machine: Machine) -> None:
    machine.run("status", "--watch", "--json").refused(ExitCode.USAGE, "exclude")


@contextmanager
def _watching(machine: Machine, place: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Watch a mount in a terminal; give the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
    environment = {**machine.environment(), "TERM": "xterm"}
    process = subprocess.Popen(
        [*PROGRAM, "status", "--watch", str(place)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait(30)
        os.close(ours)


def _until(terminal: int, text: bytes, times: int = 1) -> bytes:
    """Return what the terminal shows until the text is there."""
    shown = b""
    deadline = time.monotonic() + 60
    while shown.count(text) < times:
        assert time.monotonic() < deadline, shown
        shown += os.read(terminal, 4096)
    return shown


@pytest.mark.kernel
def test_it_goes_on_with_the_daemon_that_comes_after(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    with _watching(machine, place) as (_process, terminal):
        _until(terminal, b"to upload")
        machine.run("umount", place).succeeded()
        _until(terminal, b"\x1b[31m")  # red: nobody answers
        machine.mount(server, place).succeeded()
        _until(terminal, b"to upload")


@pytest.mark.kernel
def test_it_renews_itself_and_leaves_the_terminal_as_it_was(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    with _watching(machine, place) as (process, terminal):
        shown = _until(terminal, b"to upload", times=2)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # how a pseudo terminal says that nobody has its other end
                break
        assert process.wait(30) == 0
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1
    assert b"\x1b[?25h" in shown
    assert b"Traceback" not in shown
