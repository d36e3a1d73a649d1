"""A mount in the foreground goes on in another version, in the process that whoever started it watches."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t5_kernel.next_version import CANNOT_GO_ON, LACKS_THE_FOREGROUND, NextVersion
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel

_END_S = 60


@pytest.fixture
def version(tmp_path: Path) -> NextVersion:
    return NextVersion(tmp_path / "next")


@pytest.fixture
def place(machine: Machine) -> Path:
    return machine.mountpoint()


@pytest.fixture
def process(
    machine: Machine, server: Server, place: Path, version: NextVersion
) -> Iterator["subprocess.Popen[str]"]:
    """Return `mountfs mount --foreground`, whose mount answers; `version` is the next one."""
    options = ("--url", server.url, "--workspace", "main", "--token-file", server.token_file)
    with machine.started("mount", "--foreground", *options, place, **version.variables) as process:
        wait_until(lambda: is_mounted(place) and any(machine.runtime_dir.glob("*.json")))
        yield process


def _log_at_the_end(process: "subprocess.Popen[str]") -> list[str]:
    process.send_signal(signal.SIGTERM)
    _out, told = process.communicate(timeout=_END_S)
    assert process.returncode == ExitCode.OK, told
    return [json.loads(line)["message"] for line in told.splitlines()]


@pytest.mark.long
def test_its_process_goes_on_and_logs_where_it_did(
    machine: Machine, place: Path, process: "subprocess.Popen[str]"
) -> None:
    with (place / "a.txt").open("w+", buffering=1) as file:
        file.write("before\n")
        machine.run("upgrade", place).succeeded()
        file.write("after\n")
        file.seek(0)
        assert file.read() == "before\nafter\n"
    status = machine.status(place)
    assert (status["pid"], status["upgrades"]) == (process.pid, 1)
    told = _log_at_the_end(process)
    assert any(line.startswith("handing the mount over") for line in told)
    assert any("goes on with the mount" in line for line in told)
    assert told[-1] == "unmounted, 0 entries left in the journal"
    assert not is_mounted(place)


def test_what_its_process_would_run_is_what_is_asked_before(
    machine: Machine, place: Path, process: "subprocess.Popen[str]", version: NextVersion
) -> None:
    version.has(LACKS_THE_FOREGROUND)
    machine.run("upgrade", place).refused(ExitCode.UPGRADE_REFUSED, "serves on as it was", "no such module")
    (place / "a.txt").write_text("serves on")
    assert machine.status(place)["upgrades"] == 0


@pytest.mark.long
def test_where_going_on_fails_its_process_makes_the_mount_anew(
    machine: Machine, place: Path, process: "subprocess.Popen[str]", version: NextVersion
) -> None:
    (place / "a.txt").write_text("closed")
    version.has(CANNOT_GO_ON)
    machine.run("upgrade", place).refused(ExitCode.UPGRADE_REFUSED, "made anew", "division by zero")
    assert machine.status(place)["pid"] == process.pid
    assert (place / "a.txt").read_text() == "closed"
    assert _log_at_the_end(process)[-1] == "unmounted, 0 entries left in the journal"
    assert not is_mounted(place)
