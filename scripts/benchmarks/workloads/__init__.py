"""The workloads: functions over a directory, by name."""

from scripts.benchmarks.workloads import (
    cached_file,
    delayed,
    locks,
    programs,
    records,
    small_files,
    transfers,
)
from scripts.benchmarks.workloads.base import Unit, Workload

WORKLOADS: tuple[Workload, ...] = (
    *small_files.WORKLOADS,
    *cached_file.WORKLOADS,
    *programs.WORKLOADS,
    *records.WORKLOADS,
    *locks.WORKLOADS,
    *transfers.WORKLOADS,
    *delayed.WORKLOADS,
)


def unit_of(metric: str) -> Unit:
    """The unit of a metric; a suffix `@...ms` tells the delay it was taken with."""
    plain = metric.partition("@")[0]
    return next(workload.metrics[plain] for workload in WORKLOADS if plain in workload.metrics)
