"""`mountfs pin`, `unpin` and `prefetch`."""

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server

pytestmark = pytest.mark.kernel


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
