"""`scripts/torture-posix`: every case beside a plain directory, then random operations, on real mounts."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from scripts.posix.cases import CASES
from scripts.posix.comparing import differences
from scripts.posix.exerciser import Exerciser, Mismatch
from scripts.posix.rig import Mounted, mounted

FILE_OPERATIONS = 1000
"""So many are done with one file, then the second mount reads it, and the next file begins."""

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


def _await_content(file: Path, content: bytes) -> None:
    end = time.monotonic() + ARRIVAL_S
    while not (file.exists() and file.read_bytes() == content):
        if time.monotonic() > end:
            raise Mismatch("the second mount has other content")
        time.sleep(0.05)  # nothing tells of what a mount shows: it is looked at again and again


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/torture-posix", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000, help="random operations on each mount")
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
            took = time.monotonic() - began
            print(
                f"  {options.operations} random operations in {took:.0f} s, {failed} files wrong", flush=True
            )
            mount.sync()
            mount.audit()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
