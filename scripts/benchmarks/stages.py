"""What runs where, at which sizes and how far away: the stages of a run, chosen without doing anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.benchmarks.systems import OURS, SYSTEMS
from scripts.benchmarks.workloads.base import (
    DEFAULT,
    FAR,
    FAR_QUICK,
    LARGE,
    LARGE_QUICK,
    QUICK,
    Sizes,
    Workload,
)

NEAR, FAR_AWAY, LARGE_SIZES = "near", "far", "large"
STAGES = (NEAR, FAR_AWAY, LARGE_SIZES)


@dataclass(frozen=True)
class Stage:
    """Workloads that run in the same way, on the same mounts."""

    name: str
    systems: tuple[str, ...]
    workloads: tuple[Workload, ...]
    sizes: Sizes
    limit_s: float
    """What a workload may take on one system; then it is given up, which the report says."""
    settle_s: float
    """How long a system may send what a workload has prepared; then it is measured as it is.
    What has to be cold is not measured then."""
    delays_ms: tuple[int, ...] = ()
    """Of the round trip to the server, through a delay proxy. Empty: without a proxy."""
    label: str = ""
    """What the tags of its metrics begin with."""

    @property
    def relayed(self) -> bool:
        return bool(self.delays_ms)

    def tag(self, delay_ms: int) -> str:
        """What a metric's name ends in here."""
        return f"@{self.label}{delay_ms}ms" if self.relayed else ""

    def turns(self, workload: Workload) -> tuple[tuple[int, ...], ...]:
        """The delays that the workload runs at; those in one tuple after one preparation."""
        delays = self.delays_ms or (0,)
        return (delays,) if workload.cold else tuple((delay,) for delay in delays)


@dataclass(frozen=True)
class Choice:
    """What the command line asks for."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    stages: tuple[str, ...] = STAGES
    delay_ms: int = 40
    quick: bool = False
    full: bool = False
    """The large sizes on every system that has a server."""


def stages(choice: Choice, workloads: Sequence[Workload]) -> tuple[Stage, ...]:
    """The stages in their order, without those that have nothing to do."""
    delays_ms = tuple(dict.fromkeys((0, choice.delay_ms)))
    near = Stage(
        NEAR,
        choice.systems,
        tuple(workload for workload in workloads if not workload.relayed),
        QUICK if choice.quick else DEFAULT,
        limit_s=60 if choice.quick else 300,
        settle_s=120,
    )
    far = Stage(
        FAR_AWAY,
        choice.systems,
        tuple(workloads),
        FAR_QUICK if choice.quick else FAR,
        limit_s=20 if choice.quick else 40,
        settle_s=60,
        delays_ms=delays_ms,
    )
    large = Stage(
        LARGE_SIZES,
        choice.systems if choice.full else tuple(name for name in choice.systems if name == OURS[0]),
        tuple(workload for workload in workloads if workload.large),
        LARGE_QUICK if choice.quick else LARGE,
        limit_s=60 if choice.quick else 1800 if choice.full else 240,
        settle_s=60 if choice.quick else 1800 if choice.full else 420,
        delays_ms=delays_ms,
        label="large-",
    )
    return tuple(
        stage
        for stage in (near, far, large)
        if stage.name in choice.stages and stage.workloads and stage.systems
    )
