"""mountfs, driven by its command line only, over its embedded server."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.benchmarks.processes import Absent, Program, free_port, run_tool, unmount
from scripts.benchmarks.systems.base import Confirm, Setting, System

CONFIRM_S = 1800.0


@dataclass(frozen=True)
class Variant:
    """One way to mount: extra switches and environment, and the words `mount --help` must show for it."""

    name: str
    switches: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()


VARIANTS = (
    Variant("mountfs"),
    Variant("mountfs-no-passthrough", switches=("--no-passthrough",), needs=("--no-passthrough",)),
)


def command_line() -> str:
    """The program that belongs to the Python this runs with."""
    program = Path(sys.executable).parent / "mountfs"
    if not program.exists():
        raise Absent(f"{program.name} is not installed beside {sys.executable}")
    return str(program)


class EmbeddedServer:
    """`mountfs serve` on a free port."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "served"
        self.port = free_port()
        self._log = folder / "server.log"
        self._program = Program(
            [command_line(), "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"],
            self._log,
        )

    def wait_ready(self) -> None:
        self._program.wait_until(self._is_announced, "the embedded server")

    def _is_announced(self) -> bool:
        return f":{self.port}" in self._log.read_text()

    def url(self, port: int | None = None) -> str:
        """The address, with another port when a proxy stands before it."""
        announced = next(word for word in self._log.read_text().split() if f":{self.port}" in word)
        return announced.replace(f":{self.port}", f":{port or self.port}")

    @property
    def token(self) -> str:
        return (self.data / "token").read_text().strip()

    def stop(self) -> None:
        self._program.stop()


class Mountfs(System):
    def __init__(self, setting: Setting, variant: Variant = VARIANTS[0]) -> None:
        self.name = variant.name
        super().__init__(setting)
        self._variant = variant
        self._program = ""
        self._home = ""
        self._url = ""
        self._token_file = Path()
        self._pid: int | None = None

    def start_server(self) -> None:
        self._program = command_line()
        # Short, whatever the work folder is: the path of a socket has at most 107 bytes.
        self._home = self._server.enter_context(TemporaryDirectory(prefix="mountfs-bench-"))
        told = run_tool([self._program, "mount", "--help"])
        if missing := [word for word in self._variant.needs if word not in told]:
            raise Absent(f"this mountfs has no {' '.join(missing)}")
        self.version = run_tool([self._program, "--version"]).strip()
        server = EmbeddedServer(self.folder)
        self._server.callback(server.stop)
        server.wait_ready()
        self._url = server.url(self.through_relay(server.port))
        self._token_file = server.data / "token"

    def mount(self, cache: Path) -> None:
        place = str(self.mountpoint)
        self._client.callback(self._umount, self.mountpoint)
        self._mount_at(self.mountpoint, cache)
        told = json.loads(self._call("status", "--json", place))["mounts"][0]
        self._pid = int(told["pid"])
        on = sorted(feature["name"] for feature in told["features"] if feature["on"])
        self.version = f"{self.version.split(' with ')[0]} with {', '.join(on) or 'no features'}"

    def _mount_at(self, place: Path, cache: Path) -> None:
        self._call(
            *("mount", "--url", self._url, "--workspace", "main", "--token-file", str(self._token_file)),
            *("--cache", str(cache), *self._variant.switches, str(place)),
        )

    @contextmanager
    def beside(self) -> Iterator[Path]:
        place = self.folder / "beside"
        place.mkdir(exist_ok=True)
        try:
            self._mount_at(place, self._new_cache())
            yield place
        finally:
            self._umount(place)
            unmount(place)

    def confirm(self) -> Confirm:
        return lambda: self._sync(CONFIRM_S)

    def daemon_pid(self) -> int | None:
        return self._pid

    def _sync(self, timeout_s: float) -> None:
        place = str(self.mountpoint)
        self._call("sync", "--timeout", str(timeout_s), place, timeout_s=timeout_s + 10)

    def _umount(self, place: Path) -> None:
        with suppress(Absent):
            self._call("umount", "--no-wait", str(place))

    def _call(self, *arguments: str, timeout_s: float = 120) -> str:
        environment = {"XDG_RUNTIME_DIR": self._home, "HOME": self._home, **dict(self._variant.environment)}
        return run_tool([self._program, *arguments], environment, timeout_s)
