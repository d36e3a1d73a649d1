"""The embedded server behind `mountfs up`: one per directory, started in the background, found again.

Which data belong to a directory is kept below `$XDG_DATA_HOME/mountfs/up`: a folder with the data, or a
link to where `--data` put them. The data folder remembers the server's port, since the address should
stay the same, and its process.
"""

import fcntl
import hashlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mountfs.cli.paths import data_dir
from mountfs.daemon.errors import ConfigurationRefused, StartFailed, StartTimedOut
from mountfs.daemon.launch import SECRET_VARIABLES
from mountfs.daemon.processes import ProcessIdentity
from mountfs.daemon.running import shown

HOST = "127.0.0.1"
WORKSPACE = "main"
SERVER_FOLDER = "server"
CACHE_FOLDER = "cache"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_MAX_LOG_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A server as its data folder remembers it; `process` may have ended long ago."""

    url: str
    port: int
    process: ProcessIdentity

    def answers(self) -> bool:
        """Whether this very process runs and takes connections."""
        if not self.process.is_alive():
            return False
        with socket.socket() as probe:
            probe.settimeout(5.0)
            return probe.connect_ex((HOST, self.port)) == 0


def find_data(directory: Path) -> Path | None:
    """Return the data folder of a directory that was brought up before."""
    place = _place(directory)
    return place.resolve() if place.exists() else None


def choose_data(directory: Path, wanted: Path | None) -> Path:
    """Return the data folder of a directory, made if missing. Raises ConfigurationRefused where the directory
    has another one than `wanted`."""
    place = _place(directory)
    known = find_data(directory)
    if wanted is not None and known is not None and known != wanted.resolve():
        raise ConfigurationRefused(
            f"{shown(str(directory))} has its data in {shown(str(known))}",
            hint=f"give that --data, or remove {shown(str(place))} to start anew",
        )
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = wanted.resolve() if wanted is not None else place
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if known is None and target != place:
            place.unlink(missing_ok=True)
            place.symlink_to(target)
    except OSError as error:
        raise ConfigurationRefused(
            f"the data directory {shown(str(wanted or place))} cannot be used: {error.strerror}"
        ) from error
    return place.resolve()


def _place(directory: Path) -> Path:
    key = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", directory.name)[:40]
    return data_dir() / "up" / f"{name}-{key}"


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold off another `up` or `down` on the same data."""
    with (data / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def recorded(data: Path) -> EmbeddedServer | None:
    """Return the server that was started last on these data."""
    try:
        plain = json.loads((data / "up.json").read_text())
        process = ProcessIdentity(**plain["process"])
        return EmbeddedServer(url=plain["url"], port=int(plain["port"]), process=process)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def ensure_running(data: Path) -> EmbeddedServer:
    """Return a server that answers: the one that runs, else a new one, on the same port when that is free."""
    known = recorded(data)
    if known is not None:
        if known.answers():
            return known
        stop(known)
    return _start(data, known.port if known is not None else 0)


def stop(server: EmbeddedServer) -> None:
    """End the process if it still is the one that was started."""
    server.process.send(signal.SIGTERM)
    if not server.process.wait_gone(_STOP_TIMEOUT_S):
        server.process.send(signal.SIGKILL)
        server.process.wait_gone(_STOP_TIMEOUT_S)


def _start(data: Path, wanted_port: int) -> EmbeddedServer:
    port = _free_port(wanted_port)
    log_path = data / "server.log"
    if log_path.exists() and log_path.stat().st_size > _MAX_LOG_BYTES:
        log_path.replace(data / "server.log.1")
    with log_path.open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program
            [
                sys.executable,
                "-P",
                "-m",
                "mountfs.cli",
                "serve",
                "--data",
                str(data / SERVER_FOLDER),
                "--listen",
                f"{HOST}:{port}",
                "--workspace",
                WORKSPACE,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES},
            start_new_session=True,
        )
    try:
        url = _wait_announced(child, log_path)
        process = ProcessIdentity.of(child.pid)
        if process is None:
            raise StartFailed("the embedded server died", hint=f"see {shown(str(log_path))}")
        server = EmbeddedServer(url, port, process)
        _remember(data, server)
    except BaseException:
        child.kill()
        child.wait()
        raise
    child.returncode = 0  # it outlives this process on purpose
    return server


def _wait_announced(child: subprocess.Popen[bytes], log_path: Path) -> str:
    """Return the base URL that the server tells once it answers."""
    assert child.stdout is not None
    with child.stdout as pipe:
        if not select.select([pipe], [], [], _START_TIMEOUT_S)[0]:
            raise StartTimedOut(
                "the embedded server did not start in time", hint=f"see {shown(str(log_path))}"
            )
        url = pipe.readline().decode().strip()
        if not url:
            raise StartFailed(f"the embedded server did not start{_last_line(log_path)}")
        return url


def _last_line(log_path: Path) -> str:
    lines = log_path.read_text(errors="backslashreplace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _remember(data: Path, server: EmbeddedServer) -> None:
    temporary = data / "up.json.new"
    temporary.write_text(json.dumps(asdict(server)))
    temporary.replace(data / "up.json")


def _free_port(wanted: int) -> int:
    """Return `wanted` if it can be bound; it may still be held for a moment by a server that was killed."""
    deadline = time.monotonic() + 2.0
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
                return int(probe.getsockname()[1])
            except OSError:
                if time.monotonic() > deadline:
                    wanted = 0
        time.sleep(0.1)
