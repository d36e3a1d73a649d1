"""`mountfs config`"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.daemon.config.file import ConfiguredMount, Given
    from mountfs.daemon.config.search import Configured


@click.group("config", short_help="Show and check the configuration of mounts.")
def command() -> None:
    """Show and check the configuration of mounts."""


@command.command("show")
@click.option(
    "--config", "config_path", type=Path, metavar="FILE", help="This file instead of those installed."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("name", required=False)
def show(config_path: Path | None, as_json: bool, name: str | None) -> int:
    """Show what counts for the mount NAME, or for every one that is configured, and where each value comes
    from.

    The token is never shown, only where it comes from.
    """
    from mountfs.daemon.config.layers import layered

    configured = _configured(config_path)
    mounts = [configured.named(name)] if name is not None else list(configured.mounts.values())
    shown_mounts = {str(mount.name): layered({}, os.environ, mount) for mount in mounts}
    if as_json:
        plain = {each: _as_plain(given) for each, given in shown_mounts.items()}
        click.echo(json.dumps({"mounts": plain, "faults": list(configured.faults)}, indent=2))
        return ExitCode.OK
    for mount in mounts:
        _print(mount, shown_mounts[str(mount.name)])
    if not mounts:
        click.echo(_nothing_found(config_path))
    for fault in configured.faults if name is None else ():
        click.echo(f"mountfs: {fault}", err=True)
    return ExitCode.CONFIGURATION if configured.faults and name is None else ExitCode.OK


@command.command("check")
@click.argument("file", type=Path, required=False)
def check(file: Path | None) -> int:
    """Check FILE, or every file that is installed. Each fault is one line with file, line and key."""
    from mountfs.daemon.config.file import examine

    configured = None
    faults, _content = examine(file) if file is not None else ([], None)
    if not faults:
        configured = _configured(file)
        faults = [*configured.faults, *_token_faults(configured)]
    for fault in faults:
        click.echo(f"mountfs: {fault}", err=True)
    if faults:
        return ExitCode.CONFIGURATION
    names = ", ".join(configured.mounts) if configured is not None else ""
    click.echo(f"sound; mounts: {names}" if names else _nothing_found(file))
    return ExitCode.OK


def _configured(path: Path | None) -> "Configured":
    from mountfs.daemon.config.search import in_file, search

    return in_file(path) if path is not None else search()


def _token_faults(configured: "Configured") -> list[str]:
    """Tell of token files that cannot be used. One that is not there yet, or not for this user, is no fault
    of the configuration where its folder may not be entered."""
    from mountfs.daemon.credentials import read_token_file
    from mountfs.daemon.errors import ConfigurationRefused

    faults = []
    for mount in configured.mounts.values():
        if given := mount.given.get("token_file"):
            try:
                read_token_file(Path(str(given.value)))
            except ConfigurationRefused as error:
                line = f"{given.origin}: {error.message}"
                faults.append(f"{line}; {error.hint}" if error.hint else line)
    return faults


def _nothing_found(path: Path | None) -> str:
    from mountfs.daemon.config.search import folders

    if path is not None:
        return "sound; it names no mount"
    return f"no mount is configured; files are looked for in {' and '.join(map(str, folders()))}"


def _print(mount: "ConfiguredMount", given: "Mapping[str, Given]") -> None:
    from mountfs.daemon.running import shown

    click.echo(f"[{mount.name}]")
    rows = [(key, json.dumps(each.value), each.origin) for key, each in given.items()]
    rows.append(("token", "(never shown)", _token_origin(given)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, value, origin in rows:
        click.echo(shown(f"  {key:<{widths[0]}}  {value:<{widths[1]}}  {origin}"))


def _token_origin(given: "Mapping[str, Given]") -> str:
    if os.environ.get("MOUNTFS_TOKEN"):
        return "MOUNTFS_TOKEN"
    return "token_file" if "token_file" in given else "nowhere: set MOUNTFS_TOKEN or token_file"


def _as_plain(given: "Mapping[str, Given]") -> dict[str, object]:
    return {**{key: asdict(each) for key, each in given.items()}, "token": {"origin": _token_origin(given)}}
