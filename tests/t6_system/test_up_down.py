"""`up` and `down`: an embedded server and its mount in one step, repaired whatever was killed."""

import json
import signal
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon.processes import ProcessIdentity
from tests.t6_system.machine import Machine, is_mounted

pytestmark = pytest.mark.kernel


def _server(machine: Machine) -> ProcessIdentity:
    (path,) = machine.folder.rglob("up.json")
    return ProcessIdentity(**json.loads(path.read_text())["process"])


def test_up_down_up_keeps_files_and_address(machine: Machine) -> None:
    place = machine.folder / "ws"
    first = machine.run("up", place).succeeded().stdout
    assert "is up: workspace main at http://127.0.0.1:" in first
    (place / "a.txt").write_text("kept")
    server, daemon = _server(machine), machine.daemon(place)
    again = machine.run("up", place).succeeded().stdout
    assert again == first.replace("is up", "is already up")
    assert "is down" in machine.run("down", place).succeeded().stdout
    assert not is_mounted(place)
    assert not server.is_alive()
    assert not daemon.is_alive()
    assert "already down" in machine.run("down", place).succeeded().stdout
    assert machine.run("up", place).succeeded().stdout == first
    assert (place / "a.txt").read_text() == "kept"
    machine.run("down", place).succeeded()


def test_a_file_is_no_place_for_a_mount(machine: Machine) -> None:
    place = machine.folder / "file"
    place.write_text("x")
    machine.run("up", place).refused(ExitCode.MOUNTPOINT_UNUSABLE, str(place), "not a directory")
    assert not _server(machine).is_alive()


@pytest.mark.parametrize("victims", ["server", "daemon", "both"])
@pytest.mark.long
def test_up_repairs_what_was_killed(machine: Machine, victims: str) -> None:
    place = machine.folder / "ws"
    first = machine.run("up", place).succeeded().stdout
    (place / "a.txt").write_text("kept")
    killed = {"server": [_server(machine)], "daemon": [machine.daemon(place)]}
    for process in killed.get(victims, [*killed["server"], *killed["daemon"]]):
        process.send(signal.SIGKILL)
        assert process.wait_gone(20)
    again = machine.run("up", place).succeeded().stdout
    assert again.replace("already ", "") == first
    assert (place / "a.txt").read_text() == "kept"
    machine.run("sync", place).succeeded()
    machine.run("down", place).succeeded()


@pytest.mark.long
def test_data_go_where_they_are_told_and_are_found_again(machine: Machine) -> None:
    place, data = machine.folder / "ws", machine.folder / "data"
    machine.run("up", place, "--data", data).succeeded()
    assert (data / "server" / "token").stat().st_mode & 0o777 == 0o600
    other = machine.run("up", place, "--data", machine.folder / "other")
    other.refused(ExitCode.CONFIGURATION, str(data))
    machine.run("down", place).succeeded()
    assert "already" not in machine.run("up", place).succeeded().stdout
    machine.run("down", place).succeeded()


@pytest.mark.long
def test_up_refuses_what_cannot_be(machine: Machine) -> None:
    full = machine.folder / "full"
    full.mkdir()
    (full / "x").touch()
    machine.run("up", full).refused(ExitCode.MOUNTPOINT_UNUSABLE, "not empty")
    machine.run("up", "ws", "--data", "ws/data").refused(ExitCode.CONFIGURATION, "inside")
    machine.run("up", "/proc/ws").refused(ExitCode.MOUNTPOINT_UNUSABLE, "/proc/ws")


def test_recycled_pid_is_never_taken_for_the_server(machine: Machine) -> None:
    place = machine.folder / "ws"
    machine.run("up", place).succeeded()
    server = _server(machine)
    (path,) = machine.folder.rglob("up.json")
    bystander = machine.start("serve", "--data", machine.folder / "bystander", "--listen", "127.0.0.1:0")
    try:
        remembered = json.loads(path.read_text())
        remembered["process"]["pid"] = bystander.pid
        path.write_text(json.dumps(remembered))
        machine.run("down", place)
        assert bystander.poll() is None
    finally:
        server.send(signal.SIGKILL)
        bystander.kill()
        bystander.communicate(timeout=20)


def test_up_by_a_relative_name_is_the_same_directory(machine: Machine) -> None:
    machine.run("up", Path("ws")).succeeded()
    assert "already up" in machine.run("up", machine.folder / "ws").succeeded().stdout
    machine.run("down", Path("ws")).succeeded()
