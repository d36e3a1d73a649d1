"""What a program does at every step, on mounts whose server is far away."""

import os

from scripts.benchmarks.workloads.base import Place, Readings, Unit, Workload
from scripts.benchmarks.workloads.clock import timed
from scripts.benchmarks.workloads.small_files import CONTENT

STEPS = ("create", "write", "rename", "stat", "list")


def steps(place: Place) -> Readings:
    """Each step on the same files; `write` goes to files that are there."""
    count = place.sizes.delayed_operations
    paths = [place.directory / f"f{number}" for number in range(count)]
    moved = [path.with_suffix(".moved") for path in paths]
    with timed() as creating:
        for path in paths:
            path.touch()
    with timed() as writing:
        for path in paths:
            path.write_bytes(CONTENT)
    with timed() as renaming:
        for path, target in zip(paths, moved, strict=True):
            path.rename(target)
    with timed() as asking:
        for path in moved:
            path.stat()
    with timed() as listing:
        for _ in paths:
            os.listdir(place.directory)
    spans = zip(STEPS, (creating, writing, renaming, asking, listing), strict=True)
    return {f"delayed.{name}": span.per(count) for name, span in spans}


WORKLOADS = (
    Workload(
        "delayed",
        {f"delayed.{step}": Unit.MICROSECONDS for step in STEPS},
        steps,
        on_disk=False,
        relayed=True,
    ),
)
