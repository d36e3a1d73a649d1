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
    from mountfs.daemon.errors import ConfigurationRefused


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
        faults = [*configured.faults, *_unusable(configured)]
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


def _unusable(configured: "Configured") -> list[str]:
    """Tell of what a mount would be refused for: files of tokens and secrets that cannot be read, addresses
    that would show it to other machines."""
    return [
        fault
        for mount in configured.mounts.values()
        for fault in (*_token_faults(mount), *_hook_faults(mount), *_exposed(mount))
    ]


def _token_faults(mount: "ConfiguredMount") -> list[str]:
    from mountfs.daemon.credentials import read_token_file
    from mountfs.daemon.errors import ConfigurationRefused

    if given := mount.given.get("token_file"):
        try:
            read_token_file(Path(str(given.value)))
        except ConfigurationRefused as error:
            return [_at(given, error)]
    return []


def _hook_faults(mount: "ConfiguredMount") -> list[str]:
    from mountfs.daemon.config.hook_secrets import complete_hook
    from mountfs.daemon.errors import ConfigurationRefused

    given = mount.given.get("hooks")
    if given is None:
        return []
    assert isinstance(given.value, list)
    faults = []
    for hook in given.value:
        try:
            complete_hook(hook)
        except ConfigurationRefused as error:
            faults.append(_at(given, error))
    return faults


def _exposed(mount: "ConfiguredMount") -> list[str]:
    from mountfs.daemon.config.exposure import ADDRESS_KEYS, REMEDY, is_exposed

    allowed = mount.given.get("listen_beyond_loopback")
    beyond = allowed is not None and bool(allowed.value)
    return [
        f"{given.origin}: {key} = {given.value} would show the mount to other machines; {REMEDY}"
        for key in ADDRESS_KEYS
        if (given := mount.given.get(key)) and is_exposed(str(given.value), beyond_loopback=beyond)
    ]


def _at(given: "Given", error: "ConfigurationRefused") -> str:
    line = f"{given.origin}: {error.message}"
    return f"{line}; {error.hint}" if error.hint else line


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
    if "token_file" in given:
        return "token_file"
    if _has_login(given):
        return "mountfs login"
    return "nowhere: sign in with mountfs login, or set MOUNTFS_TOKEN or token_file"


def _has_login(given: "Mapping[str, Given]") -> bool:
    from mountfs.cli.paths import logins_dir
    from mountfs.daemon.login_key import login_key
    from mountfs.storage.logins import stored_urls

    stored = stored_urls(logins_dir())
    if "url" not in given:
        return len(stored) == 1
    return login_key(str(given["url"].value)) in map(login_key, stored)


def _as_plain(given: "Mapping[str, Given]") -> dict[str, object]:
    return {**{key: asdict(each) for key, each in given.items()}, "token": {"origin": _token_origin(given)}}
