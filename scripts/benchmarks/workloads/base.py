"""What a workload is given, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

MEBIBYTE = 1024 * 1024
BLOCK = 4096


class Unit(Enum):
    """Units of results; times are better when lower, rates when higher."""

    MICROSECONDS = "µs"
    SECONDS = "s"
    MEBIBYTES_PER_S = "MiB/s"
    PER_SECOND = "1/s"
    MEBIBYTES = "MiB"

    @property
    def more_is_better(self) -> bool:
        return self in {Unit.MEBIBYTES_PER_S, Unit.PER_SECOND}


@dataclass(frozen=True)
class Sizes:
    """How much each workload does."""

    small_files: int = 400
    processes: int = 8
    listed_files: int = 10_000
    cached_file_mib: int = 64
    random_operations: int = 5_000
    tree_files: int = 5_000
    wheels: tuple[str, ...] = ("click", "rich", "httpx", "starlette")
    single_inserts: int = 100
    bulk_inserts: int = 50_000
    appends: int = 300
    large_file_mib: int = 256
    uploaded_files: int = 1_000
    far_file_mib: int = 64
    """Size of the file whose far end is read."""
    delayed_operations: int = 50
    lock_operations: int = 50


QUICK = Sizes(
    small_files=20,
    processes=2,
    listed_files=50,
    cached_file_mib=2,
    random_operations=200,
    tree_files=40,
    wheels=("click",),
    single_inserts=5,
    bulk_inserts=500,
    appends=10,
    large_file_mib=6,
    uploaded_files=20,
    far_file_mib=16,
    delayed_operations=5,
    lock_operations=5,
)
DEFAULT = Sizes()
FAR = Sizes(
    small_files=10,
    listed_files=100,
    cached_file_mib=1,
    random_operations=50,
    tree_files=20,
    wheels=("sniffio",),
    single_inserts=3,
    bulk_inserts=1_000,
    appends=10,
    large_file_mib=32,
    uploaded_files=20,
    delayed_operations=25,
    lock_operations=12,
)
"""Small: with a round trip for each step, some systems take a second for a file."""
FAR_QUICK = replace(
    FAR,
    small_files=4,
    processes=2,
    listed_files=20,
    tree_files=5,
    single_inserts=2,
    appends=3,
    large_file_mib=9,
    uploaded_files=5,
    far_file_mib=16,
    delayed_operations=4,
    lock_operations=4,
)
LARGE = Sizes(listed_files=100_000, large_file_mib=1024, uploaded_files=10_000, far_file_mib=10_240)
LARGE_QUICK = replace(LARGE, listed_files=500, large_file_mib=17, uploaded_files=300, far_file_mib=64)


@dataclass(frozen=True)
class Place:
    """Where a workload runs."""

    directory: Path
    """Empty at the begin of `prepare`, and the workload's own."""
    inputs: Path
    """Prepared inputs on the local disk: `repository`, `tree.tar`, `wheels`."""
    scratch: Path
    """An empty folder on the local disk."""
    sizes: Sizes
    confirm: Callable[[], None] | None = None
    """Returns when the server has everything; None where the system does not tell."""
    daemon_pid: int | None = None
    beside: Path | None = None
    """The same directory on another mount of the same workspace, as on another host."""


Readings = Mapping[str, float]


class NotMeasured(Exception):
    """The workload has no meaning or no inputs here; the text is the reason."""


@dataclass(frozen=True)
class Workload:
    """One named measurement with its metrics.

    `prepare` is not timed, and never delayed. When `cold`, the system forgets what it has cached between the
    two, and `run` only reads, so that it runs at each delay after one preparation. Both are called in a
    process of their own.
    """

    name: str
    metrics: Mapping[str, Unit]
    run: Callable[[Place], Readings]
    prepare: Callable[[Place], None] | None = None
    cold: bool = False
    """Where a system cannot forget, metrics that end in `.cold` are left out."""
    on_disk: bool = True
    """Whether it means anything on the local disk."""
    bare: Callable[[Place, "Bare"], Readings] | None = None
    """The same bytes without a mount, beside it."""
    relayed: bool = False
    """Whether it runs only on mounts behind a delay proxy."""
    large: bool = False
    """Whether it is of interest at the large sizes, too."""
    beside: bool = False
    """Whether it needs another mount of the same workspace."""


@dataclass(frozen=True)
class Bare:
    """The embedded server that bare HTTP loops talk to."""

    url: str
    token: str
