"""`mountfs locks`"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.targets import targets

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted
    from mountfs.daemon.running import LockReport


@click.command("locks", short_help="Show who holds locks and who waits for them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: see docs/watching.md for its keys.")
@click.argument("path", type=Path, required=False)
def command(as_json: bool, path: Path | None) -> int:
    """Show the locks on PATH, a file or a folder with everything below it, those of other hosts included.

    Without PATH: the locks that are held or waited for on the mounts of this user.
    """
    asked = targets(path)
    os.chdir("/")
    answers = [(mounted, _ask(mounted, b"" if path and below is None else below)) for mounted, below in asked]
    if as_json:
        click.echo(json.dumps({"mounts": [_as_json(*answer) for answer in answers]}, indent=2))
    else:
        for mounted, locks in answers:
            _show(mounted, locks)
    return ExitCode.OK


def _ask(mounted: "Mounted", below: bytes | None) -> "tuple[LockReport, ...]":
    from mountfs.daemon.errors import DaemonSilent

    try:
        return mounted.client().locks(below)
    except DaemonSilent as error:
        raise mounted.silent(error) from error


def _open_in(mounted: "Mounted", lock: "LockReport") -> list[tuple[int, str]]:
    """Return the programs that have the file open, where some hold its lock or wait for it."""
    from mountfs.daemon.processes import users_of

    return users_of(mounted.mountpoint / lock.path) if lock.holders or lock.waiters else []


def _as_json(mounted: "Mounted", locks: "tuple[LockReport, ...]") -> dict[str, object]:
    from mountfs.daemon.running import shown

    rows = [
        {
            **asdict(lock),
            "open_in": [{"pid": pid, "program": shown(name)} for pid, name in _open_in(mounted, lock)],
        }
        for lock in locks
    ]
    return {"mountpoint": shown(str(mounted.mountpoint)), "locks": rows}


def _show(mounted: "Mounted", locks: "tuple[LockReport, ...]") -> None:
    from mountfs.cli.lock_view import lock_lines
    from mountfs.daemon.running import shown

    click.secho(shown(str(mounted.mountpoint)), bold=True)
    for lock in locks:
        click.echo("\n".join(f"  {line}" for line in lock_lines(lock, _open_in(mounted, lock))))
    if not locks:
        click.echo("  no locks")
