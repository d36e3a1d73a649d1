"""What a path on the command line names: a mount and a place in it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted


def place_of(target: str) -> Path:
    """Return the mountpoint: where the mount configured by this name belongs, else the path itself.

    A word is a name first, as for `mountfs mount`; what lies there is not touched: it may hang.
    """
    from mountfs.daemon.config.search import search

    mount = None if "/" in target else search().mounts.get(target)
    found = mount.mountpoint() if mount is not None else None
    return found or Path(target)


def targets(path: Path | None, *, dead: bool = False) -> "list[tuple[Mounted, bytes | None]]":
    """Return the mount that holds the path and the place in it, None for all of it.

    Without a path: the mount that holds the current directory, else all mounts of this user that are served,
    with `dead` behind them those of killed daemons. Raises NotMounted.
    """
    from mountfs.daemon.errors import NotMounted
    from mountfs.daemon.mounted import all_mounted, containing
    from mountfs.daemon.running import shown

    held = containing(path or Path.cwd())
    if held is not None:
        mounted, below = held
        whole = path is None or below == Path()
        return [(mounted, None if whole else os.fsencode(below))]
    if path is not None:
        raise NotMounted(f"{shown(str(path))} is not inside a mount of mountfs")
    found = sorted(all_mounted(), key=lambda each: not each.has_live_daemon)
    chosen = [each for each in found if dead or each.has_live_daemon]
    if not chosen:
        raise NotMounted("nothing is mounted")
    return [(each, None) for each in chosen]


def target(path: Path) -> "tuple[Mounted, bytes]":
    """Return the mount that holds this file or folder, and its place in it. Raises NotMounted, UsageError."""
    ((mounted, below),) = targets(path)
    if below is None:
        raise click.UsageError("name a file or folder in the mount, not the mount itself")
    return mounted, below
