"""A mount from its start to its end, in order and by force, with the real program."""

import os
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import PROGRAM, Done, Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel


def _content_on_second_mount(machine: Machine, server: Server, name: str) -> bytes:
    place = machine.mountpoint("witness")
    machine.mount(server, place, "--cache", machine.folder / "witness-cache").succeeded()
    content = (place / name).read_bytes()
    machine.run("umount", place).succeeded()
    return content


def test_mount_status_write_sync_umount(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    assert machine.mount(server, place).succeeded().stdout == ""
    daemon = machine.daemon(place)
    found = machine.status(place)
    assert (found["workspace_name"], found["mountpoint"], found["pid"]) == ("main", str(place), daemon.pid)
    assert found["online"]
    (place / "a.txt").write_text("hello")
    (place / "folder").mkdir()
    (place / "folder" / "b.txt").write_text("there")
    machine.run("sync", place / "folder").succeeded()
    machine.run("sync", place).succeeded()
    assert machine.status(place)["uploads"]["pending_count"] == 0
    wait_until(lambda: bool(machine.status(place)["cache"]["files"] == 2))
    assert "workspace" in machine.run("status", place).succeeded().stdout
    machine.run("umount", place).succeeded()
    assert not is_mounted(place)
    assert not daemon.is_alive()
    assert os.listdir(place) == []
    assert list(machine.runtime_dir.iterdir()) == []
    assert _content_on_second_mount(machine, server, "folder/b.txt") == b"there"


def test_token_is_nowhere_to_be_seen(machine: Machine, server: Server) -> None:
    place, cache = machine.mountpoint(), machine.folder / "cache"
    machine.mount(server, place, "--cache", cache).succeeded()
    token = server.token_file.read_bytes().strip()
    process = Path(f"/proc/{machine.daemon(place).pid}")
    assert token not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert token.decode() not in machine.run("status", "--json", place).succeeded().stdout
    machine.run("umount", place).succeeded()
    assert cache.stat().st_mode & 0o777 == 0o700
    for path in [*cache.rglob("*"), *machine.runtime_dir.rglob("*")]:
        assert not path.is_file() or token not in path.read_bytes(), path


def test_closed_file_survives_kill_of_the_daemon(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "a.txt").write_text("kept")
    daemon = machine.daemon(place)
    daemon.send(signal.SIGKILL)
    assert daemon.wait_gone(20)
    machine.run("status", place).refused(ExitCode.TIMEOUT, "umount")
    machine.mount(server, place).succeeded()
    assert (place / "a.txt").read_text() == "kept"
    machine.run("sync", place).succeeded()
    assert _content_on_second_mount(machine, server, "a.txt") == b"kept"
    machine.run("umount", place).succeeded()


def test_dead_mount_is_replaced_by_the_name_that_it_has_in_this_folder(
    machine: Machine, server: Server
) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    daemon = machine.daemon(place)
    daemon.send(signal.SIGKILL)
    assert daemon.wait_gone(20)
    machine.mount(server, Path(place.name)).succeeded()
    assert os.listdir(place) == []


@pytest.mark.parametrize("arguments", ["sync", "locks a.txt", "umount ."])
def test_who_stands_in_a_mount_that_was_replaced_is_told_to_leave_it(
    machine: Machine, server: Server, arguments: str
) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    shell = ["sh", "-c", f"read go; {shlex.join(PROGRAM)} {arguments}"]
    with subprocess.Popen(
        shell, cwd=place, env=machine.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as inside:  # fmt: skip
        daemon = machine.daemon(place)
        daemon.send(signal.SIGKILL)
        assert daemon.wait_gone(20)
        machine.mount(server, place).succeeded()
        told = inside.communicate("go\n", timeout=90)
    Done(inside.returncode, *told).refused(ExitCode.USAGE, "current directory is gone")


@pytest.mark.parametrize("command", ["sync", "retry", "conflicts"])
def test_dead_mount_is_not_passed_over(machine: Machine, server: Server, command: str) -> None:
    """What it had not sent would seem to be confirmed."""
    dead, live = machine.mountpoint("dead"), machine.mountpoint("live")
    machine.mount(server, dead, "--set", "upload_delay_s=60").succeeded()
    machine.mount(server, live, "--set", "upload_delay_s=60").succeeded()
    (dead / "a.txt").write_text("not sent")
    (live / "b.txt").write_text("not sent")
    daemon = machine.daemon(dead)
    daemon.send(signal.SIGKILL)
    assert daemon.wait_gone(20)
    machine.run(command).refused(ExitCode.TIMEOUT, f"umount {dead}")
    waiting = machine.status(live)["uploads"]["pending_count"]
    assert waiting == (0 if command == "sync" else 1), "those that are served come first"


def test_umount_clears_what_a_killed_daemon_left(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    machine.daemon(place).send(signal.SIGKILL)
    assert "dead daemon" in machine.run("umount", place).succeeded().stdout
    assert not is_mounted(place)
    machine.run("umount", place).refused(ExitCode.NOT_MOUNTED)


@pytest.mark.long
def test_umount_without_waiting_leaves_the_rest_to_the_next_mount(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    os.listdir(place)  # what was never listed cannot be served offline
    server.stop()
    (place / "a.txt").write_text("later")
    machine.run("umount", "--no-wait", place).refused(ExitCode.DATA_LEFT, "left in the journal")
    assert not is_mounted(place)
    machine.serve(data=server.data, port=server.port)
    machine.mount(server, place).succeeded()
    assert (place / "a.txt").read_text() == "later"
    machine.run("sync", place).succeeded()
    machine.run("umount", place).succeeded()


@pytest.mark.long
def test_umount_and_sync_give_up_in_time(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    os.listdir(place)  # what was never listed cannot be served offline
    server.stop()
    (place / "a.txt").write_text("later")
    machine.run("sync", "--timeout", "1", place).refused(ExitCode.TIMEOUT, "not confirmed")
    machine.run("umount", "--timeout", "1", place).refused(ExitCode.DATA_LEFT, "left in the journal")
    assert not is_mounted(place)


def test_busy_mount_is_not_taken_away(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    with (place / "a.txt").open("w") as file:
        machine.run("umount", place).refused(ExitCode.BUSY, f"({os.getpid()})")
        file.write("still works")
    assert (place / "a.txt").read_text() == "still works"
    machine.run("umount", place).succeeded()


@pytest.mark.long
def test_mountpoint_is_found_by_a_link_and_by_a_relative_name(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    (machine.folder / "link").symlink_to("mnt")
    machine.mount(server, Path("link")).succeeded()
    assert machine.status(Path("link"))["mountpoint"] == str(place)
    machine.run("sync", "link/").succeeded()
    machine.run("umount", "link").succeeded()
    assert not is_mounted(place)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_unmounts_and_ends(machine: Machine, server: Server, number: signal.Signals) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "a.txt").write_text("sent")
    daemon = machine.daemon(place)
    daemon.send(number)
    assert daemon.wait_gone(60)
    assert not is_mounted(place)
    assert _content_on_second_mount(machine, server, "a.txt") == b"sent"


def test_second_signal_does_not_wait_for_uploads(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    os.listdir(place)  # what was never listed cannot be served offline
    server.stop()
    (place / "a.txt").write_text("not sent")
    daemon = machine.daemon(place)
    daemon.send(signal.SIGTERM)
    wait_until(lambda: not is_mounted(place) or "stopping" in machine.log())
    daemon.send(signal.SIGTERM)
    assert daemon.wait_gone(30)
    assert not is_mounted(place)


@pytest.mark.long
def test_plain_umount_ends_the_daemon(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "a.txt").write_text("sent")
    daemon = machine.daemon(place)
    wait_until(lambda: os.system(f"umount {place} 2>/dev/null") == 0)
    assert daemon.wait_gone(60)
    assert _content_on_second_mount(machine, server, "a.txt") == b"sent"


@pytest.mark.long
def test_daemon_that_hangs_does_not_hang_the_program(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    daemon = machine.daemon(place)
    daemon.send(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as at_once:
            calls = (("status", place), ("umount", place), ("umount", place.name), ("sync", place / "a"))
            for done in at_once.map(lambda call: machine.run(*call), calls):
                done.refused(ExitCode.TIMEOUT, f"kill -9 {daemon.pid}")
    finally:
        daemon.send(signal.SIGCONT)
    machine.run("umount", place).succeeded()


def test_foreground_serves_until_a_signal(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    options = ("--url", server.url, "--workspace", "main", "--token-file", server.token_file)
    with machine.started("mount", "--foreground", *options, place) as process:
        wait_until(lambda: is_mounted(place) and any(machine.runtime_dir.glob("*.json")))
        (place / "a.txt").write_text("sent")
        machine.run("status", place).succeeded()
        process.send_signal(signal.SIGTERM)
        _out, told = process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK, told
    assert "Traceback" not in told
    assert not is_mounted(place)


def test_doctor_audits_a_mount(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "a.txt").write_text("x")
    told = machine.run("doctor", place).succeeded().stdout
    assert f"ok       {place}: the cache and its journal are sound" in told
    machine.run("umount", place).succeeded()
