"""sshfs over a plain loopback connection to OpenSSH's sftp-server: without the cost of encryption."""

import shlex
import sys
from pathlib import Path

from scripts.benchmarks.processes import Program, answers, find_program, free_port, run_tool
from scripts.benchmarks.systems.base import Confirm, System

SFTP_FOLDERS = [Path("/usr/lib/openssh"), Path("/usr/libexec/openssh"), Path("/usr/libexec")]
LISTENER = """
import signal, socket, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        link, _ = server.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        subprocess.Popen(sys.argv[2:], stdin=link, stdout=link)
        link.close()
"""


class Sshfs(System):
    name = "sshfs"

    def start_server(self) -> None:
        self._program = find_program("sshfs")
        sftp_server = find_program("sftp-server", SFTP_FOLDERS)
        self.version = next(
            line for line in run_tool([self._program, "--version"]).splitlines() if "SSHFS" in line
        )
        self._served = self.folder / "served"
        self._served.mkdir()
        port = free_port()
        listener = Program(
            [sys.executable, "-c", LISTENER, str(port), sftp_server], self.folder / "server.log"
        )
        self._server.callback(listener.stop)
        listener.wait_until(lambda: answers(port), shlex.join([sftp_server]))
        self._port = self.through_relay(port)

    def mount(self, cache: Path) -> None:
        options = f"directport={self._port},idmap=none"
        mount = Program(
            [self._program, "-f", "-o", options, f"127.0.0.1:{self._served}", str(self.mountpoint)],
            self.folder / "mount.log",
        )
        self._client.callback(mount.stop)
        self._mount = mount
        mount.wait_until(self.is_alive, "sshfs")

    def confirm(self) -> Confirm:
        """A write has been answered by the server when the file is closed."""
        return lambda: None

    def daemon_pid(self) -> int | None:
        return self._mount.pid
