"""Bad input to `mount`: one clear line, a documented exit code, no traceback, and nothing left behind."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.small_disk import fill_disk, small_disk_at
from tests.t6_system.machine import Machine, Server, is_mounted

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(machine: Machine) -> Iterator[Path]:
    """Return a mountpoint, and check at the end that nothing was mounted there."""
    chosen = machine.mountpoint()
    yield chosen
    assert not is_mounted(chosen)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port at which nothing answers; it stays bound, so that nobody takes it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def other_web_server() -> Iterator[int]:
    """Return the port of a web server that is no workspace."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html>hello</html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = Thread(target=web.serve_forever)
        thread.start()
        yield web.server_port
        web.shutdown()
        thread.join()


def test_wrong_token(machine: Machine, server: Server, place: Path) -> None:
    done = machine.run(
        "mount", "--url", server.url, "--workspace", "main", place, MOUNTFS_TOKEN="wrong-token-1"
    )
    done.refused(ExitCode.CREDENTIAL_REFUSED, "token")
    assert "wrong-token-1" not in done.stderr


def test_read_only_token(machine: Machine, server: Server) -> None:
    token = server.read_only_token()
    done = machine.run("workspaces", "--url", server.url, "create", "made-here", MOUNTFS_TOKEN=token)
    done.refused(ExitCode.ACCESS_DENIED)
    assert token not in done.stderr


@pytest.mark.long
def test_nothing_listens(machine: Machine, closed_port: int, place: Path) -> None:
    url = f"http://127.0.0.1:{closed_port}/current"
    done = machine.run("mount", "--url", url, "--workspace", "main", place, MOUNTFS_TOKEN="t")
    done.refused(ExitCode.REMOTE_UNREACHABLE, str(closed_port))


@pytest.mark.parametrize("end", [Server.stop, Server.freeze], ids=["stopped", "frozen"])
@pytest.mark.long
def test_server_is_down(machine: Machine, server: Server, place: Path, end: Callable[[Server], None]) -> None:
    end(server)
    began = time.monotonic()
    machine.mount(server, place).refused(ExitCode.REMOTE_UNREACHABLE)
    assert time.monotonic() - began < 15


def test_read_only_token_mounts_read_only(machine: Machine, server: Server, place: Path) -> None:
    config = machine.configure("read_only = true")
    options = ("--url", server.url, "--workspace", "main", "--config", config)
    machine.run("mount", *options, place, MOUNTFS_TOKEN=server.read_only_token()).succeeded()
    assert machine.status(place)["read_only"]
    with pytest.raises(OSError, match="Read-only file system"):
        (place / "a.txt").touch()
    machine.run("umount", place).succeeded()


def test_web_server_that_is_no_workspace(machine: Machine, other_web_server: int, place: Path) -> None:
    url = f"http://127.0.0.1:{other_web_server}/current"
    done = machine.run("mount", "--url", url, "--workspace", "main", place, MOUNTFS_TOKEN="t")
    done.refused(ExitCode.REMOTE_UNREACHABLE, "workspace service")


def test_unknown_workspace(machine: Machine, server: Server, place: Path) -> None:
    done = machine.run(
        "mount", "--url", server.url, "--workspace", "mian", "--token-file", server.token_file, place
    )
    done.refused(ExitCode.WORKSPACE_UNKNOWN, "mian")


def test_mountpoint_missing_file_or_not_empty(machine: Machine, server: Server) -> None:
    missing, file, full = (machine.folder / name for name in ("missing", "file", "full"))
    file.touch()
    full.mkdir()
    (full / "x").touch()
    machine.mount(server, missing).refused(ExitCode.MOUNTPOINT_UNUSABLE, "no such directory", "mkdir")
    machine.mount(server, file).refused(ExitCode.MOUNTPOINT_UNUSABLE, "not a directory")
    machine.mount(server, full).refused(ExitCode.MOUNTPOINT_UNUSABLE, "not empty")


@pytest.mark.long
def test_mountpoint_already_mounted_and_cache_in_use(machine: Machine, server: Server) -> None:
    first, second = machine.mountpoint("first"), machine.mountpoint("second")
    cache = machine.folder / "cache"
    machine.mount(server, first, "--cache", cache).succeeded()
    machine.mount(server, first).refused(ExitCode.MOUNTPOINT_UNUSABLE, "mounted here already")
    machine.mount(server, first, "--cache", cache).refused(
        ExitCode.MOUNTPOINT_UNUSABLE, "mounted here already"
    )
    machine.mount(server, second, "--cache", cache).refused(ExitCode.CACHE_UNUSABLE, "--cache")
    assert machine.status(first)["online"]
    assert not is_mounted(second)
    machine.run("umount", first).succeeded()


@pytest.fixture
def small_disk(machine: Machine) -> Iterator[Path]:
    with small_disk_at(machine.folder / "small", mebibytes=16) as disk:
        yield disk


def test_full_cache_disk(machine: Machine, server: Server, place: Path, small_disk: Path) -> None:
    """Of a cache that is new, and of one that was used."""
    cache, filling = small_disk / "cache", small_disk / "filling"
    for _ in range(2):
        fill_disk(filling)
        done = machine.mount(server, place, "--cache", cache)
        done.refused(ExitCode.CACHE_UNUSABLE, str(cache), "make room")
        filling.unlink()
        machine.mount(server, place, "--cache", cache).succeeded()
        machine.run("umount", place).succeeded()


_WITHOUT_FUSE = (
    "mount -t tmpfs none /dev && ln -s /proc/self/fd /dev/fd"
    " && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9"
)


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: hiding /dev/fuse needs root")
def test_no_fuse_device(machine: Machine, server: Server, place: Path) -> None:
    options = ("--url", server.url, "--workspace", "main", "--token-file", server.token_file)
    done = machine.run_in_namespace(_WITHOUT_FUSE, "mount", *options, place)
    done.refused(ExitCode.FUSE_UNAVAILABLE, "/dev/fuse does not exist")
    doctor = machine.run_in_namespace(_WITHOUT_FUSE, "doctor")
    assert (doctor.code, doctor.stderr) == (ExitCode.FINDINGS, "")
    assert "MISSING  fuse device: /dev/fuse does not exist" in doctor.stdout


def test_cache_that_cannot_be_written(machine: Machine, server: Server, place: Path) -> None:
    file = machine.folder / "file"
    file.touch()
    machine.mount(server, place, "--cache", file).refused(ExitCode.CACHE_UNUSABLE, "--cache")
    machine.mount(server, place, "--cache", file / "below").refused(ExitCode.CACHE_UNUSABLE, "--cache")
    machine.mount(server, place, "--cache", "/proc/cache").refused(ExitCode.CACHE_UNUSABLE, "--cache")


def test_configuration_and_token_file(machine: Machine, server: Server, place: Path) -> None:
    config, token = machine.folder / "c.toml", machine.folder / "token"
    config.write_text("cache_sise = 3")
    machine.mount(server, place, "--config", config).refused(
        ExitCode.CONFIGURATION, "c.toml, line 1", "cache_sise"
    )
    config.write_text("cache_size = 'many'")
    machine.mount(server, place, "--config", config).refused(
        ExitCode.CONFIGURATION, "c.toml, line 1", "cache_size"
    )
    missing = machine.folder / "nothing.toml"
    machine.mount(server, place, "--config", missing).refused(ExitCode.CONFIGURATION, "nothing.toml")
    options = ("mount", "--url", server.url, "--workspace", "main", "--token-file", token, place)
    machine.run(*options).refused(ExitCode.CONFIGURATION, "cannot be read")
    token.touch(0o600)
    machine.run(*options).refused(ExitCode.CONFIGURATION, "is empty")
    token.write_text("secret-word-1")
    token.chmod(0o644)
    done = machine.run(*options)
    done.refused(ExitCode.CONFIGURATION, "chmod 600")
    assert "secret-word-1" not in done.stderr


def test_no_token_and_addresses_that_would_leak_it(machine: Machine, place: Path) -> None:
    def run(url: str, **variables: str) -> None:
        done = machine.run("mount", "--url", url, "--workspace", "main", place, **variables)
        done.refused(ExitCode.CONFIGURATION)

    run("https://127.0.0.1:1/current")
    run("http://files.example/current", MOUNTFS_TOKEN="t")
    run("ftp://127.0.0.1/current", MOUNTFS_TOKEN="t")


def test_foreground_refuses_in_the_same_way(machine: Machine, server: Server, place: Path) -> None:
    done = machine.run(
        "mount", "--foreground", "--url", server.url, "--workspace", "main", place, MOUNTFS_TOKEN="wrong"
    )
    done.refused(ExitCode.CREDENTIAL_REFUSED, "token")
