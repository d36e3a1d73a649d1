"""A workspace that is away: the mount starts, serves what it has, takes writes, ends, and sends later."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel


def _seen_elsewhere(machine: Machine, server: Server, name: str) -> str:
    place = machine.mountpoint("witness")
    machine.mount(server, place, "--cache", machine.folder / "witness-cache").succeeded()
    content = (place / name).read_text()
    machine.run("umount", place).succeeded()
    return content


@pytest.fixture
def known(machine: Machine, server: Server) -> Path:
    """Return a mountpoint, unmounted again, whose cache holds `old.txt`."""
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "old.txt").write_text("cached")
    assert os.listdir(place) == ["old.txt"]
    machine.run("umount", place).succeeded()
    return place


@pytest.mark.parametrize("end", [Server.stop, Server.freeze], ids=["stopped", "frozen"])
@pytest.mark.long
def test_known_workspace_is_mounted_without_its_server(
    machine: Machine, server: Server, known: Path, end: Callable[[Server], None]
) -> None:
    end(server)
    machine.mount(server, known).succeeded()
    assert (known / "old.txt").read_text() == "cached"
    (known / "new.txt").write_text("written offline")
    assert sorted(os.listdir(known)) == ["new.txt", "old.txt"]
    wait_until(lambda: not machine.status(known)["online"])
    assert machine.status(known)["uploads"]["pending_count"] == 1
    if end is Server.stop:
        server = machine.serve(data=server.data, port=server.port)
    server.thaw()
    machine.run("sync", "--timeout", "80", known).succeeded()
    assert machine.status(known)["online"]
    assert _seen_elsewhere(machine, server, "new.txt") == "written offline"
    machine.run("umount", known).succeeded()


@pytest.mark.long
def test_workspace_that_the_cache_does_not_know_is_not_mounted(
    machine: Machine, server: Server, known: Path
) -> None:
    (cache,) = (machine.folder / "home" / ".cache" / "mountfs").iterdir()
    server.stop()
    options = ("--url", server.url, "--workspace", "other", "--token-file", server.token_file)
    machine.run("mount", *options, "--cache", cache, known).refused(ExitCode.REMOTE_UNREACHABLE)
    assert not is_mounted(known)


@pytest.mark.parametrize("end", [Server.stop, Server.freeze], ids=["stopped", "frozen"])
@pytest.mark.long
def test_sigterm_with_uploads_that_cannot_go_ends_in_time(
    machine: Machine, server: Server, known: Path, end: Callable[[Server], None]
) -> None:
    config = machine.configure("drain_timeout_s = 2")
    machine.mount(server, known, "--config", config).succeeded()
    os.listdir(known)
    end(server)
    (known / "new.txt").write_text("sent by the next mount")
    daemon = machine.daemon(known)
    began = time.monotonic()
    daemon.send(signal.SIGTERM)
    assert daemon.wait_gone(60)
    assert time.monotonic() - began < 20
    assert not is_mounted(known)
    assert "1 entries left in the journal" in machine.log()
    if end is Server.stop:
        server = machine.serve(data=server.data, port=server.port)
    server.thaw()
    machine.mount(server, known).succeeded()
    machine.run("sync", "--timeout", "80", known).succeeded()
    assert _seen_elsewhere(machine, server, "new.txt") == "sent by the next mount"
    machine.run("umount", known).succeeded()


def test_foreground_tells_by_its_exit_code_that_something_is_left(
    machine: Machine, server: Server, known: Path
) -> None:
    config = machine.configure("drain_timeout_s = 1")
    options = ("--url", server.url, "--workspace", "main", "--token-file", server.token_file)
    with machine.started("mount", "--foreground", *options, "--config", config, known) as process:
        wait_until(lambda: any(machine.runtime_dir.glob("*.json")))
        os.listdir(known)
        server.stop()
        (known / "new.txt").write_text("x")
        process.send_signal(signal.SIGTERM)
        _out, told = process.communicate(timeout=60)
    assert process.returncode == ExitCode.DATA_LEFT, told
    assert "Traceback" not in told
    assert "1 entries left in the journal" in told


@pytest.mark.long
def test_sigterm_sends_a_large_upload_that_is_under_way(
    machine: Machine, server: Server, known: Path
) -> None:
    machine.mount(server, known).succeeded()
    content = os.urandom(1024 * 1024) * 48
    (known / "large.bin").write_bytes(content)
    daemon = machine.daemon(known)
    daemon.send(signal.SIGTERM)
    assert daemon.wait_gone(90)
    assert "unmounted, 0 entries left" in machine.log()
    machine.mount(server, known, "--cache", machine.folder / "other-cache").succeeded()
    assert (known / "large.bin").read_bytes() == content
    machine.run("umount", known).succeeded()
