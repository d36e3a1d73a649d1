"""`mountfs trash`"""

import json
from pathlib import Path
from typing import Any

import click

from mountfs.cli.exit_codes import ExitCode

_MOUNT = click.option(
    "--mount",
    type=Path,
    metavar="DIR",
    help="A mount, or a directory in one; default: the current directory's.",
)


@click.group("trash", short_help="List what was deleted, bring it back, or remove it for good.")
def command() -> int:
    """What was deleted stays in the trash of the workspace, and takes its room, until it is purged."""
    return ExitCode.OK


@command.command("list")
@_MOUNT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_trash(mount: Path | None, as_json: bool) -> int:
    """List what is in the trash, the last deleted first."""
    from mountfs.cli.archive_access import ask, the_mount
    from mountfs.daemon.control.archive_messages import TrashRequest

    rows = ask(the_mount(mount), TrashRequest())
    if as_json:
        click.echo(json.dumps({"trash": rows}, indent=2))
    elif not rows:
        click.echo("the trash is empty")
    for row in () if as_json else rows:
        click.echo(_line(row))
    return ExitCode.OK


@command.command("restore")
@_MOUNT
@click.argument("which")
def restore_from_trash(mount: Path | None, which: str) -> int:
    """Bring back WHICH: an id of mountfs trash list, the path that it had in the mount, or its name."""
    from mountfs.cli.archive_access import ask, the_mount
    from mountfs.daemon.control.archive_messages import RestoreFromTrashRequest
    from mountfs.daemon.running import shown

    mounted = the_mount(mount)
    restored = ask(mounted, RestoreFromTrashRequest(which=which))
    click.echo(f"restored {shown(str(mounted.mountpoint))}/{restored['path']}")
    return ExitCode.OK


@command.command("purge")
@_MOUNT
@click.option("--all", "everything", is_flag=True, help="Empty the trash.")
@click.argument("which", required=False)
def purge(mount: Path | None, everything: bool, which: str | None) -> int:
    """Remove WHICH from the trash for good, with all of its versions. Nothing brings it back."""
    from mountfs.cli.archive_access import ask, the_mount
    from mountfs.daemon.control.archive_messages import PurgeRequest

    if everything == (which is not None):
        raise click.UsageError("name what goes, or give --all")
    for row in ask(the_mount(mount), PurgeRequest(which=which)):
        click.echo(f"purged {row['path'] or row['name']}")
    return ExitCode.OK


def _line(row: dict[str, Any]) -> str:
    from mountfs.daemon.running import shown

    place = row["path"] or f"(unknown folder)/{row['name']}"
    slash = "/" if row["kind"] == "folder" else ""
    return shown(
        f"{(row['deleted_at'] or '?').ljust(25)}  {row['id']}  {str(row['size']).rjust(12)}  {place}{slash}"
    )
