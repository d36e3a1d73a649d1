"""The goals of mountfs as a table, and what a run says of them."""

from dataclasses import dataclass

from scripts.benchmarks.results import BARE, Results, times_as_fast
from scripts.benchmarks.systems import PEERS
from scripts.benchmarks.workloads import unit_of

EXT4 = ("ext4",)
FAR_MS = 40


@dataclass(frozen=True)
class Goal:
    """Ours is at least so many times as fast as each of the others; with 1.0 faster, not only as fast."""

    metric: str
    at_least: float
    than: tuple[str, ...]
    their_metric: str = ""
    strictly: bool = False


@dataclass(frozen=True)
class Ceiling:
    """Ours is at most so much, in the metric's unit."""

    metric: str
    most: float


@dataclass(frozen=True)
class Verdict:
    """What a run says of one goal; `reached` is None where something was not measured."""

    goal: str
    found: str
    reached: bool | None
    share: float | None = None
    """How much of what is wanted was reached: 0.5 is half as fast as wanted."""


def _faster_than_peers(*metrics: str) -> tuple[Goal, ...]:
    return tuple(Goal(metric, 1.0, PEERS, strictly=True) for metric in metrics)


GOALS: tuple[Goal | Ceiling, ...] = (
    *(Goal(f"file.{kind}", 0.9, EXT4) for kind in ("seq_read", "seq_write", "random_read", "random_write")),
    Goal("file.random_write", 5.0, PEERS),
    *_faster_than_peers("small.create", "small.read", "small.unlink", "small.stat"),
    Goal("small.create", 2.0, ("rclone", "juicefs-sqlite", "juicefs-redis")),
    *_faster_than_peers("git.clone", "git.status", "tar.extract", "grep.recursive", "pip.install"),
    Goal("git.status", 1 / 1.5, EXT4),
    Goal("grep.recursive", 1 / 1.5, EXT4),
    Goal("sqlite.single", 0.8, EXT4),
    Goal("sqlite.bulk", 0.8, EXT4),
    Goal("lock.hand_over", 1 / 1.5, (), "lock.request"),
    Goal("lock.first", 1 / 1.5, (BARE,)),
    Goal("lock.remote_hand_over", 1 / 1.5, (BARE,)),
    Goal("upload.large", 0.8, (BARE,)),
    Ceiling("upload.memory", 64.0),
    Goal("upload.small", 5.0, (BARE,), "upload.small_single"),
    Goal("upload.small", 0.8, (BARE,)),
    Goal("read.cold", 0.8, (BARE,)),
    Ceiling("far.transferred@large-0ms", 4.0),
    *(
        Goal(f"delayed.{step}@{FAR_MS}ms", 1 / 1.1, (), f"delayed.{step}@0ms")
        for step in ("create", "write", "rename", "stat", "list")
    ),
)


def evaluate(results: Results, ours: str) -> list[Verdict]:
    """Every goal, in the order of the table, for one of our variants."""
    return [
        _ceiling(goal, results, ours) if isinstance(goal, Ceiling) else _goal(goal, results, ours)
        for goal in GOALS
    ]


def _ceiling(goal: Ceiling, results: Results, ours: str) -> Verdict:
    unit = unit_of(goal.metric).value
    text = f"{goal.metric} ≤ {goal.most:g} {unit}"
    value = results.median(goal.metric, ours)
    if value is None:
        return Verdict(text, "not measured", None)
    share = goal.most / value if value > 0 else float("inf")
    return Verdict(text, f"{value:.1f} {unit}", value <= goal.most, share)


def _goal(goal: Goal, results: Results, ours: str) -> Verdict:
    text = describe(goal)
    value = results.median(goal.metric, ours)
    others = {
        system: theirs
        for system in (goal.than or (ours,))
        if (theirs := results.median(goal.their_metric or goal.metric, system)) is not None
    }
    if value is None or not others:
        return Verdict(text, "not measured", None)
    more_is_better = unit_of(goal.metric).more_is_better
    ratios = {
        system: times_as_fast(value, theirs, more_is_better=more_is_better)
        for system, theirs in others.items()
    }
    nearest = min(ratios, key=lambda system: ratios[system])
    ratio = ratios[nearest]
    reached = ratio > goal.at_least if goal.strictly else ratio >= goal.at_least
    return Verdict(text, f"{ratio:.2f} x {nearest}", reached, ratio / goal.at_least)


def describe(goal: Goal) -> str:
    """The goal in words."""
    if goal.than == PEERS:
        than = "every peer"
    elif goal.than:
        than = " and ".join(goal.than)
    else:
        than = "itself"
    by = f" ({goal.their_metric})" if goal.their_metric else ""
    sign = ">" if goal.strictly else "≥"
    return f"{goal.metric}: speed {sign} {goal.at_least:.2g} x {than}{by}"
