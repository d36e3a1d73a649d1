"""Asking the mount that holds a path about the past of its workspace."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mountfs.daemon.control.archive_messages import ArchiveRequest
    from mountfs.daemon.mounted import Mounted


def ask(mounted: "Mounted", request: "ArchiveRequest") -> Any:
    """Return the answer of the daemon, as JSON. Raises DaemonSilent, ReportedError."""
    from mountfs.daemon.errors import DaemonSilent

    try:
        return mounted.client().ask(request)
    except DaemonSilent as error:
        raise mounted.silent(error) from error


def the_mount(path: Path | None) -> "Mounted":
    """Return the mount that holds the path, else the current directory, else the only one of this user.

    Raises NotMounted, UsageError.
    """
    from mountfs.cli.targets import targets

    found = targets(path)
    if len(found) > 1:
        raise click.UsageError("there are several mounts: go into one of them, or name it by --mount")
    return found[0][0]
