"""Daemons and programs as processes of their own: whatever hangs, the test goes on and cleans up."""

import ast
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mountfs.kernel import mounts

ROOT = Path(__file__).parents[3]
LIMIT_S = 40.0


class Process:
    """A child process whose output is read line by line, and which never outlives its test."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/", **options
        )
        self._pending = b""

    @property
    def pid(self) -> int:
        return self.popen.pid

    def line(self, limit_s: float = LIMIT_S) -> str:
        """The next line of its output, "" at the end."""
        assert self.popen.stdout
        end = time.monotonic() + limit_s
        while b"\n" not in self._pending:
            readable, _, _ = select.select([self.popen.stdout], [], [], max(0, end - time.monotonic()))
            assert readable, f"no line from process {self.pid} in {limit_s} s"
            portion = os.read(self.popen.stdout.fileno(), 65536)
            if not portion:
                break
            self._pending += portion
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def tell(self, line: str = "") -> None:
        assert self.popen.stdin
        self.popen.stdin.write(line.encode() + b"\n")

    def wait(self, limit_s: float = LIMIT_S) -> int:
        return self.popen.wait(limit_s)

    def close(self) -> None:
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.kill()
        self.popen.wait(LIMIT_S)
        self.popen.stdin.close()
        self.popen.stdout.close()


class Daemon(Process):
    """A mount, served by a process of its own."""

    def __init__(self, mountpoint: Path, log: Path, environment: dict[str, str], **options: Any) -> None:
        self.mountpoint, self.log = mountpoint, log
        module = "tests.t5_kernel.adapter.mount_process"
        with log.open("w") as stderr:
            super().__init__(
                [sys.executable, "-m", module, str(mountpoint), json.dumps(options)],
                stderr=stderr,
                # It may be killed: what it leaves goes with the folder of its test.
                env=os.environ | environment | {"PYTHONPATH": str(ROOT), "TMPDIR": str(log.parent)},
            )
        self.expected_log: list[str] = []

    def is_mounted(self) -> bool:
        return self.line() == "mounted"

    def ask(self, code: str) -> Any:
        """Run Python in the daemon; see `mount_process`."""
        self.tell(json.dumps(code))
        answer = self.line()
        assert answer, f"no answer to {code}: {self.log.read_text()}"
        return ast.literal_eval(answer)

    def wait_until(self, condition: str) -> None:
        self.ask(f"await until(lambda: {condition})")

    def tell_end(self) -> None:
        assert self.popen.stdin
        self.popen.stdin.close()

    def ends(self) -> str:
        """Wait for the orderly end, and return what it was told for."""
        reason = self.line()
        assert self.wait() == 0, self.log.read_text()
        return reason.removeprefix("ended: ")

    def close(self) -> None:
        found = mounts.mount_at(str(self.mountpoint))
        self.popen.kill()
        if found:
            mounts.abort_connection(found)
            mounts.unmount(found, lazy=True)
        super().close()
        surprises = [line for line in self.log.read_text().splitlines() if line not in self.expected_log]
        assert not surprises, "\n".join(surprises)
