"""SeaweedFS: `weed mount` over one `weed server` with a filer."""

from pathlib import Path

from scripts.benchmarks.processes import Program, answers, find_program, free_port, run_tool
from scripts.benchmarks.systems.base import Confirm, System

GRPC_OFFSET = 10000


class SeaweedFS(System):
    """Its mount talks to several ports that the master hands out, so no proxy stands before them."""

    name = "seaweedfs"
    has_server = False

    def start_server(self) -> None:
        self._program = find_program("weed", [self.setting.programs])
        self.version = f"weed {run_tool([self._program, 'version']).split()[2]}"
        data = self.folder / "served"
        data.mkdir()
        master, volume, self._filer = (free_port(GRPC_OFFSET) for _ in range(3))
        server = Program(
            [
                *(self._program, "server", f"-dir={data}", "-ip=127.0.0.1", "-filer"),
                *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={self._filer}"),
                *("-master.volumeSizeLimitMB=1024", "-volume.max=50"),
            ],
            self.folder / "server.log",
        )
        self._server.callback(server.stop)
        ports = (master, volume, self._filer, self._filer + GRPC_OFFSET)
        server.wait_until(lambda: all(map(answers, ports)), "weed server")

    def mount(self, cache: Path) -> None:
        mount = Program(
            [
                *(self._program, "mount", f"-filer=127.0.0.1:{self._filer}", f"-dir={self.mountpoint}"),
                *("-filer.path=/", f"-cacheDir={cache}", "-cacheCapacityMB=4096"),
            ],
            self.folder / "mount.log",
        )
        self._client.callback(mount.stop)
        self._mount = mount
        mount.wait_until(self.is_alive, "weed mount")

    def confirm(self) -> Confirm:
        """Its close waits for the upload."""
        return lambda: None

    def daemon_pid(self) -> int | None:
        return self._mount.pid
