"""Network namespaces on one host: one for the server, one for each mount, with a cable between."""

import os
import subprocess
from collections.abc import Sequence

from scripts.benchmarks.processes import Absent, find_program


class Network:
    """Made on entry, gone on exit. Needs root. A cable that is pulled loses everything and tells nobody."""

    def __init__(self, mounts: Sequence[str]) -> None:
        self._mounts = list(mounts)
        self._ip = find_program("ip")
        self._enter = find_program("nsenter")
        self._prefix = f"mountfs-{os.getpid()}"

    def __enter__(self) -> "Network":
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self._mounts, "server"):
            subprocess.run([self._ip, "netns", "del", self._name(name)], capture_output=True, check=False)

    def address(self, mount: str) -> str:
        """Where the mount finds the server's end of its cable."""
        return f"10.213.{self._mounts.index(mount)}.1"

    def inside(self, name: str) -> list[str]:
        """The command that runs another one in this namespace, `server` or a mount's."""
        return [self._enter, f"--net=/run/netns/{self._name(name)}"]

    def pull(self, mount: str) -> None:
        self._run("-n", self._name("server"), "link", "set", f"to-{mount}", "down")

    def plug(self, mount: str) -> None:
        self._run("-n", self._name("server"), "link", "set", f"to-{mount}", "up")

    def _build(self) -> None:
        server = self._name("server")
        self._run("netns", "add", server)
        self._run("-n", server, "link", "set", "lo", "up")
        for number, mount in enumerate(self._mounts):
            own, cable = self._name(mount), f"to-{mount}"
            self._run("netns", "add", own)
            self._run(
                *(
                    "-n",
                    server,
                    "link",
                    "add",
                    f"to-{mount}",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "eth0",
                    "netns",
                    own,
                )
            )
            for where, device, host in ((server, cable, 1), (own, "eth0", 2)):
                self._run("-n", where, "addr", "add", f"10.213.{number}.{host}/24", "dev", device)
                self._run("-n", where, "link", "set", device, "up")
            self._run("-n", own, "link", "set", "lo", "up")

    def _name(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([self._ip, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Absent(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
