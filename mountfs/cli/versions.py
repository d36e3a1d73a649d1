"""`mountfs versions`"""

import json
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


@click.command("versions", short_help="List the versions of a file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("path", type=Path)
def command(as_json: bool, path: Path) -> int:
    """List the versions of the file PATH that the workspace has, the newest first.

    The name in the first column, or the id in the last, is what mountfs cat and mountfs restore take.
    """
    from mountfs.cli.archive_access import ask
    from mountfs.cli.targets import target
    from mountfs.daemon.control.archive_messages import VersionsRequest
    from mountfs.daemon.running import shown

    mounted, below = target(path)
    versions = ask(mounted, VersionsRequest(path=below))
    if as_json:
        click.echo(json.dumps({"versions": versions}, indent=2))
        return ExitCode.OK
    for number, version in enumerate(versions):
        size = "?" if version["size"] is None else str(version["size"])
        cells = (
            f"~{number}".ljust(5),
            (version["created_at"] or "?").ljust(25),
            size.rjust(14),
            version["id"],
            "(present)" if version["current"] else "",
            version["author"],
        )
        click.echo(shown("  ".join(filter(None, cells))).rstrip())
    return ExitCode.OK
