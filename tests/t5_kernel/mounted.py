"""A workspace with real mounts of it: server, daemons and programs are processes, the wire is a socket."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mountfs.daemon.settings import MountSettings, Secret
from mountfs.kernel import mounts
from tests.server_variants import chosen_switches
from tests.t2_server.serving import Api, ServerProcess
from tests.t5_kernel.proxy import Proxy
from tests.t5_kernel.stored_api import StoredApi
from tests.t6_system.machine import Done, Machine, Server, wait_until

LIMIT_S = 100
"""After this long the daemons of a test are killed, so that whatever hangs in a mount fails instead."""

LOG_SHOWN = 10_000
"""So many characters of a daemon's log are shown where a test failed."""

PATIENCE_S = 60
DYING_S = 15
"""For one wait; only a test that fails takes so long."""

_LAUNCH = (
    "import sys; from mountfs.daemon.launch import start_in_background;"
    "from mountfs.daemon.settings import MountSettings;"
    "start_in_background(MountSettings.load(sys.stdin.read()))"
)


@dataclass(frozen=True)
class Node:
    """One entry of the workspace as its REST interface tells it."""

    id: str
    kind: str
    size: int
    sha256: str


class Mount:
    """One mountpoint with its cache directory; may be started and ended any number of times."""

    def __init__(
        self,
        world: "World",
        name: str,
        *,
        url: str | None,
        environment: Mapping[str, str],
        options: Mapping[str, Any],
    ) -> None:
        self.world = world
        self.place = world.machine.mountpoint(name)
        self.cache = world.machine.folder / f"{name}-cache"
        self._url = url
        self._environment = environment
        self._options = options

    def __truediv__(self, name: str) -> Path:
        return self.place / name

    @property
    def url(self) -> str:
        return self._url or self.world.server.url

    def start(self) -> None:
        if "lease_duration_s" in self._options:
            self._start_daemon()
            return
        config = self.cache.with_suffix(".toml")
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self._options.items()))
        machine, server = self.world.machine, self.world.server
        reached = Server(self.url, server.data, server.process)
        machine.mount(reached, self.place, "--cache", self.cache, "--config", config).succeeded()

    def _start_daemon(self) -> None:
        """The command line does not take leases as short as a test wants them."""
        settings = MountSettings(
            url=self.url.rstrip("/"),
            workspace="main",
            mountpoint=self.place,
            cache_dir=self.cache,
            token=Secret(self.world.server.token()),
            **self._options,
        )
        subprocess.run(
            [sys.executable, "-c", _LAUNCH],
            input=settings.dump(),
            text=True,
            env={**self.world.machine.environment(), **self._environment},
            timeout=PATIENCE_S,
            check=True,
        )

    def sync(self) -> None:
        """Wait until the workspace has confirmed everything."""
        self.world.machine.run("sync", "--timeout", str(PATIENCE_S), self.place).succeeded()

    def umount(self) -> None:
        wait_until(lambda: self._try_umount().code == 0)

    def _try_umount(self) -> Done:
        # A process that was just killed may still be about to close its files.
        return self.world.machine.run("umount", self.place)

    def signal(self, number: signal.Signals) -> None:
        self.world.machine.daemon(self.place).send(number)

    def kill(self) -> bool:
        """SIGKILL the daemon; return whether it is gone. Else a thread of it waits in the kernel, maybe with
        programs, until `end_requests`, or the next mount or umount."""
        daemon = self.world.machine.daemon(self.place)
        daemon.send(signal.SIGKILL)
        is_gone = daemon.wait_gone(DYING_S)
        assert is_gone or daemon.is_dying()
        return is_gone

    def end_requests(self) -> None:
        """End what programs wait for where the daemon was killed."""
        for mount in mounts.mountfs_mounts():
            if mount.mountpoint == str(self.place):
                assert mounts.abort_connection(mount)
        assert self.world.machine.daemon(self.place).wait_gone(DYING_S)

    def status(self) -> dict[str, Any]:
        return self.world.machine.status(self.place)

    def audit(self) -> None:
        """Check every invariant of cache and journal."""
        self.world.machine.run("doctor", self.place).succeeded()

    def log(self) -> str:
        return (self.cache / "daemon.log").read_text()


class World:
    """One server and any number of mounts of its workspace `main`; `clean_up` leaves nothing behind."""

    def __init__(self, folder: Path, *switches: str) -> None:
        self._switches = ("--no-fsync", *chosen_switches(), *switches)
        self.machine = Machine(folder)
        self.mounts: list[Mount] = []
        self._proxies: list[Proxy] = []
        self._programs: list[subprocess.Popen[bytes]] = []
        self.server = ServerProcess(folder / "served", *self._switches)
        self._servers = [self.server]

    def mount(
        self,
        name: str,
        *,
        url: str | None = None,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Mount:
        """Mount at a new place, with a new cache. `environment` is for a daemon that has lease options."""
        made = Mount(self, name, url=url, environment=environment or {}, options=options)
        self.mounts.append(made)
        made.start()
        return made

    def proxy(self) -> Proxy:
        """Return a way to the server that counts; mount its `url`."""
        self._proxies.append(Proxy(self.server.url))
        return self._proxies[-1]

    def api(self) -> StoredApi:
        return StoredApi(self.server.url, self.server.token(), self.server.data)

    def restart_server(self) -> None:
        """Start the server again, where it was."""
        address = self.server.url.split("/")[2]
        self.server = ServerProcess(self.server.data, "--listen", address, *self._switches)
        self._servers.append(self.server)

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program that is gone at the end of the test."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": os.devnull}
        program = subprocess.Popen(
            [*map(str, command)],
            **{"env": environment, "stdin": subprocess.DEVNULL, "cwd": "/", **options},
        )
        self._programs.append(program)
        return program

    def run(self, *command: str | Path, **options: Any) -> str:
        """Run a program that has to succeed; return what it says."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        program = self.start(*command, **{**pipes, **options})
        said = program.communicate(timeout=PATIENCE_S)[0]
        assert program.returncode == 0, said.decode(errors="replace")
        return str(said.decode(errors="replace"))

    def print_logs(self) -> None:
        """Print the end of each daemon's log: pytest shows it where a test failed, and its folder goes."""
        for log in self.machine.folder.glob("*/daemon.log"):
            print(log, log.read_text()[-LOG_SHOWN:], sep="\n")

    def clean_up(self) -> None:
        for program in self._programs:
            program.kill()
        self.kill_daemons()  # a program in the mount ends only now
        for program in self._programs:
            program.wait(PATIENCE_S)
            for pipe in (program.stdin, program.stdout, program.stderr):
                if pipe is not None:
                    pipe.close()
        self.machine.clean_up()
        for proxy in self._proxies:
            proxy.close()
        for server in self._servers:
            server.kill()
            server.__exit__(None, None, None)

    def kill_daemons(self) -> None:
        for mount in self.mounts:
            for path in self.machine.runtime_dir.glob("*.json"):
                if json.loads(path.read_text())["mountpoint"] == str(mount.place) and not mount.kill():
                    mount.end_requests()

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Kill the daemons when the block takes too long: what hangs in a mount gets an error then."""
        timer = threading.Timer(LIMIT_S, self.kill_daemons)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def remote_tree(api: Api, folder: str = "root", prefix: str = "") -> dict[str, Node]:
    """Return everything that the workspace has, by path; fails where two entries have one path."""
    found: dict[str, Node] = {}
    for node in api.entries(folder):
        path = prefix + node["name"]
        assert path not in found, f"{path} is there twice"
        found[path] = Node(node["id"], node["type"], node.get("size") or 0, node.get("hash") or "")
        if node["type"] == "folder":
            found.update(remote_tree(api, node["id"], f"{path}/"))
    return found


def remote_files(api: Api, folder: str = "root") -> dict[str, str]:
    """Return path and sha256 of every file that the workspace has."""
    return {path: node.sha256 for path, node in remote_tree(api, folder).items() if node.kind == "file"}


def trashed_names(api: Api) -> set[str]:
    return set(api.children("trash"))


def local_files(top: Path) -> dict[str, str]:
    """Return path and sha256 of every file below a directory."""
    return {
        str(Path(folder, name).relative_to(top)): sha256(Path(folder, name).read_bytes())
        for folder, _, names in os.walk(top, onerror=_raise)
        for name in names
        if not Path(folder, name).is_symlink()
    }


def _raise(error: OSError) -> None:
    raise error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
