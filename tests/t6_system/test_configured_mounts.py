"""Named mounts of a configuration: started by name, shown, checked, and changed while they are served."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel


def _configure(machine: Machine, server: Server, more: str = "") -> Path:
    folder = machine.folder / "home" / ".config" / "mountfs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "all.toml"
    path.write_text(
        f'url = "{server.url}"\ntoken_file = "{server.token_file}"\n'
        f'[mounts.project]\nworkspace = "main"\nmountpoint = "{machine.folder}/made/mnt"\n{more}\n'
    )
    return path


def test_a_name_mounts_reloads_and_unmounts(machine: Machine, server: Server) -> None:
    _configure(machine, server)
    machine.run("mount", "--mkdir", "project").succeeded()
    place = machine.folder / "made" / "mnt"
    assert is_mounted(place)

    _configure(machine, server, 'cache_size = "64 MiB"\ndrain_timeout_s = 7\nread_only = true')
    machine.daemon(place).send(signal.SIGHUP)
    wait_until(lambda: machine.status(place)["cache"]["limit_bytes"] == 64 * 1024**2)
    assert "changed: cache_size, drain_timeout_s" in machine.log()
    assert "from the next mount on: read_only" in machine.log()
    (place / "a.txt").write_text("still writable")

    server.token_file.write_text(f"{server.member_token()}\n")
    machine.daemon(place).send(signal.SIGHUP)
    wait_until(lambda: "changed: token_file" in machine.log())
    machine.run("sync", place).succeeded()

    machine.run("umount", "project").succeeded()
    assert not is_mounted(place)


def test_what_counts_is_shown_with_its_origin_and_without_the_token(machine: Machine, server: Server) -> None:
    path = _configure(machine, server, "upload_delay_s = 3")
    done = machine.run("config", "show", "project", MOUNTFS_LOG_LEVEL="debug", MOUNTFS_TOKEN="secret-word")
    assert re.search(r"upload_delay_s +3\.0 ", done.succeeded().stdout)
    assert f"{path}, line 6" in done.stdout
    assert "MOUNTFS_LOG_LEVEL" in done.stdout
    assert "secret-word" not in done.stdout
    plain = json.loads(machine.run("config", "show", "--json").succeeded().stdout)
    assert plain["mounts"]["project"]["upload_delay_s"] == {"value": 3.0, "origin": f"{path}, line 6"}
    assert server.token_file.read_text().strip() not in json.dumps(plain)
    machine.run("config", "show", "other").refused(ExitCode.CONFIGURATION, "other", "project")


def test_check_tells_every_fault(machine: Machine, server: Server) -> None:
    path = _configure(machine, server, 'cach_size = 1\nlog_level = "loud"')
    done = machine.run("config", "check")
    assert done.code == ExitCode.CONFIGURATION
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        f"{path}, line 6",
        f"{path}, line 7",
    ]
    _configure(machine, server, f'[mounts.twin]\nmountpoint = "{machine.folder}/made/mnt"')
    assert "twin has the mountpoint of project, too" in machine.run("config", "check", path).stderr
    _configure(machine, server)
    assert machine.run("config", "check", path).succeeded().stdout == "sound; mounts: project\n"
    server.token_file.chmod(0o644)
    assert "can be read or written by others" in machine.run("config", "check").stderr


def test_a_stop_under_a_program_names_it_in_the_log(machine: Machine, server: Server) -> None:
    _configure(machine, server)
    machine.run("mount", "--mkdir", "project").succeeded()
    place = machine.folder / "made" / "mnt"
    daemon = machine.daemon(place)
    user = subprocess.Popen(["sleep", "infinity"], cwd=place)
    try:
        daemon.send(signal.SIGTERM)
        assert daemon.wait_gone(60)
    finally:
        user.kill()
        user.wait(10)
    assert f"get errors: sleep ({user.pid})" in machine.log()
