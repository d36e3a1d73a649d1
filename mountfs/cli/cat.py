"""`mountfs cat`"""

import os
import sys
import tempfile
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode

_PIECE_BYTES = 1024 * 1024


@click.command("cat", short_help="Print an old version of a file.")
@click.argument("path_and_version", metavar="PATH@VERSION")
def command(path_and_version: str) -> int:
    """Write the content of a version to standard output.

    VERSION is ~1 for the one before the present, ~2 for the one before that, or an id that mountfs versions
    tells, or its beginning.
    """
    from mountfs.cli.archive_access import ask
    from mountfs.cli.targets import target
    from mountfs.daemon.control.archive_messages import FetchVersionRequest
    from mountfs.rules.version_names import split

    path, version = split(path_and_version)
    mounted, below = target(Path(path))
    # As a whole first: what comes out is what the hash of the version says, or nothing.
    with tempfile.NamedTemporaryFile(prefix="mountfs-") as file:
        ask(mounted, FetchVersionRequest(path=below, version=version, file=os.fsencode(file.name)))
        while piece := file.read(_PIECE_BYTES):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return ExitCode.OK
