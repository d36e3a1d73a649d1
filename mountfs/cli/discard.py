"""`mountfs discard`"""

import os
import sys
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


@click.command("discard", short_help="Give up a change that cannot be sent; a copy is saved first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the copy goes; default: the folder saved/ of the cache.",
)
@click.argument("path", type=Path)
def command(yes: bool, folder: Path | None, path: Path) -> int:
    """Give up the change at PATH that `mountfs status` lists as failed, and of a folder what waits for it.

    Its content is copied first and the place printed. Then a new file goes, a changed one gets the content
    back that the workspace has, a renamed one its name there, and a deleted one is there again.
    """
    from mountfs.cli.targets import target
    from mountfs.daemon.running import shown

    mounted, below = target(path)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("say --yes where nobody can be asked")
        click.confirm(f"Give up what the workspace does not have of {shown(str(path))}?", abort=True)
    saved = mounted.client().discard(below, os.path.abspath(folder) if folder is not None else None)
    for copy in saved:
        click.echo(f"a copy is saved: {copy}")
    return ExitCode.OK
