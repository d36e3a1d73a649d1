"""`mountfs sync`"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.seconds import Seconds

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted
    from mountfs.daemon.running import SyncOutcome


@click.command("sync", short_help="Return when everything is confirmed by the workspace.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min=0),
    metavar="S",
    help="Give up after this many seconds; default: wait as long as it takes.",
)
@click.argument("path", type=Path, required=False)
def command(timeout_s: float | None, path: Path | None) -> int:
    """Return when everything at or below PATH is confirmed by the workspace.

    Without PATH: the mount that holds the current directory, else all mounts of this user. One whose daemon
    was killed makes it fail: what that had not sent is sent by its next mount.
    """
    from mountfs.cli.targets import targets

    # One that nobody serves may hold what was not sent: passing over it would say that all is confirmed.
    chosen = targets(path, dead=True)
    os.chdir("/")
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for mounted, below in chosen:
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        report(mounted, partial(mounted.client().sync, below, timeout_s=left_s))
    return ExitCode.OK


def report(mounted: "Mounted", ask: "Callable[[], SyncOutcome]") -> None:
    """Return when all is confirmed. Raises DataLeft, NotConfirmed, DaemonSilent."""
    from mountfs.daemon.errors import DaemonSilent, DataLeft, NotConfirmed
    from mountfs.daemon.running import shown

    try:
        outcome = ask()
    except DaemonSilent as error:
        raise mounted.silent(error) from error
    if outcome.confirmed:
        return
    place = shown(str(mounted.mountpoint))
    if outcome.failed:
        first = outcome.failed[0]
        raise DataLeft(
            f"{place}: uploads that failed: {len(outcome.failed)}, the first is {first.path}: {first.reason}",
            hint=first.hint or f"see mountfs status {place}",
        )
    raise NotConfirmed(
        f"{place}: changes that are not confirmed yet: {outcome.remaining}",
        hint="they are tried again and again; mountfs status tells why",
    )
