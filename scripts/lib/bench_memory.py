"""The benchmark behind `scripts/bench-memory`: server and mount are processes of their own.

The workspace itself is empty. The files are put into the cache's journal as an earlier mount would have left
them, all clean, in folders of `FOLDER_FILES`. They are visited while the server is stopped, so that nobody
can tell the mount that they do not exist; start and idleness are measured with the server.
"""

import argparse
import compileall
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import trio

import mountfs
from mountfs.model.entry import Base, EntryKind, EntryRecord
from mountfs.model.ids import ROOT_INO, ROOT_NODE, Ino, NodeId, VersionId
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheLayout
from scripts.lib.bench_large import PATIENCE_S, Bench

FOLDER_FILES = 1000
START_GOAL_S = 1.0
START_GOAL_MIB = 400
VISITED_GOAL_MIB = 40
"""For each 100,000 files that were looked at."""
IDLE_GOAL_PERCENT = 1.0


def prefill(layout: CacheLayout, files: int) -> None:
    with closing(sqlite3.connect(layout.journal)) as database:
        (workspace,) = database.execute("SELECT value FROM facts WHERE name = 'workspace'").fetchone()
    trio.run(_record_all, SqliteJournal(layout.journal, workspace=workspace), files)


async def _record_all(journal: SqliteJournal, files: int) -> None:
    journal.start()
    try:
        for number in range(-(-files // FOLDER_FILES)):
            count = min(FOLDER_FILES, files - number * FOLDER_FILES)
            journal.record(*_folder(journal, number, count))
            await journal.committed()
    finally:
        await journal.aclose()


def _folder(journal: SqliteJournal, number: int, files: int) -> Iterator[EntryRecord]:
    folder = _entry(journal.new_ino(), ROOT_INO, f"folder{number:06}", ROOT_NODE, files=None)
    yield folder
    assert folder.base is not None
    for each in range(files):
        yield _entry(journal.new_ino(), folder.ino, f"file{each:06}.txt", folder.base.node, files=each)


def _entry(ino: Ino, parent: Ino, name: str, parent_node: NodeId, *, files: int | None) -> EntryRecord:
    """Return a clean entry with identifiers as long as real ones; a folder where `files` is None."""
    now = time.time_ns()
    is_folder = files is None
    base = Base(NodeId(f"2{ino:029}"), parent_node, name)
    if not is_folder:
        base = Base(base.node, parent_node, name, VersionId(f"3{ino:029}"), f"{ino:064x}", 4096)
    return EntryRecord(
        ino=ino,
        parent=parent,
        name=name.encode(),
        kind=EntryKind.DIRECTORY if is_folder else EntryKind.FILE,
        mode=stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o644,
        uid=os.getuid(),
        gid=os.getgid(),
        rdev=0,
        size=base.size,
        atime_ns=now,
        mtime_ns=now,
        ctime_ns=now,
        target=b"",
        base=base,
        generation=0,
        content_dirty=False,
        pending=None,
        failure=None,
        listed=is_folder,
    )


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> dict[str, int]:
    """Return how often each thread of the process gave up the processor of itself."""
    return {
        task.name: int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    }


def visit(mountpoint: Path, files: int) -> int:
    """Look at this many files by find(1); return how many it showed."""
    folders = [str(mountpoint / f"folder{number:06}") for number in range(-(-files // FOLDER_FILES))]
    found = subprocess.run(  # noqa: S603 - constants and our own paths
        ["/usr/bin/find", *folders, "-type", "f", "-size", "+0", "-printf", "x"],
        stdout=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=True,
    )
    return len(found.stdout)


def run(files: int, visited: int, idle_s: float, folder: Path) -> bool:
    """Print the figures; return whether all goals are met."""
    cache = folder / "cache"
    with ExitStack() as stack:
        bench = Bench(folder)
        server = stack.enter_context(ExitStack())
        server.callback(bench.stop)
        stack.callback(bench.umount)
        empty_s = bench.mount(cache)
        os.listdir(bench.mountpoint)  # a folder that was never listed cannot be looked at without the server
        bench.umount()
        prefill(CacheLayout(cache), files)
        os.sync()  # else the disk is still at it while the mount starts

        start_s = bench.mount(cache)
        pid = bench.pid()
        start_mib = resident_mib(pid)
        busy_before, wakeups_before = cpu_s(pid), wakeups(pid)
        time.sleep(idle_s)  # the time is what is measured
        idle_percent = (cpu_s(pid) - busy_before) / idle_s * 100
        # Threads that ended meanwhile, as idle workers do, took their counts along.
        woken = sum(count - wakeups_before.get(task, 0) for task, count in wakeups(pid).items())
        bench.umount()

        server.close()
        bench.mount(cache)
        pid = bench.pid()
        unvisited_mib = resident_mib(pid)
        shown = visit(bench.mountpoint, visited)
        visited_mib = resident_mib(pid)

    print(f"{files} files known, {shown} of {visited} visited were shown")
    per_100k = (visited_mib - unvisited_mib) / visited * 100_000
    met = shown == visited
    met &= _line("mount command, s", start_s, START_GOAL_S, f"with an empty cache {empty_s:.2f}")
    met &= _line("memory after the start, MiB", start_mib, START_GOAL_MIB, "")
    met &= _line(
        "memory for 100,000 visited files, MiB", per_100k, VISITED_GOAL_MIB, f"in all {visited_mib:.0f}"
    )
    met &= _line(
        "processor while idle, %", idle_percent, IDLE_GOAL_PERCENT, f"{woken / idle_s:.1f} wake-ups/s"
    )
    return met


def _line(name: str, value: float, goal: float, more: str) -> bool:
    mark = "ok" if value < goal else "MISSED"
    print(f"{name:42} {value:8.2f}  goal < {goal:<5} {mark:7} {more}")
    return value < goal


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench-memory", description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000, help="known in the cache; default 1000000")
    parser.add_argument("--visited", type=int, default=100_000, help="of them; default 100000")
    parser.add_argument("--idle", type=float, default=30, metavar="S", help="how long to watch; default 30")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary directory")
    given = parser.parse_args()
    if min(given.files, given.visited, given.idle) <= 0:
        parser.error("--files, --visited and --idle must be more than 0")
    # As an installation is; where Python may write no bytecode, each start would compile the whole program.
    compileall.compile_dir(mountfs.__path__[0], quiet=1)
    with tempfile.TemporaryDirectory(prefix="bench-memory-", dir=given.folder) as folder:
        return 0 if run(given.files, min(given.visited, given.files), given.idle, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
