"""`mountfs down`"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.daemon.errors import DataLeft
    from mountfs.daemon.mounted import Mounted


@click.command("down", short_help="End what `mountfs up` started.")
@click.argument("directory", metavar="DIR", type=Path)
def command(directory: Path) -> int:
    """End what `mountfs up DIR` started: send what is waiting, unmount, stop the server. Data are kept."""
    from mountfs.cli import embedded
    from mountfs.daemon.errors import NotMounted
    from mountfs.daemon.mounted import resolve_mountpoint
    from mountfs.daemon.running import shown

    directory = resolve_mountpoint(directory)
    place = shown(str(directory))
    folder = embedded.find_data(directory)
    if folder is None:
        raise NotMounted(f"{place} was never brought up", hint=f"mountfs up {place} does that")
    os.chdir("/")
    with embedded.alone(folder):
        server = embedded.recorded(folder)
        mounted = _find(directory)
        was_up = mounted is not None or (server is not None and server.process.is_alive())
        left = _end(mounted)
        if server is not None:
            embedded.stop(server)
    if left is not None:
        raise left
    click.echo(f"{place} is {'down' if was_up else 'already down'}; its data stay in {shown(str(folder))}")
    return ExitCode.OK


def _find(directory: Path) -> "Mounted | None":
    from mountfs.daemon.errors import NotMounted
    from mountfs.daemon.mounted import find

    try:
        return find(directory)
    except NotMounted:
        return None


def _end(mounted: "Mounted | None") -> "DataLeft | None":
    """End the mount; data left in the journal are no reason to leave the server running."""
    from mountfs.cli.umount import end_and_report
    from mountfs.daemon.errors import DataLeft

    try:
        if mounted is not None:
            end_and_report(mounted, None)
    except DataLeft as left:
        return left
    return None
