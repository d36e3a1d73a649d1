"""Every key of the configuration reaches what it is about. What each means in full is tested elsewhere."""

import os
import subprocess
from pathlib import Path

import pytest

from mountfs.daemon.config.file import ConfigFile
from mountfs.daemon.settings import MountSettings
from tests.t6_system.machine import Machine, Server, wait_until

pytestmark = pytest.mark.kernel


def _mounted(machine: Machine, server: Server, configuration: str, name: str = "mnt") -> Path:
    place = machine.mountpoint(name)
    machine.mount(server, place, "--config", machine.configure(configuration)).succeeded()
    return place


def test_defaults_of_the_file_and_of_a_mount_are_the_same() -> None:
    here = {name: field.default for name, field in ConfigFile.model_fields.items()}
    here["cache_size_bytes"] = here.pop("cache_size")
    for name, field in MountSettings.__dataclass_fields__.items():
        if name not in (
            "url",
            "workspace",
            "mountpoint",
            "cache_dir",
            "token",
            "token_file",
            "logins",
            "config",
            "device",
        ):
            default = here[name]
            assert (tuple(default) if isinstance(default, list) else default) == field.default


@pytest.mark.long
def test_cache_size_is_the_limit_and_old_content_goes(machine: Machine, server: Server) -> None:
    place = _mounted(machine, server, 'cache_size = "64 MiB"')
    assert machine.status(place)["cache"]["limit_bytes"] == 64 * 1024**2
    for number in range(4):
        (place / f"{number}.bin").write_bytes(bytes([number]) * 24 * 1024**2)
        machine.run("sync", place).succeeded()
    wait_until(lambda: machine.status(place)["cache"]["used_bytes"] <= 64 * 1024**2)
    for number in range(4):
        assert (place / f"{number}.bin").read_bytes() == bytes([number]) * 24 * 1024**2
    machine.run("umount", place).succeeded()


def test_upload_delay_holds_back_what_was_closed(machine: Machine, server: Server) -> None:
    place = _mounted(machine, server, "upload_delay_s = 60")
    (place / "temporary").write_text("x")
    (place / "temporary").rename(place / "final")
    assert machine.status(place)["uploads"]["pending_count"] == 1
    machine.run("sync", place).succeeded()
    assert machine.status(place)["uploads"]["pending_count"] == 0
    machine.run("umount", place).succeeded()


def test_durability_remote_waits_at_close(machine: Machine, server: Server) -> None:
    place = _mounted(machine, server, 'durability = "remote"\nupload_delay_s = 60')
    (place / "a.txt").write_text("x")
    assert machine.status(place)["uploads"]["pending_count"] == 0
    server.stop()
    with pytest.raises(OSError), (place / "b.txt").open("w") as file:  # noqa: PT011 - which one, is no promise
        file.write("y")
    machine.run("umount", "--no-wait", place)


def test_consistency_open_sees_what_was_there_before_the_open(machine: Machine, server: Server) -> None:
    first = _mounted(machine, server, 'durability = "remote"', "first")
    (first / "a.txt").write_text("0")
    second = _mounted(machine, server, 'consistency = "open"', "second")
    for number in range(20):
        (first / "a.txt").write_text(str(number))
        assert (second / "a.txt").read_text() == str(number)
    for place in (first, second):
        machine.run("umount", place).succeeded()


@pytest.mark.parametrize("conflict", ["keep-both", "last-writer-wins"])
@pytest.mark.long
def test_conflict_decides_what_becomes_of_our_content(
    machine: Machine, server: Server, conflict: str
) -> None:
    theirs = _mounted(machine, server, "", "theirs")
    (theirs / "a.txt").write_text("base")
    machine.run("sync", theirs).succeeded()
    ours = _mounted(machine, server, f'conflict = "{conflict}"\nupload_delay_s = 60', "ours")
    assert (ours / "a.txt").read_text() == "base"
    (ours / "a.txt").write_text("ours")
    (theirs / "a.txt").write_text("theirs")
    machine.run("sync", theirs).succeeded()
    machine.run("sync", ours).succeeded()
    found = {name: (ours / name).read_text() for name in os.listdir(ours)}
    if conflict == "last-writer-wins":
        assert found == {"a.txt": "ours"}
    else:
        assert found.pop("a.txt") == "theirs"
        assert list(found.values()) == ["ours"]
        assert "conflict" in next(iter(found))
    for place in (theirs, ours):
        machine.run("umount", place).succeeded()


@pytest.mark.long
def test_lease_lasts_as_long_as_configured(machine: Machine, server: Server) -> None:
    place = _mounted(machine, server, "lease_duration_s = 900")
    (place / "lock").touch()
    with subprocess.Popen(
        ["flock", place / "lock", "sh", "-c", "echo locked; read end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"locked\n"
        (lock,) = machine.status(place)["locks"]
        assert lock["path"] == "lock"
        assert 500 < lock["lease_s"] <= 900
        holder.stdin.close()
    machine.run("umount", place).succeeded()


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: acting as another user needs root")
@pytest.mark.parametrize("allowed", [False, True])
def test_allow_other_lets_other_users_in(machine: Machine, server: Server, allowed: bool) -> None:
    place = _mounted(machine, server, f"allow_other = {str(allowed).lower()}")
    (place / "a.txt").write_text("x")
    machine.folder.chmod(0o711)
    # Through /proc, since the folders above it belong to root alone.
    anchor = os.open(machine.folder, os.O_PATH)
    try:
        done = subprocess.run(
            ["cat", f"/proc/self/fd/{anchor}/mnt/a.txt"],
            user=65534,
            group=65534,
            extra_groups=[],
            pass_fds=[anchor],
            capture_output=True,
            check=False,
            cwd="/",
        )
    finally:
        os.close(anchor)
    assert (done.stdout == b"x") is allowed, done
    machine.run("umount", place).succeeded()


@pytest.mark.parametrize("level", ["debug", "error"])
def test_log_level_decides_what_is_logged(machine: Machine, server: Server, level: str) -> None:
    place = _mounted(machine, server, f'log_level = "{level}"')
    machine.run("umount", place).succeeded()
    assert ("mounted at" in machine.log()) is (level == "debug")
