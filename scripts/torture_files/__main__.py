"""Runs the writers and the killers for some minutes, then lets everything be sent and judges."""

import argparse
import contextlib
import random
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from scripts.torture_files.writer import Writer, read_files
from tests.t5_kernel.mounted import Mount, World, remote_files, sha256
from tests.t6_system.machine import wait_until

WRITERS_EACH = 2
PAUSE_S = (3.0, 12.0)
"""Between two kills."""

CACHE_SIZE = "64 MiB"
SETTLE_S = 300
SHOWN_S = 30.0
"""How soon a mount has to show what the workspace has."""


class Torture:
    """Two mounts with writers of their own each; a mount that is killed is mounted again and checked."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self.mounts = [
            world.mount(name, upload_delay_s=0.05, cache_size=CACHE_SIZE) for name in ("one", "two")
        ]
        self.writers = {
            mount.place.name: [Writer(f"{mount.place.name}-{number}", seed) for number in range(WRITERS_EACH)]
            for mount in self.mounts
        }
        self.kills: Counter[str] = Counter()
        self._ended = threading.Event()
        self._alive = {mount.place.name: threading.Event() for mount in self.mounts}
        self.faults: list[str] = []
        """What the audit of the caches found at the end."""

    def run(self, minutes: float) -> None:
        for mount in self.mounts:
            for writer in self.writers[mount.place.name]:
                (mount.place / writer.name).mkdir()
            self._alive[mount.place.name].set()
        threads = [
            threading.Thread(target=self._write, args=(mount, writer))
            for mount in self.mounts
            for writer in self.writers[mount.place.name]
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + minutes * 60
        try:
            while time.monotonic() < deadline:
                time.sleep(self._chance.uniform(*PAUSE_S))  # the moment of a kill is left to chance
                self._kill_something()
        finally:
            self._ended.set()
            for alive in self._alive.values():
                alive.set()
            for thread in threads:
                thread.join()

    def _write(self, mount: Mount, writer: Writer) -> None:
        alive = self._alive[mount.place.name]
        while not self._ended.is_set():
            alive.wait()
            with writer.lock:
                if alive.is_set() and not self._ended.is_set() and not writer.step(mount.place):
                    alive.clear()

    def _kill_something(self) -> None:
        what = self._chance.choice(["daemon", "daemon", "daemon", "server", "both"])
        self.kills[what] += 1
        mount = self._chance.choice(self.mounts) if what != "server" else None
        if what != "daemon":
            self._world.server.kill()
        if mount is not None:
            mount.kill()
            self._alive[mount.place.name].clear()
        if what != "daemon":
            # First, as what was evicted can only be read with it.
            self._world.restart_server()
        if mount is not None:
            self._mount_again(mount)

    def _mount_again(self, mount: Mount) -> None:
        with contextlib.ExitStack() as held:
            for writer in self.writers[mount.place.name]:
                held.enter_context(writer.lock)
            mount.start()
            for writer in self.writers[mount.place.name]:
                writer.check(mount.place)
        self._alive[mount.place.name].set()

    def judge(self) -> None:
        """Let everything be sent, and compare both mounts and the workspace with what was promised."""
        for mount in self.mounts:
            self._world.machine.run("sync", "--timeout", str(SETTLE_S), mount.place).succeeded()
        with self._world.api() as api:
            remote = remote_files(api)
        for writer in (writer for each in self.writers.values() for writer in each):
            for mount in self.mounts:
                _await_shown(mount, writer)
                writer.compare(read_files(mount.place / writer.name), str(mount.place))
            for path, content in writer.files.items():
                if remote.pop(f"{writer.name}/{path}", None) != sha256(content):
                    writer.note("lost", path, "the workspace")
            for path in [path for path in remote if path.startswith(f"{writer.name}/")]:
                if not path.endswith("/temporary"):
                    writer.note("duplicated", path, "the workspace")
        for mount in self.mounts:
            audited = self._world.machine.run("doctor", mount.place)
            self.faults += [line for line in audited.stdout.splitlines() if line.startswith("FAULT")]


def _await_shown(mount: Mount, writer: Writer) -> None:
    """Give the feed its time; what is not shown by then is found to be missing."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: read_files(mount.place / writer.name) == writer.files, limit_s=SHOWN_S)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    chosen = arguments.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mountfs-torture-") as folder:
        world = World(Path(folder))
        try:
            torture = Torture(world, chosen.seed)
            torture.run(chosen.minutes)
            torture.judge()
        finally:
            world.clean_up()
    return report(torture)


def report(torture: Torture) -> int:
    writers = [writer for each in torture.writers.values() for writer in each]
    counts = sum((writer.counts for writer in writers), Counter[str]())
    compared = counts.pop("files compared")
    print(f"operations       {_listed(counts)}")
    print(f"kills            {_listed(torture.kills)}")
    print(f"files compared   {compared}")
    totals = {
        what: sum(getattr(w.findings, what) for w in writers) for what in ("lost", "torn", "duplicated")
    }
    for what, count in totals.items():
        print(f"{what:<16} {count}")
    print(f"audit            {len(torture.faults)}")
    for line in [*torture.faults, *(line for writer in writers for line in writer.findings.lines[:20])]:
        print(line)
    return 1 if any(totals.values()) or torture.faults else 0


def _listed(counts: Counter[str]) -> str:
    each = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{counts.total()} ({each})"


if __name__ == "__main__":
    sys.exit(main())
