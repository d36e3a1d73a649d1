"""`mountfs status`"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.model.errors import MountfsError

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted
    from mountfs.daemon.running import Status


@click.command("status", short_help="Show connection, cache, uploads and locks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: see docs/watching.md for its keys.")
@click.option("--watch", "watches", is_flag=True, help="Renew the view each second until Ctrl-C.")
@click.argument("mountpoint", type=Path, required=False)
def command(as_json: bool, watches: bool, mountpoint: Path | None) -> int:
    """Show connection, cache, uploads and locks of MOUNTPOINT, or of all mounts of this user."""
    from mountfs.daemon.mounted import all_mounted, find

    chosen = [find(mountpoint)] if mountpoint is not None else all_mounted()
    if watches:
        return _watch(chosen, as_json=as_json)
    answers = [_ask(each) for each in chosen]
    if as_json:
        click.echo(json.dumps({"mounts": [_as_json(each, found) for each, found in answers]}, indent=2))
    elif not answers:
        click.echo("nothing is mounted")
    else:
        _show(answers)
    missing = next((found for _, found in answers if isinstance(found, Exception)), None)
    if missing is not None:
        raise missing
    return ExitCode.OK


def _watch(chosen: "list[Mounted]", *, as_json: bool) -> int:
    from mountfs.cli.status_watch import watch
    from mountfs.daemon.mounted import find
    from mountfs.daemon.running import shown

    if as_json:
        raise click.UsageError("--watch and --json exclude each other")
    if not chosen:
        click.echo("nothing is mounted")
        return ExitCode.OK

    def ask(mounted: "Mounted") -> "Status | str":
        try:
            _, found = _ask(find(mounted.mountpoint))  # another daemon may serve it by now
        except MountfsError as error:
            found = error
        return shown(found.message) if isinstance(found, MountfsError) else found

    watch(chosen, ask)
    return ExitCode.OK


def _ask(mounted: "Mounted") -> "tuple[Mounted, Status | MountfsError]":
    from mountfs.daemon.errors import DaemonSilent

    try:
        return mounted, mounted.client().status()
    except DaemonSilent as error:
        return mounted, mounted.silent(error)
    except MountfsError as error:
        return mounted, error


def _as_json(mounted: "Mounted", found: "Status | MountfsError") -> dict[str, object]:
    from mountfs.daemon.running import shown

    if isinstance(found, MountfsError):
        return {"mountpoint": shown(str(mounted.mountpoint)), "answers": False, "error": shown(found.message)}
    return {"answers": True, **asdict(found)}


def _show(answers: "list[tuple[Mounted, Status | MountfsError]]") -> None:
    from mountfs.cli.status_view import print_status

    for number, (_mounted, found) in enumerate(answers):
        if number:
            click.echo()
        if not isinstance(found, MountfsError):
            print_status(found)
