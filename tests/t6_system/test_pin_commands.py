"""`mountfs pin`, `unpin` and `prefetch`."""

import os
import pty
import subprocess
from collections.abc import Iterator

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import PROGRAM, Machine, Server

pytestmark = pytest.mark.kernel


@pytest.mark.long
def test_pinned_content_is_read_without_the_server(machine: Machine, server: Server) -> None:
    first, place = machine.mountpoint("first"), machine.mountpoint()
    machine.mount(server, first, "--cache", machine.folder / "other").succeeded()
    (first / "d").mkdir()
    (first / "d" / "a").write_text("kept")
    (first / "b").write_text("there")
    machine.run("sync", first).succeeded()
    machine.mount(server, place).succeeded()
    assert machine.run("pin", place / "d").succeeded().stdout == f"{place}/d: pinned, 1 files, 4 B\n"
    assert machine.run("prefetch", place).succeeded().stdout == f"{place}: fetched, 2 files, 9 B\n"
    assert machine.status(place)["pinned"] == ["d"]
    assert "pinned" in machine.run("status", place).succeeded().stdout
    machine.run("unpin", place / "b").refused(ExitCode.USAGE, "not pinned")
    machine.run("pin", place / "none").refused(ExitCode.USAGE, "none is not in the mount")
    server.kill()
    assert (place / "d" / "a").read_text() == "kept"
    assert (place / "b").read_text() == "there"
    machine.run("unpin", place / "d").succeeded()
    assert machine.status(place)["pinned"] == []


def test_how_far_it_is_shows_on_a_terminal_and_goes(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "a").write_text("kept")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "prefetch", str(place)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**machine.environment(), "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        shown = b"".join(_shown(ours))
        assert process.stdout is not None
        assert process.stdout.read().decode() == f"{place}: fetched, 1 files, 4 B\n"
    os.close(ours)
    assert process.returncode == 0
    assert b"fetching" in shown
    assert shown.endswith(b"\x1b[2K"), "the line of the bar is empty again"


def _shown(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(terminal, 4096)
        except OSError:  # how a pseudo terminal says that nobody has its other end
            return
