"""`mountfs prefetch`"""

from pathlib import Path

import click


@click.command("prefetch", short_help="Bring files into the cache before they are read.")
@click.argument("path", type=Path)
def command(path: Path) -> int:
    """Bring every byte at or below PATH into the cache, in the background of what programs read.

    It may be evicted later like all that was read; pin keeps it.
    """
    from mountfs.cli.fetching import fetch

    return fetch(path, pin=False)
