"""`mountfs retry`"""

import os
from functools import partial
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.seconds import Seconds


@click.command("retry", short_help="Send again at once what could not be sent.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min=0),
    metavar="S",
    help="Give up waiting after this many seconds; default: wait as long as it takes.",
)
@click.argument("path", type=Path, required=False)
def command(timeout_s: float | None, path: Path | None) -> int:
    """Send again at once what `mountfs status` lists as failed at or below PATH, and wait for the outcome.

    For when the cause was removed: a file made smaller, rights or credits given. Without PATH: the mount that
    holds the current directory, else all mounts of this user.
    """
    from mountfs.cli.sync import report
    from mountfs.cli.targets import targets

    chosen = targets(path, dead=True)
    os.chdir("/")
    for mounted, below in chosen:
        report(mounted, partial(mounted.client().retry, below, timeout_s=timeout_s))
    return ExitCode.OK
