"""What `fallocate` asks for, and what `lseek` looks for."""

from dataclasses import dataclass
from enum import Enum


class AllocationKind(Enum):
    RESERVE = "reserve"
    """The disk has room for the bytes from then on; those that exist stay as they are."""
    HOLE = "hole"
    """The bytes are zeros from then on, and take no room."""
    ZEROS = "zeros"
    """The bytes are zeros from then on, with room."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """For the bytes [start, end); with `keeps_size` the file does not grow to hold them."""

    kind: AllocationKind
    start: int
    end: int
    keeps_size: bool


class SeekTarget(Enum):
    DATA = "data"
    HOLE = "hole"
    """Holes need not be told: a file always has one at its end."""
