"""Runs the writers and the killers for some minutes, then lets everything be sent and judges."""

import argparse
import contextlib
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from scripts.lib import faults
from scripts.lib.faulty_proxy import FaultyProxy
from scripts.torture_files.sharing import LEASE_S, Sharing
from scripts.torture_files.writer import Writer, read_files
from tests.t5_kernel.mounted import Mount, World, remote_files, sha256
from tests.t6_system.machine import wait_until

WRITERS_EACH = 2
PAUSE_S = (3.0, 12.0)
"""Between two kills."""

BAD_WEATHER = 0.5
"""How often, from one kill to the next, the way of a mount to the server is bad."""

SPOILED = (0.02, 0.1, 0.4)
"""Which part of its requests is spoiled then."""

FAULTS = (
    *(faults.reset_before, faults.reset_after, faults.hang_before, faults.hang_after, faults.truncated),
    *(faults.trickled, faults.delayed(0.5), faults.delayed(3.0), faults.page_before, faults.page_after),
    *(faults.gateway_before(502), faults.gateway_after(503), faults.gateway_after(504)),
    *(faults.broken_inside, faults.slow_down, faults.conflicting, faults.come_back_in(2)),
)
"""Those that pass by themselves, and tell no untruth."""

FEED_FAULTS = (faults.rows_twice, faults.rows_reversed, faults.cursor_expired, faults.cursor_gone)

CACHE_BYTES = 64 * 1024 * 1024
SETTLE_S = 300
SHOWN_S = 30.0
"""How soon a mount has to show what the workspace has."""


class Torture:
    """Two mounts with writers of their own each, and files that they share; a mount that is killed is mounted
    again and checked."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self.proxies = {name: FaultyProxy(world.server.url) for name in ("one", "two")}
        self.mounts = [
            world.mount(
                name,
                url=proxy.url,
                upload_delay_s=0.05,
                cache_size_bytes=CACHE_BYTES,
                lease_duration_s=LEASE_S,
            )
            for name, proxy in self.proxies.items()
        ]
        self.sharing = Sharing(world, seed)
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
        self.sharing.start(self.mounts)
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + minutes * 60
        try:
            while time.monotonic() < deadline:
                for mount in self.mounts:
                    self._change_the_weather(mount)
                time.sleep(self._chance.uniform(*PAUSE_S))  # the moment of a kill is left to chance
                self._kill_something()
        finally:
            self._ended.set()
            for proxy in self.proxies.values():
                proxy.heal()
            for alive in self._alive.values():
                alive.set()
            for thread in threads:
                thread.join()
            self.sharing.stop()

    def _change_the_weather(self, mount: Mount) -> None:
        proxy = self.proxies[mount.place.name]
        # What hung is answered by a reset now, so that nothing hangs for longer than a pause.
        proxy.heal()
        seed = self._chance.randrange(2**32)
        if self._chance.random() < BAD_WEATHER:
            proxy.plan_at_random(seed, 0.2, FEED_FAULTS, "changes")
            proxy.plan_at_random(seed, self._chance.choice(SPOILED), FAULTS)

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
            is_gone = mount.kill()
            self._alive[mount.place.name].clear()
            if not is_gone:
                self.kills["held up by the kernel"] += 1
                # The next mount would do so, but it waits for the writers, which may wait for this.
                mount.end_requests()
        if what != "daemon":
            # First, as what was evicted can only be read with it.
            self._world.restart_server()
        if mount is not None:
            self._mount_again(mount)

    def _mount_again(self, mount: Mount) -> None:
        with contextlib.ExitStack() as held:
            for writer in self.writers[mount.place.name]:
                held.enter_context(writer.lock)
            # What was evicted can be compared in good weather only; what is to be sent goes on in any.
            self.proxies[mount.place.name].heal()
            mount.start()
            for writer in self.writers[mount.place.name]:
                writer.check(mount.place)
            self._change_the_weather(mount)
        self._alive[mount.place.name].set()

    def judge(self) -> None:
        """Let everything be sent, and compare both mounts and the workspace with what was promised."""
        for mount in self.mounts:
            self._world.machine.run("retry", mount.place)
            self._world.machine.run("sync", "--timeout", str(SETTLE_S), mount.place).succeeded()
            for writer in self.writers[mount.place.name]:
                writer.check(mount.place)
        self.sharing.judge(self.mounts)
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
    with contextlib.ExitStack() as cleaning:
        folder = Path(tempfile.mkdtemp(prefix="mountfs-torture-"))
        cleaning.callback(shutil.rmtree, folder)
        code = report(run_in(folder, chosen.seed, chosen.minutes))
        if code:
            cleaning.pop_all()
            print(f"what is left of it, to be looked into and removed: {folder}")
    return code


def run_in(folder: Path, seed: int, minutes: float) -> Torture:
    """Return the run, judged, with nothing of it running any more."""
    world = World(folder, "--min-lock-seconds", "1")
    try:
        torture = Torture(world, seed)
        try:
            torture.run(minutes)
            torture.judge()
        finally:
            for proxy in torture.proxies.values():
                proxy.close()
    finally:
        world.clean_up()
    return torture


def report(torture: Torture) -> int:
    writers = [writer for each in torture.writers.values() for writer in each]
    counts = sum((writer.counts for writer in writers), Counter[str]())
    compared = counts.pop("files compared")
    print(f"operations       {_listed(counts)}")
    print(f"kills            {_listed(torture.kills)}")
    spoiled = sum((proxy.spoiled for proxy in torture.proxies.values()), Counter[str]())
    print(f"faults           {_listed(spoiled)}")
    print(f"files compared   {compared}")
    print(f"shared files     {_listed(torture.sharing.counts)}")
    totals = {
        what: sum(getattr(w.findings, what) for w in writers) for what in ("lost", "torn", "duplicated")
    }
    for what, count in totals.items():
        print(f"{what:<16} {count}")
    print(f"locks            {len(torture.sharing.found)}")
    print(f"audit            {len(torture.faults)}")
    found = [*torture.faults, *torture.sharing.found[:20]]
    for line in [*found, *(line for writer in writers for line in writer.findings.lines[:20])]:
        print(line)
    return 1 if any(totals.values()) or torture.faults or torture.sharing.found else 0


def _listed(counts: Counter[str]) -> str:
    each = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{counts.total()} ({each})"


if __name__ == "__main__":
    sys.exit(main())
