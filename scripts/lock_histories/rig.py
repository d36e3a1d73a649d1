"""The parts of a run as processes: server, proxies, daemons and workers, each in its own network."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mountfs.daemon.processes import ProcessIdentity
from mountfs.daemon.settings import MountSettings, Secret
from scripts.benchmarks.processes import unmount
from scripts.lib.relay import Relay
from scripts.lock_histories.clock_step import SteppedClocks
from scripts.lock_histories.network import Network

PATIENCE_S = 90.0
PORT = 7000
WORKER = Path(__file__).with_name("worker.py")
REPOSITORY = Path(__file__).parents[2]
_LAUNCH = (
    "import sys; from mountfs.daemon.launch import start_in_background;"
    "from mountfs.daemon.settings import MountSettings;"
    "start_in_background(MountSettings.load(sys.stdin.read()))"
)


@dataclass(frozen=True)
class Shape:
    """How large a run is. Leases are as short as the server and the mounts can be told to take them."""

    mounts: tuple[str, ...] = ("a", "b", "c")
    workers: int = 2
    registers: tuple[str, ...] = ("r0", "r1", "r2")
    lease_s: int = 3
    kind: str = "flock"


class Server:
    """The embedded server, which may be killed and started again where it was."""

    def __init__(self, rig: "Rig") -> None:
        self._rig = rig
        self.data = rig.folder / "served"
        self._process: subprocess.Popen[str] | None = None
        self.url = f"http://127.0.0.1:{PORT}/current/"

    @property
    def token(self) -> str:
        return (self.data / "token").read_text().strip()

    def start(self) -> None:
        command = [sys.executable, "-m", "mountfs.server", "--data", str(self.data), "--no-fsync"]
        command += ["--listen", f"127.0.0.1:{PORT}", "--min-lock-seconds", "1"]
        with (self._rig.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._rig.network.inside("server"), *command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._rig.environment(),
            )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the server does not start: see server.log")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def ask(self, action: str, *arguments: str) -> Any:
        command = [sys.executable, "-m", "scripts.lock_histories.workspace", self.url, self.token]
        done = self._rig.run([*self._rig.network.inside("server"), *command, action, *arguments])
        return json.loads(done)


class Mount:
    """One mountpoint with its cache, its proxy and its own token; its daemon may end and come back."""

    def __init__(self, rig: "Rig", name: str) -> None:
        self._rig = rig
        self.name = name
        self.place = rig.folder / f"mnt-{name}"
        self.cache = rig.folder / f"cache-{name}"
        self.place.mkdir()
        inside, host = rig.network.inside("server"), rig.network.address(name)
        self.relay = Relay.started(PORT, host, inside)
        self._url = f"http://{host}:{self.relay.port}/current"
        self._key: dict[str, str] = {}

    def start(self) -> None:
        if not self._key:
            self._key = self._rig.server.ask("key")
        settings = MountSettings(
            url=self._url,
            workspace="main",
            mountpoint=self.place,
            cache_dir=self.cache,
            token=Secret(self._key["token"]),
            allow_insecure=True,
            lease_duration_s=self._rig.shape.lease_s,
        )
        inside = self._rig.network.inside(self.name)
        self._rig.run([*inside, sys.executable, "-c", _LAUNCH], settings.dump())

    def revoke(self) -> None:
        """The token is refused from now on; the next start has another one."""
        self._rig.server.ask("revoke", self._key["id"])
        self._key = {}

    def signal(self, number: signal.Signals) -> None:
        self._daemon().send(number)

    def kill(self) -> None:
        daemon = self._daemon()
        daemon.send(signal.SIGKILL)
        if not daemon.wait_gone(PATIENCE_S):
            raise RuntimeError(f"the daemon of {self.name} does not end")

    def sync(self) -> str:
        """Wait until everything is confirmed; say what is not."""
        command = [sys.executable, "-m", "mountfs.cli", "sync", "--timeout", "60", str(self.place)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._rig.environment(), check=False
        )
        return done.stderr.strip()

    def tracebacks(self) -> int:
        """Count the faults of its own that the daemon has logged: no fault around it excuses one."""
        return (self.cache / "daemon.log").read_text(errors="replace").count("Traceback (most recent call")

    def clean_up(self) -> None:
        with suppress(LookupError, RuntimeError):
            self.kill()
        unmount(self.place)
        self.relay.stop()

    def _daemon(self) -> ProcessIdentity:
        for path in (self._rig.folder / "run" / "mountfs").glob("*.json"):
            record = json.loads(path.read_text())
            if record["mountpoint"] == str(self.place):
                return ProcessIdentity(**record["process"])
        raise LookupError(f"no daemon serves {self.place}")


class Rig:
    """Everything that runs; `folder` is empty, and short: it holds sockets. All of it ends with the block."""

    def __init__(self, folder: Path, shape: Shape, seed: str) -> None:
        self.folder = folder
        self.shape = shape
        self._seed = seed
        self._ends = ExitStack()
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _start(self) -> None:
        for name in ("run", "home"):
            (self.folder / name).mkdir(mode=0o700)
        self.clocks = SteppedClocks(self.folder)
        self.network = self._ends.enter_context(Network(self.shape.mounts))
        self.server = Server(self)
        self._ends.callback(self.server.kill)
        self.server.start()
        self.server.ask("prepare", *self.shape.registers)
        self.mounts = []
        for name in self.shape.mounts:
            mount = Mount(self, name)
            self._ends.callback(mount.clean_up)
            self.mounts.append(mount)
            mount.start()
        self._ends.callback(self._kill_workers)

    def environment(self) -> dict[str, str]:
        """Of the server and the daemons; their wall clock can be stepped."""
        return {
            **os.environ,
            **self.clocks.environment,
            "HOME": str(self.folder / "home"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "PYTHONPATH": str(REPOSITORY),
        }

    def run(self, command: list[str], told: str = "") -> str:
        """Run a program that has to succeed; return what it says."""
        done = subprocess.run(
            command,
            input=told,
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd=REPOSITORY,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[-2:]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    # Workers.

    @property
    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("worker-*.log"))

    def start_workers(self) -> None:
        for mount in self.mounts:
            for number in range(self.shape.workers):
                name = f"{mount.name}{number}"
                log = self.folder / f"worker-{name}.log"
                about = [name, mount.name, str(mount.place), str(log), f"{self._seed}-{name}"]
                command = [sys.executable, str(WORKER), *about, self.shape.kind, "0", *self.shape.registers]
                self._workers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/"))

    def stop_workers(self) -> list[str]:
        """End them between their sections; name those that did not end."""
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        stuck = []
        for worker in self._workers:
            try:
                worker.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                stuck.append(str(worker.args[2] if isinstance(worker.args, list) else worker.pid))
        return stuck

    def _kill_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
        for mount in self.mounts:
            with suppress(LookupError, RuntimeError):
                mount.kill()  # a worker in the mount ends only now
        for worker in self._workers:
            worker.wait(PATIENCE_S)
