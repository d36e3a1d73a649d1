"""Which program asks for a change: learnt from the operating system while it still lives."""

import os
import re
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from mountfs.model.effect import Identity
from mountfs.model.interruption import serving

KNOWN_S: Final = 1.0
"""For how long a number is taken to be the same program: programs that change many files are asked for
once."""

PROGRAMS_MOST: Final = 256
ENVIRONMENT_BYTES: Final = 256 * 1024
VARIABLE: Final = b"MOUNTFS_AGENT="
CONTAINER: Final = re.compile(r"[0-9a-f]{64}")


class Identities:
    """Remembers the programs that asked last, for a moment."""

    def __init__(self) -> None:
        self._programs: OrderedDict[int, tuple[float, Identity]] = OrderedDict()

    def of_request(self) -> Identity | None:
        """Return whose request this task serves, None where it serves none."""
        request = serving.get()
        return self.of_program(request[2]) if request is not None else None

    def of_program(self, pid: int) -> Identity:
        """Return what is known of the program with this number now."""
        now = time.monotonic()
        known = self._programs.get(pid)
        if known is not None and now - known[0] < KNOWN_S:
            return known[1]
        found = read_identity(pid)
        self._programs[pid] = now, found
        if len(self._programs) > PROGRAMS_MOST:
            self._programs.popitem(last=False)
        return found


def read_identity(pid: int) -> Identity:
    """Ask the operating system; what it does not tell stays empty."""
    folder = f"/proc/{pid}"
    uid = None
    with suppress(OSError):
        uid = os.stat(folder).st_uid
    cgroup = next(
        (
            line[3:]
            for line in _read(f"{folder}/cgroup").decode(errors="replace").splitlines()
            if line[:3] == "0::"
        ),
        "",
    )
    container = CONTAINER.search(cgroup)
    environment = _read(f"{folder}/environ").split(b"\0")
    agent = next((each[len(VARIABLE) :] for each in environment if each.startswith(VARIABLE)), b"")
    return Identity(
        pid=pid,
        uid=uid,
        program=_read(f"{folder}/comm").decode(errors="replace").strip(),
        cgroup=cgroup,
        container=container[0][:12] if container else "",
        agent=agent.decode(errors="replace")[:200],
    )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(ENVIRONMENT_BYTES) or b""
    except OSError:
        return b""
