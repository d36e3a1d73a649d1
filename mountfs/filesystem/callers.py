"""What the kernel does not say of a caller, but the operating system knows."""

from mountfs.model.filesystem import Caller


def is_privileged(caller: Caller) -> bool:
    """Tell whether set-id bits stay where this caller writes, by its user: no request tells capabilities."""
    return caller.uid == 0


def is_in_group(caller: Caller, gid: int) -> bool:
    """Tell whether the caller is in the group, or privileged; false where it ended meanwhile."""
    if is_privileged(caller) or caller.gid == gid:
        return True
    try:
        with open(f"/proc/{caller.pid}/status", "rb") as status:
            groups = next(line for line in status if line.startswith(b"Groups:"))
    except OSError:
        return False
    return str(gid).encode() in groups.split()[1:]
