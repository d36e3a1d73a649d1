"""`mountfs unlock`"""

import os
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.targets import target


@click.command("unlock", short_help="Break the lock of a file, whoever holds it.")
@click.option("--force", is_flag=True, help="Needed: whoever holds the lock may lose what it has not sent.")
@click.argument("path", type=Path)
def command(force: bool, path: Path) -> int:
    """End the lock that this host, or any other one, holds on the file PATH on the workspace.

    The holder learns of it when it renews its lease: what it wrote since then is kept beside the file. Only
    an administrator of the workspace may do this, and not every service can.
    """
    if not force:
        raise click.UsageError("a lock is broken by --force only; mountfs locks PATH tells who holds it")
    from mountfs.cli.lock_view import remote_line
    from mountfs.daemon.errors import DaemonSilent
    from mountfs.daemon.running import shown

    mounted, below = target(path)
    os.chdir("/")
    try:
        held = mounted.client().unlock(below)
    except DaemonSilent as error:
        raise mounted.silent(error) from error
    place = shown(str(path))
    click.echo(f"{place}: nobody holds a lock" if held is None else f"{place}: broken; {remote_line(held)}")
    return ExitCode.OK
