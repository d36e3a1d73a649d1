"""`mountfs workspaces`"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.account_options import insecure_option, token_option, url_option
from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.model.account import WorkspaceEntry


@click.group("workspaces", invoke_without_command=True, short_help="List the workspaces, or create one.")
@url_option
@token_option
@insecure_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context, url: str | None, token_file: Path | None, allow_insecure: bool, as_json: bool
) -> int:
    """List every workspace that the token reaches, those of other organisations included.

    The first column is what --workspace of mountfs mount takes; the id in the second does as well.
    """
    from mountfs.cli.account_options import access
    from mountfs.daemon.accounts import ask

    context.obj = chosen = access(url, token_file, allow_insecure=allow_insecure)
    if context.invoked_subcommand is None:
        _show(ask(chosen, lambda service: service.workspaces()), as_json=as_json)
    return ExitCode.OK


@command.command("create", short_help="Create a workspace.")
@click.option("--org", metavar="NAME_OR_ID", help="The organisation; default: the only one of this account.")
@click.option("--title", metavar="TEXT", help="The name that people see; default: NAME.")
@click.option("--description", metavar="TEXT", default="", help="10 to 1000 characters.")
@click.option(
    "--intelligence",
    is_flag=True,
    help="Let the service read the content of every file, which costs credits for each page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("name")
@click.pass_context
def create(
    context: click.Context,
    org: str | None,
    title: str | None,
    description: str,
    intelligence: bool,
    as_json: bool,
    name: str,
) -> int:
    """Create the workspace NAME: 4 to 80 letters, digits and hyphens, which nobody else has."""
    from mountfs.daemon.accounts import ask
    from mountfs.model.account import NewWorkspace

    new = NewWorkspace(name, title or name, description, intelligence)
    made = ask(context.obj, lambda service: service.create_workspace(org, new))
    _show([made], as_json=as_json)
    return ExitCode.OK


def _show(entries: "Sequence[WorkspaceEntry]", *, as_json: bool) -> None:
    from mountfs.cli.account_view import workspace_lines

    if as_json:
        click.echo(json.dumps({"workspaces": [asdict(entry) for entry in entries]}, indent=2))
    elif not entries:
        click.echo("this token reaches no workspace")
    for line in () if as_json else workspace_lines(entries):
        click.echo(line)
