"""`mountfs conflicts`"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted
    from mountfs.daemon.running import ConflictState


class _ListByDefault(click.Group):
    """`mountfs conflicts PATH` is `mountfs conflicts list PATH`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("conflicts", cls=_ListByDefault, short_help="List what two sides changed, and resolve it.")
def command() -> None:
    """List what this host and others changed at once, and resolve it.

    Without a subcommand: list. A file named like one is given as ./list.
    """


@command.command("list", short_help="List the conflicts at or below PATH (the default).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: see docs/watching.md for its keys.")
@click.argument("path", type=Path, required=False)
def list_conflicts(as_json: bool, path: Path | None) -> int:
    """List the conflicts at or below PATH that nobody has resolved yet; without PATH those of all mounts."""
    from mountfs.cli.targets import targets

    found = [(each, each.client().conflicts(below)) for each, below in targets(path, dead=True)]
    if as_json:
        rows = [
            {"mountpoint": str(each.mountpoint), **asdict(conflict)}
            for each, conflicts in found
            for conflict in conflicts
        ]
        click.echo(json.dumps({"conflicts": rows}, indent=2))
    elif not any(conflicts for _, conflicts in found):
        click.echo("no conflicts")
    else:
        for each, conflicts in found:
            for conflict in conflicts:
                _show(each, conflict)
    return ExitCode.OK


def _show(mounted: "Mounted", conflict: "ConflictState") -> None:
    click.echo(f"{mounted.mountpoint}/{conflict.arose_at}: {conflict.kind}, noticed {conflict.noticed_at}")
    click.echo(f"  ours:   {conflict.ours or 'deleted'}")
    history = f"in the version history, version {conflict.their_version}"
    click.echo(f"  theirs: {conflict.theirs or (history if conflict.their_version else 'deleted')}")
    if conflict.base_version:
        click.echo(
            f"  base:   version {conflict.base_version}; mountfs conflicts extract writes it to a file"
        )


@command.command("resolve", short_help="Decide which side stays.")
@click.option(
    "--keep",
    type=click.Choice(["ours", "theirs", "both"]),
    required=True,
    help="ours: our side becomes the newest version; theirs: ours goes; both: they stay as two files.",
)
@click.argument("path", type=Path)
def resolve(keep: str, path: Path) -> int:
    """Decide which side of the conflict at PATH stays; PATH is either of its files.

    What goes stays in the version history or the trash of the workspace; of what the workspace does not have
    yet a copy is saved first, and its place printed.
    """
    from mountfs.cli.targets import target
    from mountfs.model.conflict import Keep

    mounted, below = target(path)
    os.chdir("/")
    for copy in mounted.client().resolve(below, Keep(keep)):
        click.echo(f"a copy of what went is saved: {copy}")
    return ExitCode.OK


@command.command("extract", short_help="Write base, ours and theirs to files, for a merge.")
@click.argument("path", type=Path)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def extract(path: Path, folder: Path) -> int:
    """Write base, ours and theirs of the conflict at PATH to FOLDER, for a merge of three.

    Then write the result to the file, and end the conflict by: mountfs conflicts resolve --keep, or by
    removing the copy.
    """
    from mountfs.cli.targets import target

    mounted, below = target(path)
    for side in mounted.client().extract(below, os.path.abspath(folder)):
        click.echo(f"{side.side}: {side.file or f'not written, {side.why}'}")
    return ExitCode.OK
