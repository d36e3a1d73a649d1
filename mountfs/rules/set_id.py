"""When the set-user-id and set-group-id bits of a file go."""

import stat


def cleared(mode: int, *, in_group: bool) -> int:
    """Return the mode of a file that was written to, truncated, or given to another owner.

    `in_group`: whoever does it is in the file's group, or privileged. Without group execution the
    set-group-id bit is no such bit but an old mark for mandatory locking, which only strangers lose.
    """
    if stat.S_ISDIR(mode):
        return mode
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP or not in_group:
        mode &= ~stat.S_ISGID
    return mode
