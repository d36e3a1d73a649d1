"""Named mounts of a configuration: started by name, shown, checked, and changed while they are served."""

import json
import re
import signal
import socket
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

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


def test_a_name_means_the_same_to_mount_and_umount_whatever_lies_here(
    machine: Machine, server: Server
) -> None:
    _configure(machine, server)
    (machine.folder / "project").mkdir()
    machine.run("mount", "--mkdir", "project").succeeded()
    machine.run("umount", "project").succeeded()
    assert not is_mounted(machine.folder / "made" / "mnt")


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


def test_check_tells_of_addresses_and_secrets_that_a_mount_would_be_refused_for(
    machine: Machine, server: Server
) -> None:
    hook = '[[mounts.project.hooks]]\non = ["failed"]\nurl = "https://x"\nsecret_file = "none"'
    exposed = 'web_listen = "0.0.0.0:8384"\nmetrics_listen = "127.0.0.1:9464"'
    path = _configure(machine, server, f"{exposed}\n{hook}")
    done = machine.run("config", "check")
    assert done.code == ExitCode.CONFIGURATION
    secret, address = done.stderr.splitlines()
    assert secret.startswith(f"mountfs: {path}, line 8: ")
    assert "none cannot be read" in secret
    assert address.startswith(f"mountfs: {path}, line 6: web_listen = 0.0.0.0:8384")
    assert "listen_beyond_loopback = true" in address
    # The command refuses it as well, before there is a daemon.
    path = _configure(machine, server, exposed)
    machine.run("mount", "--mkdir", "project").refused(ExitCode.CONFIGURATION, "web_listen", "other machines")
    assert not machine.runtime_dir.exists() or not list(machine.runtime_dir.iterdir())
    path = _configure(machine, server, f"{exposed}\nlisten_beyond_loopback = true")
    machine.run("config", "check", path).succeeded()


def test_hooks_change_while_the_mount_is_served(machine: Machine, server: Server) -> None:
    def hook(name: str) -> str:
        program = ["sh", "-c", f'echo "$MOUNTFS_PATH" >> {machine.folder}/{name}']
        return f'[[mounts.project.hooks]]\non = ["confirmed"]\nrun = {json.dumps(program)}'

    def told(name: str) -> list[str]:
        kept = machine.folder / name
        return kept.read_text().splitlines() if kept.exists() else []

    place = machine.folder / "made" / "mnt"
    _configure(machine, server, hook("before"))
    machine.run("mount", "--mkdir", "project").succeeded()
    (place / "a").write_text("a")
    wait_until(lambda: told("before") == ["a"])
    _configure(machine, server, hook("after"))
    machine.daemon(place).send(signal.SIGHUP)
    wait_until(lambda: "changed: hooks" in machine.log())
    (place / "b").write_text("b")
    wait_until(lambda: told("after") == ["b"])
    assert told("before") == ["a"]


def test_metrics_tell_how_long_the_workspace_took(machine: Machine, server: Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    _configure(machine, server, f'metrics_listen = "{address}"')
    machine.run("mount", "--mkdir", "project").succeeded()
    place = machine.folder / "made" / "mnt"
    (place / "a").write_text("a")
    machine.run("sync", place).succeeded()
    with urlopen(f"http://{address}/metrics", timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    counts = {
        sample.labels["route"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "mountfs_workspace_request_seconds_count"
    }
    sent = machine.status(place)["requests"]["workspace"]
    assert counts["POST upload"] >= 1
    assert counts.keys() <= sent.keys()


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
