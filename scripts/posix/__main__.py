"""`scripts/torture-posix`: every case beside a plain directory, then random operations on files and trees, on
real mounts, with a second mount reading and the first one mounted again in between."""

import argparse
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.posix import racer, tree_exerciser
from scripts.posix.cases import CASES
from scripts.posix.comparing import differences
from scripts.posix.exerciser import Exerciser, Mismatch
from scripts.posix.rig import Mounted, mounted
from scripts.posix.tree_exerciser import Operation

FILE_OPERATIONS = 1000
"""So many are done with one file, then the second mount reads it, and the next file begins."""

TREE_OPERATIONS = 2000
"""So many are done in one tree, before and after a remount, then the second mount reads it."""

RACERS = 4

ARRIVAL_S = 60.0
SHOWN = 20


def compare(mount: Mounted, cases: list[str]) -> int:
    """Run the cases; return how many notes differ."""
    count = 0
    for case in cases:
        found = differences(case, mount.first, mount.plain)
        count += len(found)
        print(f"  {case}: {'equal' if not found else f'{len(found)} differences'}", flush=True)
        for line in found:
            print(f"      {line}")
    return count


def exercise(mount: Mounted, operations: int, seed: str) -> int:
    """Do random operations; return how many files came to differ, here or on the second mount."""
    failed = 0
    for number in range(-(-operations // FILE_OPERATIONS)):
        run = Exerciser(mount.first / f"file-{number}", f"{seed}-{number}")
        try:
            run.run(min(operations - number * FILE_OPERATIONS, FILE_OPERATIONS))
            mount.sync()
            _await_content(mount.second / run.path.name, bytes(run.expected))
        except (Mismatch, OSError) as error:
            failed += 1
            print(
                f"  seed {run.seed}: {error}; the last operations: {', '.join(run.done[-SHOWN:])}", flush=True
            )
        finally:
            run.close()
    return failed


def exercise_trees(mount: Mounted, operations: int, seed: str) -> int:
    """Do random operations on trees; return how many trees came to differ."""
    failed = 0
    for number in range(-(-operations // TREE_OPERATIONS)):
        run_seed = f"{seed}-tree-{number}"
        planned = tree_exerciser.plan(run_seed, min(operations - number * TREE_OPERATIONS, TREE_OPERATIONS))
        found = _tree_difference(mount, planned, f"tree-{number}")
        if found is not None:
            failed += 1
            print(f"  seed {run_seed}: {found}", flush=True)
            _print_shrunk(mount, planned, f"tree-{number}-again")
    return failed


def _tree_difference(mount: Mounted, planned: Sequence[Operation], name: str) -> str | None:
    here, there, plain = mount.first / name, mount.second / name, mount.plain / name
    half = len(planned) // 2
    with tree_exerciser.empty_folders(here, plain):
        found = tree_exerciser.first_difference(planned[:half], here, plain)
        if found is None:
            mount.remount()
            found = tree_exerciser.first_difference(planned[half:], here, plain)
        if found is None:
            mount.sync()
            expected = tree_exerciser.tree(plain, shared_only=True)
            found = _await(lambda: tree_exerciser.tree(there, shared_only=True) == expected)
        return found


def run_race(mount: Mounted, operations: int, seed: str) -> int:
    """Let several processes work on one tree at once; return how much of what came of it is wrong."""
    here, there = mount.first / "race", mount.second / "race"
    with tree_exerciser.empty_folders(here):
        wrong = [
            f"{error}, {count} times" for error, count in racer.race(here, seed, operations, RACERS).items()
        ]
        wrong += racer.broken(here)
        before = tree_exerciser.tree(here)
        mount.remount()
        if tree_exerciser.tree(here) != before:
            wrong.append("another tree after the remount")
        mount.sync()
        expected = tree_exerciser.tree(here, shared_only=True)
        found = _await(lambda: tree_exerciser.tree(there, shared_only=True) == expected)
        wrong += [] if found is None else [found]
    for line in wrong:
        print(f"  seed {seed}: racers: {line}", flush=True)
    return len(wrong)


def _print_shrunk(mount: Mounted, planned: Sequence[Operation], name: str) -> None:
    """Print the operations that are enough to fail, where they do so without a remount and a second mount."""
    attempts = itertools.count()

    def fails(operations: Sequence[Operation]) -> bool:
        folder = f"{name}-{next(attempts)}"
        with tree_exerciser.empty_folders(mount.first / folder, mount.plain / folder):
            found = tree_exerciser.first_difference(operations, mount.first / folder, mount.plain / folder)
        return found is not None

    if not fails(planned):
        print("      not without the remount or the second mount, or not again", flush=True)
        return
    for operation in tree_exerciser.shrunk(planned, fails):
        print(f"      {operation}", flush=True)


def _await(agrees: Callable[[], bool]) -> str | None:
    end = time.monotonic() + ARRIVAL_S
    while True:
        with contextlib.suppress(OSError):  # what is there changes while it is looked at
            if agrees():
                return None
        if time.monotonic() > end:
            return "the second mount has another tree"
        time.sleep(0.05)  # nothing tells of what a mount shows: it is looked at again and again


def _await_content(file: Path, content: bytes) -> None:
    end = time.monotonic() + ARRIVAL_S
    while not (file.exists() and file.read_bytes() == content):
        if time.monotonic() > end:
            raise Mismatch("the second mount has other content")
        time.sleep(0.05)  # nothing tells of what a mount shows: it is looked at again and again


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/torture-posix", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000, help="random ones on files, on each mount")
    parser.add_argument("--tree-operations", type=int, default=10_000, help="random ones on trees, alike")
    parser.add_argument("--race-operations", type=int, default=10_000, help="of several processes at once")
    parser.add_argument("--seed", default=str(random.randrange(10**9)))
    parser.add_argument("cases", nargs="*", help="of scripts/posix/cases; default: all")
    options = parser.parse_args()
    wrong = 0
    for passthrough in (True, False):
        print(f"passthrough {'on' if passthrough else 'off'}, seed {options.seed}", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="mountfs-posix-") as folder,
            mounted(Path(folder), passthrough=passthrough) as mount,
        ):
            wrong += compare(mount, options.cases or list(CASES))
            began = time.monotonic()
            wrong += (failed := exercise(mount, options.operations, options.seed))
            wrong += (trees := exercise_trees(mount, options.tree_operations, options.seed))
            wrong += (races := run_race(mount, options.race_operations, options.seed))
            took = time.monotonic() - began
            print(
                f"  {options.operations} random operations on files, {options.tree_operations} on trees and"
                f" {options.race_operations} of several processes at once in {took:.0f} s:"
                f" {failed} files, {trees} trees and {races} outcomes of the race wrong",
                flush=True,
            )
            mount.sync()
            mount.audit()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
