"""Bringing content into the cache, for `mountfs pin` and `mountfs prefetch`."""

from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.progress_bar import progress_bar
from mountfs.cli.status_view import size
from mountfs.cli.targets import targets
from mountfs.daemon.errors import NotFetched
from mountfs.daemon.running import shown


def fetch(path: Path, *, pin: bool) -> int:
    """Return when all that can be brought is here. Raises NotFetched where something could not."""
    ((mounted, below),) = targets(path)
    with progress_bar("fetching") as tell:
        outcome = mounted.client().fetch(below or b"", pin=pin, tell=tell)
    place = shown(str(path))
    if outcome.failed_files:
        first = outcome.failed[0]
        kept = "; it is pinned and tried again" if pin else ""
        raise NotFetched(
            f"{place}: {outcome.failed_files} of {outcome.files} files could not be fetched,"
            f" the first is {first.path}: {first.reason}{kept}"
        )
    word = "pinned" if pin else "fetched"
    click.echo(f"{place}: {word}, {outcome.files} files, {size(outcome.size_bytes)}")
    return ExitCode.OK
