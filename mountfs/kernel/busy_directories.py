"""Directories whose lock the kernel has for a request that waits for our answer."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

LOCKED: Final[Mapping[str, tuple[int, ...]]] = {
    "lookup": (0,),
    "setattr": (0,),
    "mknod": (0,),
    "mkdir": (0,),
    "symlink": (0,),
    "link": (1,),
    "unlink": (0,),
    "rmdir": (0,),
    "rename": (0, 2),
    "create": (0,),
    "setxattr": (0,),
    "removexattr": (0,),
}
"""Which arguments of pyfuse3's handlers name them. A directory that `rmdir` or `rename` removes is locked as
well, but no number names it."""


class BusyDirectories:
    """By the numbers of their inodes. It may be asked from any thread."""

    def __init__(self) -> None:
        self._requests: Counter[object] = Counter()

    def __contains__(self, ino: object) -> bool:
        return ino in self._requests

    def begin(self, inodes: Iterable[object]) -> None:
        """A request begins to wait for which these are locked."""
        self._requests.update(inodes)

    def end(self, inodes: Iterable[object]) -> None:
        """It is answered."""
        for ino in inodes:
            self._requests[ino] -= 1
            if not self._requests[ino]:
                del self._requests[ino]
