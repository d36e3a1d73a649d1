"""`mountfs umount`"""

import os
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.progress_bar import progress_bar
from mountfs.cli.seconds import Seconds

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted


@click.command("umount")
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min=0),
    metavar="S",
    help="Seconds that uploads may take; default: drain_timeout_s of the mount (60).",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for uploads; the next mount sends the rest.")
@click.argument("target", metavar="NAME|MOUNTPOINT")
def command(timeout_s: float | None, no_wait: bool, target: str) -> int:
    """Send what is waiting, unmount MOUNTPOINT or what is configured as NAME, and end its daemon.

    Changes that the workspace does not have in time stay in the journal for the next mount with the same
    cache, and the exit code is 11. Clears the mount of a daemon that was killed, too.
    """
    from mountfs.cli.targets import place_of
    from mountfs.daemon.mounted import find

    if no_wait and timeout_s is not None:
        raise click.UsageError("--no-wait and --timeout exclude each other")
    mounted = find(place_of(target))
    os.chdir("/")  # this process itself must not keep the mount busy
    return end_and_report(mounted, 0.0 if no_wait else timeout_s)


def end_and_report(mounted: "Mounted", drain_timeout_s: float | None) -> int:
    """End the mount with a progress bar; raises DataLeft when something is left in the journal."""
    from mountfs.daemon.ending import end_mount
    from mountfs.daemon.errors import DataLeft
    from mountfs.daemon.running import shown

    with progress_bar("uploading") as tell:
        ended = end_mount(mounted, drain_timeout_s=drain_timeout_s, tell=tell)
    place = shown(str(mounted.mountpoint))
    if ended.was_dead:
        click.echo(f"{place}: cleared what a dead daemon left; its journal is sent by the next mount")
    if ended.left_in_journal:
        raise DataLeft(
            f"{place} is unmounted; {ended.left_in_journal} changes are left in the journal",
            hint="the next mount with the same cache sends them",
        )
    return ExitCode.OK
