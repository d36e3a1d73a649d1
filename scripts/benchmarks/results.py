"""What a run has found, as plain data: filled by the runner, read by goals, report and charts.

The metrics of runs behind a delay proxy end in a tag: `@40ms`, or `@large-40ms` at the large sizes.
"""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

BARE = "bare-http"


@dataclass(frozen=True)
class Summary:
    """The samples of one metric on one system."""

    median: float
    least: float
    most: float
    count: int


def summarize(samples: list[float]) -> Summary:
    return Summary(median(samples), min(samples), max(samples), len(samples))


@dataclass
class Results:
    """Samples by metric and system, and what is missing with its reason."""

    machine: dict[str, str] = field(default_factory=dict)
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How much the workloads did, by stage."""

    def add(self, metric: str, system: str, value: float) -> None:
        self.samples.setdefault(metric, {}).setdefault(system, []).append(value)

    def lack(self, workload: str, system: str, reason: str) -> None:
        self.missing.setdefault(workload, {})[system] = reason

    def summary(self, metric: str, system: str) -> Summary | None:
        samples = self.samples.get(metric, {}).get(system)
        return summarize(samples) if samples else None

    def median(self, metric: str, system: str) -> float | None:
        found = self.summary(metric, system)
        return found.median if found else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def times_as_fast(ours: float, theirs: float, *, more_is_better: bool) -> float:
    """How many times as fast ours is: above 1 is faster, for rates and for times alike."""
    if more_is_better:
        return ours / theirs if theirs else float("inf")
    return theirs / ours if ours else float("inf")
