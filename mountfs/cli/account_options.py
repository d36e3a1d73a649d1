"""The options by which a command names a service and a token, and what they amount to."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from mountfs.daemon.accounts import Access

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_URL: Final = "https://api.fast.io/current"


def url_option(command: Command) -> Command:
    option = click.option(
        "--url",
        metavar="URL",
        help=f"Address of the service; default: MOUNTFS_URL, the only stored login's, {DEFAULT_URL}.",
    )
    return option(command)


def token_option(command: Command) -> Command:
    option = click.option(
        "--token-file",
        type=Path,
        metavar="F",
        help="File with the token, readable by its owner only. MOUNTFS_TOKEN goes first.",
    )
    return option(command)


def insecure_option(command: Command) -> Command:
    option = click.option(
        "--allow-insecure",
        is_flag=True,
        help="Send the token also over plain HTTP to a host that is not loopback.",
    )
    return option(command)


def chosen_url(url: str | None, *, allow_insecure: bool) -> str:
    """Return the address that the command is about. Raises ConfigurationRefused."""
    from mountfs.cli.paths import logins_dir
    from mountfs.daemon.credentials import only_stored_url
    from mountfs.daemon.service_address import checked_url

    wanted = url or os.environ.get("MOUNTFS_URL") or only_stored_url(logins_dir()) or DEFAULT_URL
    return checked_url(wanted, allow_insecure=allow_insecure)


def access(url: str | None, token_file: Path | None, *, allow_insecure: bool) -> "Access":
    """Return address and token, as `mountfs mount` finds them. Raises ConfigurationRefused."""
    from mountfs.cli.paths import logins_dir
    from mountfs.daemon.accounts import Access
    from mountfs.daemon.credentials import find_token

    address = chosen_url(url, allow_insecure=allow_insecure)
    token, logins = find_token(token_file, address, logins_dir())
    return Access(address, token, logins, allow_insecure)
