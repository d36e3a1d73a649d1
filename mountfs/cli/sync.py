"""`mountfs sync`"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted


@click.command("sync", short_help="Return when everything is confirmed by the workspace.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Give up after this many seconds; default: wait as long as it takes.",
)
@click.argument("path", type=Path, required=False)
def command(timeout_s: float | None, path: Path | None) -> int:
    """Return when everything at or below PATH is confirmed by the workspace.

    Without PATH: the mount that holds the current directory, else all mounts of this user.
    """
    targets = _targets(path)
    os.chdir("/")
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for mounted, below in targets:
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        _sync(mounted, below, left_s)
    return ExitCode.OK


def _targets(path: Path | None) -> "list[tuple[Mounted, bytes | None]]":
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
    served = [each for each in all_mounted() if each.has_live_daemon]
    if not served:
        raise NotMounted("nothing is mounted")
    return [(each, None) for each in served]


def _sync(mounted: "Mounted", below: bytes | None, timeout_s: float | None) -> None:
    from mountfs.daemon.errors import DaemonSilent, DataLeft, NotConfirmed
    from mountfs.daemon.running import shown

    try:
        outcome = mounted.client().sync(below, timeout_s=timeout_s)
    except DaemonSilent as error:
        raise mounted.silent(error) from error
    if outcome.confirmed:
        return
    place = shown(str(mounted.mountpoint))
    if outcome.failed:
        first = outcome.failed[0]
        raise DataLeft(
            f"{place}: {len(outcome.failed)} uploads failed, the first is {first.path}: {first.reason}",
            hint=first.hint or f"see mountfs status {place}",
        )
    raise NotConfirmed(
        f"{place}: {outcome.remaining} changes are not confirmed yet", hint="they are tried again and again"
    )
