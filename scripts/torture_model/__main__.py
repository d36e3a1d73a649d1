"""Runs seed after seed for some minutes; what fails is done again, and shrunk to the changes that matter."""

import argparse
import itertools
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from scripts.posix.tree_exerciser import shrunk
from tests.t3_filesystem import slow_runs
from tests.t3_filesystem.slow_runs import Step

TRIES = 4
"""How often changes are made before they count as harmless: the times are never quite the same."""

FAILURES_MOST = 5


def failure(seed: int, steps: Sequence[Step], writers: int) -> str | None:
    """Make the changes once; return what was wrong."""
    with tempfile.TemporaryDirectory(prefix="mountfs-torture-") as folder:
        try:
            slow_runs.run(Path(folder), seed, list(steps), writers=writers)
        except Exception as error:
            return "".join(traceback.format_exception(error))
    return None


def fails(seed: int, steps: Sequence[Step], writers: int) -> bool:
    return any(failure(seed, steps, writers) is not None for _ in range(TRIES))


def report(seed: int, writers: int, told: str, steps: list[Step], *, shrink: bool) -> None:
    print(f"seed {seed}, {writers} writing: {told}", flush=True)
    if not shrink:
        return
    if not fails(seed, steps, writers):
        print(f"not again in {TRIES} runs", flush=True)
        return
    print("it takes:", flush=True)
    for step in shrunk(steps, lambda fewer: fails(seed, fewer, writers)):
        print(f"    {step}", flush=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=5)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="the first one")
    arguments.add_argument("--no-shrink", action="store_true", help="only tell what failed")
    chosen = arguments.parse_args()
    print(f"from seed {chosen.seed}", flush=True)
    deadline = time.monotonic() + chosen.minutes * 60
    runs = failed = 0
    for seed in itertools.count(chosen.seed):
        for writers in (1, 2):
            if time.monotonic() >= deadline or failed >= FAILURES_MOST:
                print(f"runs {runs}, failed {failed}, last seed {seed}")
                return 1 if failed else 0
            runs += 1
            steps = slow_runs.plan(seed, writers=writers)
            told = failure(seed, steps, writers)
            if told is not None:
                failed += 1
                report(seed, writers, told, steps, shrink=not chosen.no_shrink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
