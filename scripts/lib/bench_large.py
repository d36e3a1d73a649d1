"""The benchmark behind `scripts/bench-large`: server and mount are processes of their own."""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

MEBIBYTE = 1024 * 1024
WARM_FILES = 2000
PEAK_GOAL_MIB = 200
LATENCY_GOAL_MS = 100
PATIENCE_S = 900


class Bench:
    """One server and one mount below a folder."""

    def __init__(self, folder: Path) -> None:
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.data = folder / "served"
        self._environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
        self.server = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "mountfs.server", "--data", str(self.data)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout is not None
        self.url = self.server.stdout.readline().strip()
        token = (self.data / "token").read_text().strip()
        self.http = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {token}"}, timeout=60)

    def mountfs(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "mountfs.cli", *arguments]
        done = subprocess.run(  # noqa: S603 - our own program
            command, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode:
            raise SystemExit(f"mountfs {arguments[0]}: {done.stderr}")
        return done.stdout

    def mount(self, cache: Path) -> float:
        """Return the seconds that the command took."""
        token = ("--token-file", str(self.data / "token"))
        place = str(self.mountpoint)
        begin = time.perf_counter()
        self.mountfs("mount", "--url", self.url, "--workspace", "main", *token, "--cache", str(cache), place)
        return time.perf_counter() - begin

    def pid(self) -> int:
        """Return the pid of the daemon."""
        return int(json.loads(self.mountfs("status", "--json", str(self.mountpoint)))["mounts"][0]["pid"])

    def umount(self) -> None:
        if os.path.ismount(self.mountpoint):
            self.mountfs("umount", "--timeout", "60", str(self.mountpoint))

    def stop(self) -> None:
        self.http.close()
        self.server.terminate()
        self.server.wait(60)
        assert self.server.stdout is not None
        self.server.stdout.close()

    def sha256_of(self, name: str) -> str:
        """Return the workspace's hash of a file in its root."""
        listing = self.http.get("workspace/main/storage/root/list/", params={"page_size": 500})
        nodes: list[dict[str, Any]] = listing.json()["nodes"]
        return next(str(node["hash"]) for node in nodes if node["name"] == name)


class Others:
    """Programs that go on with small things, each in a thread of its own, and clock every request."""

    def __init__(self, mountpoint: Path) -> None:
        self.times_ms: dict[str, list[float]] = {}
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        folder = mountpoint / "small"
        count = iter(range(1_000_000_000))
        chance = random.Random(1)
        self._begin("stat of a name not seen before", lambda: os.path.exists(folder / f"no-{next(count)}"))
        self._begin("stat of a file", lambda: os.stat(folder / f"file{chance.randrange(WARM_FILES)}"))
        self._begin(
            "open + read + close", lambda: (folder / f"file{chance.randrange(WARM_FILES)}").read_bytes()
        )
        self._begin("create + write + close", lambda: (folder / f"new{next(count)}").write_bytes(b"x" * 4096))

    def _begin(self, name: str, action: Callable[[], object]) -> None:
        self.times_ms[name] = []
        self._threads.append(threading.Thread(target=self._repeat, args=(action, self.times_ms[name])))
        self._threads[-1].start()

    def _repeat(self, action: Callable[[], object], times_ms: list[float]) -> None:
        try:
            while not self._end.wait(0.02):
                begin = time.perf_counter()
                action()
                times_ms.append((time.perf_counter() - begin) * 1000)
        except OSError as error:
            self._errors.append(error)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if self._errors:
            raise self._errors[0]


def write_large(path: Path, size: int) -> str:
    """Write from a process of its own, as another program would; return the sha256."""
    writer = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", WRITER, str(path), str(size)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return writer.stdout.strip()


WRITER = """
import hashlib, random, sys
digest, left, block = hashlib.sha256(), int(sys.argv[2]), random.Random(1).randbytes(1 << 20)
with open(sys.argv[1], "wb") as file:
    while left:
        piece = (left.to_bytes(8, "big") + block)[:min(left, 1 << 20)]
        file.write(piece)
        digest.update(piece)
        left -= len(piece)
print(digest.hexdigest())
"""


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def bare_upload_mib_s(bench: Bench, size: int) -> float:
    """The same bytes by a plain loop of httpx, 8 MiB a chunk, one after the other."""
    fields = {
        "name": "bare",
        "size": str(size),
        "action": "create",
        "instance_id": "main",
        "folder_id": "root",
    }
    begin = time.perf_counter()
    session = bench.http.post("upload/", data=fields).json()["id"]
    piece = random.Random(2).randbytes(8 * MEBIBYTE)
    for order in range(1, -(-size // len(piece)) + 1):
        part = piece[: min(len(piece), size - (order - 1) * len(piece))]
        query: dict[str, str | int] = {
            "order": order,
            "size": len(part),
            "hash": hashlib.sha256(part).hexdigest(),
            "hash_algo": "sha256",
        }
        bench.http.post(
            f"upload/{session}/chunk/", params=query, files={"chunk": ("c", part)}
        ).raise_for_status()
    bench.http.post(f"upload/{session}/complete/").raise_for_status()
    while (
        bench.http.get(f"upload/{session}/details/", params={"wait": 30}).json()["session"]["status"]
        != "stored"
    ):
        pass
    return size / MEBIBYTE / (time.perf_counter() - begin)


def percentile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def run(size: int, folder: Path) -> bool:
    """Print the figures; return whether all goals are met."""
    with ExitStack() as stack:
        bench = Bench(folder)
        stack.callback(bench.stop)
        bench.mount(folder / "cache")
        stack.callback(bench.umount)
        small = bench.mountpoint / "small"
        small.mkdir()
        for number in range(WARM_FILES):
            (small / f"file{number}").write_bytes(b"x" * 4096)
        bench.mountfs("sync", str(bench.mountpoint))
        bench.umount()
        bench.mount(folder / "cache")
        pid = bench.pid()
        os.listdir(small)  # the first listing after a mount asks the workspace; it is not what is measured
        idle_mib = peak_mib(pid)

        others = Others(bench.mountpoint)
        stack.callback(others.end)
        begin = time.perf_counter()
        expected = write_large(bench.mountpoint / "large", size)
        closed = time.perf_counter()
        bench.mountfs("sync", "--timeout", str(PATIENCE_S), str(bench.mountpoint / "large"))
        confirmed = time.perf_counter()
        others.end()
        peak = peak_mib(pid)
        met = bench.sha256_of("large") == expected
        mebibytes = size / MEBIBYTE
        bare = bare_upload_mib_s(bench, size)

    print(f"file of {mebibytes:.0f} MiB, sha256 {'equal' if met else 'DIFFERENT'} in the workspace")
    print(f"{'written and closed':34} {mebibytes / (closed - begin):8.0f} MiB/s")
    print(f"{'close to confirmed':34} {mebibytes / (confirmed - closed):8.0f} MiB/s")
    print(f"{'bare httpx loop, nothing else':34} {bare:8.0f} MiB/s")
    met &= _line("peak memory of the daemon, MiB", peak, PEAK_GOAL_MIB, f"at rest {idle_mib:.0f}")
    for name, times in others.times_ms.items():
        told = f"p99 {percentile(times, 0.99):.1f}, median {percentile(times, 0.5):.1f}, {len(times)} times"
        met &= _line(f"{name}, max ms", max(times), LATENCY_GOAL_MS, told)
    return met


def _line(name: str, value: float, goal: float, more: str) -> bool:
    mark = "ok" if value < goal else "MISSED"
    print(f"{name:42} {value:8.1f}  goal < {goal:<4} {mark:7} {more}")
    return value < goal


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench-large", description=__doc__)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the file; default 1024")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary directory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-large-", dir=given.folder) as folder:
        return 0 if run(given.size * MEBIBYTE, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
