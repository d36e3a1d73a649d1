"""One program in a mount: locks a register, reads it, appends its name, unlocks, and logs each step.

    python worker.py NAME MOUNT PLACE LOG SEED KIND REST_S REGISTER...

REST_S is the most that it waits after a section. Runs until SIGTERM, which never ends it between lock and
unlock. Needs the standard library only.
"""

import errno
import fcntl
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")

PAUSE_S = 0.05
"""After an error: a mount that is gone needs time to come back."""


class Stopped(Exception):
    """SIGTERM came where nothing is held."""


class Worker:
    def __init__(self, arguments: list[str]) -> None:
        self.name, self.mount, self.place, log, seed, kind, rest_s, *self.registers = arguments
        self._rest_s = float(rest_s)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._chance = random.Random(seed)
        self._lock = fcntl.flock if kind == "flock" else fcntl.lockf
        self._open: dict[str, int] = {}
        self._count = 0
        self._stopping = False
        self._holds = False
        signal.signal(signal.SIGTERM, self._stop)

    def run(self) -> None:
        try:
            while not self._stopping:
                self._section(self._chance.choice(self.registers))
                time.sleep(self._chance.uniform(0, self._rest_s))
        except Stopped:
            return

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if not self._holds:
            raise Stopped

    def _section(self, register: str) -> None:
        try:
            descriptor = self._descriptor(register)
            self._count += 1
            section = f"{self.name}-{self._count}"
            self._step(section, "lock", lambda: self._take(descriptor), mount=self.mount, register=register)
            content = self._step(section, "read", lambda: _whole(descriptor))
            self._step(section, "append", lambda: self._append(descriptor, section, len(content)))
            self._step(section, "unlock", lambda: self._lock(descriptor, fcntl.LOCK_UN))
            self._holds = False
            if self._chance.random() < 0.5:
                self._close(register)
        except OSError:
            self._close(register)
            self._holds = False
            time.sleep(PAUSE_S)

    def _take(self, descriptor: int) -> None:
        self._lock(descriptor, fcntl.LOCK_EX)
        self._holds = True

    def _append(self, descriptor: int, section: str, end: int) -> None:
        line = f"{section}\n".encode()
        if os.pwrite(descriptor, line, end) != len(line):
            raise OSError(errno.EIO, "written in part")
        if self._chance.random() < 0.2:
            os.fsync(descriptor)

    def _descriptor(self, register: str) -> int:
        """The register's file, which is never made: below a mount that is gone lies the local disk."""
        if register not in self._open:
            self._open[register] = os.open(f"{self.place}/{register}", os.O_RDWR)
        return self._open[register]

    def _close(self, register: str) -> None:
        descriptor = self._open.pop(register, None)
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _step(self, section: str, step: str, work: Callable[[], Result], **more: str) -> Result:
        self._note(section, step, {**more, "begin": time.monotonic()})
        try:
            result = work()
        except OSError as error:
            self._note(section, step, {"end": time.monotonic(), "error": errno.errorcode[error.errno or 0]})
            raise
        ended = time.monotonic()
        seen = {"seen": _last(result)} if isinstance(result, bytes) else {}
        self._note(section, step, {"end": ended, **seen})
        return result

    def _note(self, section: str, step: str, told: dict[str, object]) -> None:
        line = json.dumps({"section": section, "step": step, **told})
        os.write(self._log, line.encode() + b"\n")


def _whole(descriptor: int) -> bytes:
    pieces = []
    position = 0
    while piece := os.pread(descriptor, 1 << 20, position):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


def _last(content: bytes) -> str:
    lines = content.decode(errors="backslashreplace").splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    Worker(sys.argv[1:]).run()
