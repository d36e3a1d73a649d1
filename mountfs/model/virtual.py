"""What a directory offers that exists only in the mount: ports for its branches, all of it read-only.

A branch is a `VirtualDirectory`; what it hands out needs no identity of its own. The file system gives each
path an inode number and asks the branch anew whenever the kernel does, so objects may be made for each call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from mountfs.model.errors import FileNotFound


@dataclass(frozen=True, slots=True)
class Look:
    """What `stat` shows. `permissions`: read and search bits; None: for everybody who may enter the mount.

    size: 0 where it is not known before the file is read, as in /proc. mtime_ns: since the epoch; 0: the
    start of the mount. fixed: neither size nor bytes ever change, so the kernel may keep them; what is not
    fixed is read past its caches. owner: user and group; None: who runs the mount.
    """

    size: int = 0
    mtime_ns: int = 0
    permissions: int | None = None
    fixed: bool = False
    owner: tuple[int, int] | None = None


PLAIN = Look()


class VirtualContent(Protocol):
    """One open file."""

    is_stream: bool
    """Whether it is read from its beginning to its end only: offsets mean nothing then."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes, none only at the end. Waits for the network only within
        `model.interruption.interruptible`, and only with a bound."""
        ...

    def close(self) -> None: ...


class VirtualFile(Protocol):
    @property
    def look(self) -> Look: ...

    async def open(self, flags: int) -> VirtualContent:
        """`flags` are those of open(2)."""
        ...


@runtime_checkable
class VirtualDirectory(Protocol):
    @property
    def look(self) -> Look: ...

    async def find(self, name: bytes) -> "VirtualNode":
        """Raises FileNotFound; an error of any other type is not taken for absence."""
        ...

    async def entries(self) -> "Sequence[tuple[bytes, VirtualNode]]":
        """Return all that a listing shows; `find` may know more."""
        ...


VirtualNode: TypeAlias = VirtualFile | VirtualDirectory


class StaticDirectory:
    """A directory whose entries are fixed when it is made."""

    def __init__(self, nodes: Mapping[bytes, VirtualNode], look: Look = PLAIN) -> None:
        self._nodes = dict(nodes)
        self.look = look

    async def find(self, name: bytes) -> VirtualNode:
        try:
            return self._nodes[name]
        except KeyError:
            raise FileNotFound from None

    async def entries(self) -> Sequence[tuple[bytes, VirtualNode]]:
        return list(self._nodes.items())


class Snapshot:
    """An open file whose bytes are what they were when it was opened."""

    is_stream = False

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]

    def close(self) -> None:
        """Nothing is held."""
