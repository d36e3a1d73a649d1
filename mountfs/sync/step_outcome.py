"""What doing a step came to."""

from dataclasses import dataclass
from enum import Enum, auto

from mountfs.tree.inode import Inode


class Outcome(Enum):
    AGAIN = auto()
    """Something was done: look for the next step."""
    LATER = auto()
    """The remote is in a state that may pass: try again after a while."""
    SETTLED = auto()
    """The remote has nothing to learn of the entry."""
    WAIT_FOR_CLOSE = auto()


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Another entry has to get a step further first."""

    inode: Inode
