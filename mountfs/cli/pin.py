"""`mountfs pin`"""

from pathlib import Path

import click


@click.command("pin", short_help="Keep files in the cache, and bring what is missing.")
@click.argument("path", type=Path)
def command(path: Path) -> int:
    """Bring every byte at or below PATH into the cache, and never evict it.

    Without the workspace it is read from there. What other hosts change is brought again, and what comes
    to be below a folder is pinned as well. What cannot be brought now is tried again, and stays pinned.
    """
    from mountfs.cli.fetching import fetch

    return fetch(path, pin=True)
