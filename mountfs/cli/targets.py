"""Which mount a path given to a command lies in."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted


def mount_of(path: Path) -> "tuple[Mounted, bytes]":
    """Return the mount that holds the path, and the path relative to its root (empty for the root itself).

    Raises NotMounted.
    """
    from mountfs.daemon.errors import NotMounted
    from mountfs.daemon.mounted import containing
    from mountfs.daemon.running import shown

    held = containing(path)
    if held is None:
        raise NotMounted(f"{shown(str(path))} is not inside a mount of mountfs")
    mounted, below = held
    return mounted, b"" if below == Path() else os.fsencode(below)
