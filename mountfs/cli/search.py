"""`mountfs search`"""

import json
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


@click.command("search", short_help="Search names and content by the service.")
@click.option("--name", "by_name", is_flag=True, help="Search names only.")
@click.option("--content", "by_content", is_flag=True, help="Search content only.")
@click.option(
    "--limit",
    type=click.IntRange(1, 5000),
    default=100,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--mount", type=Path, metavar="DIR", help="A mount, or a directory in one.")
@click.argument("query")
def command(
    by_name: bool, by_content: bool, limit: int, as_json: bool, mount: Path | None, query: str
) -> int:
    """Print the paths in the mount that the service finds for QUERY, the best first.

    The service's index trails what was written, by seconds to minutes; what waits to be sent is not in it.
    """
    from mountfs.cli.archive_access import ask, the_mount
    from mountfs.daemon.control.archive_messages import SearchRequest
    from mountfs.daemon.running import shown
    from mountfs.model.history import SearchIn

    among = SearchIn.BOTH
    if by_name != by_content:
        among = SearchIn.NAMES if by_name else SearchIn.CONTENT
    mounted = the_mount(mount)
    found = ask(mounted, SearchRequest(words=query, among=among, limit=limit))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return ExitCode.OK
    top = shown(str(mounted.mountpoint))
    for hit in found["hits"]:
        click.echo(f"{top}/{hit['path']}" if hit["path"] else f"(unknown folder)/{hit['name']}")
    if not found["complete"]:
        click.echo("the service is still at indexing: there may be more", err=True)
    return ExitCode.OK
