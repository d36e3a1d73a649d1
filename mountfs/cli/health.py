"""`mountfs health`"""

from pathlib import Path
from typing import Final

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.seconds import Seconds

_LIMIT_S: Final = 5.0


@click.command("health", short_help="Tell by the exit code whether a mount is alive and ready.")
@click.option("--live", is_flag=True, help="Ask only whether the daemon answers.")
@click.option("--ready", is_flag=True, help="Ask whether programs can use the mount: the default.")
@click.option(
    "--timeout",
    "limit_s",
    type=Seconds(0.1, 60),
    default=_LIMIT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long each mount may take to answer.",
)
@click.argument("mountpoint", type=Path, required=False)
def command(live: bool, ready: bool, limit_s: float, mountpoint: Path | None) -> int:
    """Check MOUNTPOINT, or all mounts of this user, of which there has to be one.

    \b
    Exit codes:
        0  all is well
       12  there is no mount, or not yet, or only its daemon is left
       13  the daemon or the mount does not answer in time
       17  it answers, and is being ended (not with --live)

    A mount that serves from its cache because the workspace does not answer is ready, and the line says so.
    """
    from mountfs.daemon.errors import NotMounted
    from mountfs.daemon.health import check_live, check_ready
    from mountfs.daemon.mounted import all_mounted, find
    from mountfs.daemon.running import shown

    if live and ready:
        raise click.UsageError("--live and --ready exclude each other")
    chosen = [find(mountpoint)] if mountpoint is not None else all_mounted()
    if not chosen:
        raise NotMounted("nothing is mounted")
    for mounted in chosen:
        answered = (check_live if live else check_ready)(mounted, limit_s=limit_s)
        connection = "online" if answered.online else "offline: it serves what its cache has"
        click.echo(f"{shown(str(mounted.mountpoint))}: {'alive' if live else 'ready'}, {connection}")
    return ExitCode.OK
