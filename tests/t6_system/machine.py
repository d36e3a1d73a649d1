"""One user's world: a home of its own, the program as users call it, and nothing left behind."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from mountfs.daemon.processes import ProcessIdentity
from mountfs.kernel import mounts

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "mountfs.cli"]
_TIMEOUT_S = 90


KEPT = ("PATH", "LANG", "LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS", "UBSAN_OPTIONS")
"""What a program gets of the test's own environment; the later ones come from scripts/test-sanitized."""


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    code: int
    stdout: str
    stderr: str

    def refused(self, code: int, *words: str) -> None:
        """Check that it failed with this code and one clear line that has these words."""
        assert self.code == code, self
        assert self.stderr.startswith("mountfs: "), self
        assert self.stderr.count("\n") == 1, self
        assert "Traceback" not in self.stderr, self
        for word in words:
            assert word in self.stderr, self

    def succeeded(self) -> "Done":
        assert (self.code, self.stderr) == (0, ""), self
        return self


@dataclass
class Server:
    """An embedded server that was started by `mountfs serve`."""

    url: str
    data: Path
    process: subprocess.Popen[str]

    @property
    def token_file(self) -> Path:
        return self.data / "token"

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    def read_only_token(self) -> str:
        return self._token("r")

    def member_token(self) -> str:
        """One that may write, and administers nothing."""
        return self._token("rw")

    def _token(self, mode: str) -> str:
        body = f"scopes=%5B%22user%3A*%3A{mode}%22%5D".encode()
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        request = Request(f"{self.url.rstrip('/')}/user/auth/key/", data=body, headers=headers)
        with urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["api_key"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def freeze(self) -> None:
        """From now on it takes connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)


@dataclass
class Machine:
    folder: Path
    servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("home", "run"):
            (self.folder / name).mkdir(mode=0o700)

    @property
    def runtime_dir(self) -> Path:
        return self.folder / "run" / "mountfs"

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        home = self.folder / "home"
        return {
            **kept,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "PYTHONPATH": str(REPOSITORY),
        }

    def run(self, *arguments: str | Path, **variables: str) -> Done:
        return self._run([*PROGRAM, *map(str, arguments)], variables)

    def run_in_namespace(self, prepare: str, *arguments: str | Path) -> Done:
        """Run the program in a mount namespace of its own, after these shell commands. Needs root."""
        command = shlex.join([*PROGRAM, *map(str, arguments)])
        return self._run(["unshare", "--mount", "sh", "-c", f"{prepare} && {command}"], {})

    def _run(self, command: list[str], variables: dict[str, str]) -> Done:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def started(self, *arguments: str | Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Start the program; kill it if the block leaves it running."""
        process = self.start(*arguments, **variables)
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=20)

    def serve(self, *switches: str, data: Path | None = None, port: int = 0) -> Server:
        data = data or self.folder / f"served-{len(self.servers)}"
        process = self.start(
            "serve", "--data", data, "--listen", f"127.0.0.1:{port}", "--workspace", "main", *switches
        )
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 30)[0], "the server is silent"
        server = Server(process.stdout.readline().strip(), data, process)
        self.servers.append(server)
        assert server.url, "the server did not start"
        return server

    def mountpoint(self, name: str = "mnt") -> Path:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        return place

    def mount(self, server: Server, place: Path, *more: str | Path) -> Done:
        return self.run(
            "mount",
            "--url",
            server.url,
            "--workspace",
            "main",
            "--token-file",
            server.token_file,
            *more,
            place,
        )

    def configure(self, text: str) -> Path:
        """Write a configuration file."""
        config = self.folder / "mountfs.toml"
        config.write_text(text)
        return config

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.rglob("daemon.log"))

    def status(self, place: Path) -> dict[str, Any]:
        answer = json.loads(self.run("status", "--json", place).succeeded().stdout)
        found: dict[str, Any] = answer["mounts"][0]
        return found

    def daemon(self, place: Path) -> ProcessIdentity:
        """Return the process that serves this mountpoint."""
        for path in self.runtime_dir.glob("*.json"):
            record = json.loads(path.read_text())
            if record["mountpoint"] == str(place):
                return ProcessIdentity(**record["process"])
        raise AssertionError(f"no daemon serves {place}")

    def clean_up(self) -> None:
        _kill_recorded(self.runtime_dir.glob("*.json"))
        for mount in mounts.mountfs_mounts():
            if Path(mount.mountpoint).is_relative_to(self.folder):
                mounts.unmount(mount, lazy=True)
        _kill_recorded(self.folder.rglob("up.json"))  # only now: a dead mount cannot be searched
        for server in self.servers:
            server.kill()
            for pipe in (server.process.stdout, server.process.stderr):
                assert pipe is not None
                pipe.close()


def _kill_recorded(records: Iterable[Path]) -> None:
    for path in records:
        process = ProcessIdentity(**json.loads(path.read_text())["process"])
        process.send(signal.SIGKILL)
        process.wait_gone(20)


def is_mounted(place: Path) -> bool:
    return mounts.mount_at(str(place)) is not None


def wait_until(condition: Callable[[], bool], *, limit_s: float = 30, pause_s: float = 0.02) -> None:
    """Wait for what no event tells from outside; fails after the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause_s)
