"""SeaweedFS: `weed mount` over one `weed server` with a filer."""

from pathlib import Path

from scripts.benchmarks.processes import Program, answers, find_program, free_port, run_tool
from scripts.benchmarks.systems.base import Confirm, System

GRPC_OFFSET = 10000


class SeaweedFS(System):
    """Its mount asks the volume servers by the ports that the master hands out. Behind delay proxies, which
    stand before the two ports of the filer, content goes through the filer instead."""

    name = "seaweedfs"

    def start_server(self) -> None:
        self._program = find_program("weed", [self.setting.programs])
        self.version = f"weed {run_tool([self._program, 'version']).split()[2]}"
        data = self.folder / "served"
        data.mkdir()
        master, volume, filer = (free_port(GRPC_OFFSET) for _ in range(3))
        server = Program(
            [
                *(self._program, "server", f"-dir={data}", "-ip=127.0.0.1", "-filer"),
                *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
                *("-master.volumeSizeLimitMB=1024", "-volume.max=50"),
            ],
            self.folder / "server.log",
        )
        self._server.callback(server.stop)
        ports = (master, volume, filer, filer + GRPC_OFFSET)
        server.wait_until(lambda: all(map(answers, ports)), "weed server")
        self._port, self._access = filer, "direct"
        if self.setting.relayed:
            self._port, self._access = free_port(GRPC_OFFSET), "filerProxy"
            for offset in (0, GRPC_OFFSET):
                self.through_relay(filer + offset, at=self._port + offset)

    def mount(self, cache: Path) -> None:
        mount = Program(
            [
                *(self._program, "mount", f"-filer=127.0.0.1:{self._port}", f"-dir={self.mountpoint}"),
                *("-filer.path=/", f"-cacheDir={cache}", "-cacheCapacityMB=4096"),
                f"-volumeServerAccess={self._access}",
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
