"""Files that programs on both mounts change in turns, under flock, whose history tells the order."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from scripts.lock_histories import workspace
from scripts.lock_histories.history import Section, violations
from scripts.lock_histories.log import read_sections
from scripts.lock_histories.rig import WORKER
from tests.t5_kernel.mounted import Mount, World
from tests.t6_system.machine import wait_until

SHARED: Final = tuple(f"shared-{number}" for number in range(6))
SHARERS_EACH: Final = 2
LEASE_S: Final = 5
"""So short that kills and bad weather end some."""

REST_S: Final = 1.0
"""The most that a program waits between two sections: each makes a version of the whole file."""

STOP_S: Final = 90.0
SHOWN_S: Final = 30.0


class Sharing:
    """Programs that lock, read and append, whatever becomes of the daemons; see `lock_histories`.

    `found` tells what no lock can have allowed, and what a mount does not show in the end.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self.counts: Counter[str] = Counter()
        self.found: list[str] = []
        with world.api() as api:
            workspace.prepare(api.http, list(SHARED))

    def start(self, mounts: Sequence[Mount]) -> None:
        for mount in mounts:
            wait_until(partial(_has_all, mount))
            for number in range(SHARERS_EACH):
                name = f"{mount.place.name}{number}"
                about = [name, mount.place.name, str(mount.place), str(self._log(name))]
                how = [f"{self._seed}-{name}", "flock", str(REST_S)]
                self._programs[name] = self._world.start(sys.executable, WORKER, *about, *how, *SHARED)

    def stop(self) -> None:
        """End them between their sections; who does not end is found to be stuck."""
        for program in self._programs.values():
            program.send_signal(signal.SIGTERM)
        for name, program in self._programs.items():
            try:
                program.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.found.append(f"stuck: the program {name}")

    def judge(self, mounts: Sequence[Mount]) -> None:
        """Everything was sent: compare what the programs saw with the workspace, and that with the mounts."""
        sections = [
            section
            for name in self._programs
            for section in read_sections(self._log(name).read_text().splitlines())
        ]
        with self._world.api() as api:
            told = workspace.collect(api.http, list(SHARED))
        registers = workspace.registers_of(told)
        self.found += map(str, violations(sections, registers))
        self._count(sections, told)
        for name, register in registers.items():
            content = "".join(f"{entry}\n" for entry in register.names).encode()
            self.found += [
                f"stale: {mount / name}" for mount in mounts if not _is_shown(mount / name, content)
            ]

    def _count(self, sections: Sequence[Section], told: dict[str, Any]) -> None:
        mount_of = {section.name: section.mount for section in sections}
        self.counts["sections"] = sum(section.held_from is not None for section in sections)
        for each in told.values():
            self.counts["committed"] += len(each["names"])
            self.counts["copies"] += each["copies"]
            mounts = [mount_of.get(entry) for entry in each["names"]]
            self.counts["hand-overs"] += sum(one != other for one, other in pairwise(mounts))

    def _log(self, name: str) -> Path:
        return self._world.machine.folder / f"sharer-{name}.log"


def _has_all(mount: Mount) -> bool:
    return all((mount / name).exists() for name in SHARED)


def _is_shown(path: Path, content: bytes) -> bool:
    """Give the feed its time."""
    try:
        wait_until(lambda: path.read_bytes() == content, limit_s=SHOWN_S)
    except AssertionError:
        return False
    return True
