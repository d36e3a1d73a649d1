"""Small files: create, stat, open and read, unlink, by one process and by several; and listings."""

import os
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scripts.benchmarks.workloads.base import BLOCK, Place, Readings, Unit, Workload
from scripts.benchmarks.workloads.clock import Span, timed

CONTENT = b"x" * BLOCK


def create(folder: Path, count: int) -> None:
    for number in range(count):
        with open(folder / f"f{number}", "wb", buffering=0) as file:
            file.write(CONTENT)


def _stat(folder: Path, count: int) -> None:
    for number in range(count):
        os.stat(folder / f"f{number}")


def _read(folder: Path, count: int) -> None:
    for number in range(count):
        with open(folder / f"f{number}", "rb", buffering=0) as file:
            if len(file.read(BLOCK)) != BLOCK:
                raise OSError(f"{file.name} is too short")


def _unlink(folder: Path, count: int) -> None:
    for number in range(count):
        os.unlink(folder / f"f{number}")


STEPS: dict[str, Callable[[Path, int], None]] = {
    "create": create,
    "stat": _stat,
    "read": _read,
    "unlink": _unlink,
}


def by_one(place: Place) -> Readings:
    readings = {}
    for name, step in STEPS.items():
        with timed() as span:
            step(place.directory, place.sizes.small_files)
        readings[f"small.{name}"] = span.per(place.sizes.small_files)
    return readings


def _worker(folder: Path, count: int, barrier: Any, spans: Any) -> None:
    for name, step in STEPS.items():
        barrier.wait()
        with timed() as span:
            step(folder, count)
        spans.put((name, span.seconds))


def by_many(place: Place) -> Readings:
    """All processes begin each step together; the slowest of them counts."""
    processes, each = place.sizes.processes, max(1, place.sizes.small_files // 4)
    context = get_context("fork")
    barrier, spans = context.Barrier(processes), context.SimpleQueue()
    workers = []
    for number in range(processes):
        folder = place.directory / f"p{number}"
        folder.mkdir()
        workers.append(context.Process(target=_worker, args=(folder, each, barrier, spans), daemon=True))
    for worker in workers:
        worker.start()
    slowest = dict.fromkeys(STEPS, 0.0)
    for _ in range(processes * len(STEPS)):
        name, seconds = spans.get()
        slowest[name] = max(slowest[name], seconds)
    for worker in workers:
        worker.join()
    total = processes * each
    readings = {}
    for name, seconds in slowest.items():
        span = Span()
        span.seconds = seconds
        readings[f"small8.{name}"] = span.per(total)
    return readings


def _fill_listed(place: Place) -> None:
    for number in range(place.sizes.listed_files):
        (place.directory / f"f{number}").write_bytes(b"x")


def _listed(place: Place) -> float:
    with timed() as span:
        found = sum(1 for _ in os.scandir(place.directory))
    if found != place.sizes.listed_files:
        raise OSError(f"{found} entries instead of {place.sizes.listed_files}")
    return span.seconds


def listing(place: Place) -> Readings:
    """Twice: where the system can forget, the first one is cold."""
    return {"list.cold": _listed(place), "list.warm": _listed(place)}


WORKLOADS = (
    Workload("small", {f"small.{step}": Unit.MICROSECONDS for step in STEPS}, by_one),
    Workload("small8", {f"small8.{step}": Unit.MICROSECONDS for step in STEPS}, by_many),
    Workload(
        "list",
        {"list.cold": Unit.SECONDS, "list.warm": Unit.SECONDS},
        listing,
        _fill_listed,
        cold=True,
        large=True,
    ),
)
