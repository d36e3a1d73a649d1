"""What a mount did to its workspace, and on whose behalf: the words of its audit log."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from mountfs.model.ids import NodeId, VersionId

ASKED_BY: Final[ContextVar[int | None]] = ContextVar("asked_by", default=None)
"""The program on whose behalf this task acts, where it is not the one that changed the entry last: whoever
asked at the control socket, or for a lock."""


@contextmanager
def asked_by(program: int | None) -> Iterator[None]:
    """What is changed within is changed for this program; None: as before."""
    if program is None:
        yield
        return
    before = ASKED_BY.set(program)
    try:
        yield
    finally:
        ASKED_BY.reset(before)


@dataclass(frozen=True, slots=True)
class Identity:
    """A program of this machine, as it was when it changed something.

    `pid` is that of its thread. `cgroup` is its path in the unified hierarchy, `container` the id in that
    path where there is one, `agent` what its environment has as MOUNTFS_AGENT; "" is what could not be
    learnt.
    """

    pid: int
    uid: int | None
    program: str
    cgroup: str
    container: str
    agent: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the workspace, as it was asked for. `parent` and `name` tell the place of what has no
    node yet; `size` is in bytes."""

    kind: str
    node: NodeId | None = None
    parent: NodeId | None = None
    name: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """A change that the workspace took, or (`certain` false) may have taken.

    `request` is the id that the service gave the request, "-" where it gave none.
    """

    change: Change
    node: NodeId | None
    version: VersionId | None
    request: str
    certain: bool


class EffectRecorder(Protocol):
    """Both are called on the event loop's thread, and neither raises nor waits."""

    def origin(self, change: Change) -> object:
        """Return what is known of the origin of a change that is about to be made."""
        ...

    def record(self, effect: Effect, origin: object) -> None: ...
