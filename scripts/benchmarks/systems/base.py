"""What every file system under comparison offers to the runner."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.processes import is_mounted, unmount
from scripts.lib.relay import Relay

Confirm = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """Where a system finds its programs and keeps what it needs for this run."""

    folder: Path
    programs: Path
    relayed: bool = False
    """Whether its way to the server goes through a delay proxy, where it has such a way."""


class System(ABC):
    """One file system: `start` it, use `directory`, `stop` it.

    Raises Absent from `start` when it cannot be had here; `stop` may be called at any time, also after a
    failed `start`, and ends every process and mount.
    """

    name: str
    has_server: bool = True

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.folder = setting.folder / self.name
        self.mountpoint = self.folder / "mnt"
        self.relays: list[Relay] = []
        self.version = ""
        self._server = ExitStack()
        self._client = ExitStack()
        self._generation = 0

    @property
    def directory(self) -> Path:
        return self.mountpoint

    def start(self) -> None:
        self.mountpoint.mkdir(parents=True)
        self.start_server()
        self.mount(self._new_cache())

    def stop(self) -> None:
        try:
            self._end_client()
        finally:
            self._server.close()

    def forget(self) -> bool:
        """Mount anew with an empty cache, with all content on the server; False where that cannot be had."""
        self.abandon()
        return True

    def abandon(self) -> None:
        """Mount anew with an empty cache, whatever was not sent."""
        self._end_client()
        self.mount(self._new_cache())

    def start_server(self) -> None:  # noqa: B027 - not every system has one
        """Start what the mount talks to, with its end on `self._server`."""

    @abstractmethod
    def mount(self, cache: Path) -> None:
        """Mount with an empty cache folder, and put the end on `self._client`."""

    def confirm(self) -> Confirm | None:
        """A function that returns when all written content is on the server; None where nothing tells.

        It is called from a child process, so it may only ask.
        """
        return None

    def daemon_pid(self) -> int | None:
        """The process whose memory is of interest."""
        return None

    def beside(self) -> AbstractContextManager[Path | None]:
        """Within, another mount of the same is at the path; None where there is none."""
        return nullcontext()

    def is_alive(self) -> bool:
        return is_mounted(self.mountpoint)

    def through_relay(self, port: int, at: int = 0) -> int:
        """The port to connect to instead of the server's; `at` asks for one port."""
        if not self.setting.relayed:
            return port
        relay = Relay.started(port, port=at)
        self._server.callback(relay.stop)
        self.relays.append(relay)
        return relay.port

    @contextmanager
    def delayed(self, delay_ms: int) -> Iterator[None]:
        """Within, each round trip to the server takes so much longer."""
        try:
            for relay in self.relays:
                relay.set_delay_ms(delay_ms)
            yield
        finally:
            for relay in self.relays:
                relay.set_delay_ms(0)

    def received_bytes(self) -> int:
        """What has come from the server so far, where it comes through delay proxies."""
        return sum(relay.received_bytes() for relay in self.relays)

    def _new_cache(self) -> Path:
        self._generation += 1
        cache = self.folder / f"cache{self._generation}"
        cache.mkdir()
        return cache

    def _end_client(self) -> None:
        try:
            self._client.close()
        finally:
            unmount(self.mountpoint)
