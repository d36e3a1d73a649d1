"""Where a symlink that another host made may lead."""


def stays_inside(target: bytes, depth: int) -> bool:
    """Tell whether a target can only lead to what is in the mount, from a link with `depth` folders above it
    below the root.

    Steps up are taken at the begin only: behind the name of a folder, which may be a link itself, nobody
    knows how far one leads.
    """
    if not target or target.startswith(b"/"):
        return False
    steps = [step for step in target.split(b"/") if step not in (b"", b".")]
    up = 0
    while up < len(steps) and steps[up] == b"..":
        up += 1
    return up <= depth and b".." not in steps[up:]
