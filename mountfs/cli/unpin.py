"""`mountfs unpin`"""

from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


@click.command("unpin", short_help="Let pinned files be evicted again.")
@click.argument("path", type=Path)
def command(path: Path) -> int:
    """Undo `mountfs pin PATH`. The content stays until the cache needs the room."""
    from mountfs.cli.targets import targets

    ((mounted, below),) = targets(path)
    mounted.client().unpin(below or b"")
    return ExitCode.OK
