"""`mountfs upgrade`"""

import os
import time
from typing import TYPE_CHECKING, Final

import click

from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.daemon.control.client import ControlClient
    from mountfs.daemon.mounted import Mounted
    from mountfs.daemon.running import Status

WAIT_S: Final = 60.0
LOOK_S: Final = 0.1


@click.command("upgrade", short_help="Let the installed version go on with a running mount.")
@click.argument("target", metavar="NAME|MOUNTPOINT")
def command(target: str) -> int:
    """Let the version that is installed now go on with the mount at MOUNTPOINT, or that configured as NAME.

    Programs notice nothing but a wait of a few seconds: what they have open stays open, with their locks and
    their working directories. The settings stay those of the running mount. Where this is not possible the
    mount serves on as it was, and the exit code is 18. Needs Linux 6.9.
    """
    from mountfs.cli.targets import place_of
    from mountfs.daemon.mounted import find
    from mountfs.daemon.running import shown

    mounted = find(place_of(target))
    os.chdir("/")
    client = mounted.client()
    before = client.status()
    client.upgrade()
    after = _served_again(mounted, client, before)
    place = shown(str(mounted.mountpoint))
    click.echo(f"{place}: version {after.version} goes on, after {before.version}")
    return ExitCode.OK


def _served_again(mounted: "Mounted", client: "ControlClient", before: "Status") -> "Status":
    """Raises UpgradeRefused where the mount was made anew or ended, DaemonSilent where nothing comes back."""
    from mountfs.daemon.errors import DaemonSilent, UpgradeRefused

    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            after = client.status()
        except DaemonSilent as error:
            if not mounted.has_live_daemon:
                raise UpgradeRefused(
                    "the daemon ended while the installed version took the mount over",
                    hint="its log tells why; mount again: nothing that was closed is lost",
                ) from error
            if time.monotonic() > deadline:
                raise mounted.silent(error) from error
        else:
            if after.upgrades > before.upgrades and not after.upgrade_failure:
                return after
            if after.upgrades > before.upgrades:
                raise UpgradeRefused(
                    f"the mount was made anew, as it could not be taken over: {after.upgrade_failure}",
                    hint="programs have to open their files anew; nothing that was closed is lost",
                )
        time.sleep(LOOK_S)
