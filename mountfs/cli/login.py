"""`mountfs login`"""

import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.account_options import insecure_option, url_option
from mountfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from mountfs.model.login import Login
    from mountfs.remotes.fastio.oauth import Reach

_REACHES: "dict[str, Reach]" = {"workspace": "workspace", "org": "org", "user": "user"}


@click.command("login", short_help="Sign in, and keep what that gives for later mounts.")
@url_option
@insecure_option
@click.option(
    "--api-key", "by_key", is_flag=True, help="Paste an API key to a prompt, which does not show it."
)
@click.option("--api-key-file", type=Path, metavar="F", help="Read an API key from a file of mode 0600.")
@click.option(
    "--no-browser", is_flag=True, help="Print the address for a browser elsewhere, and ask for its code."
)
@click.option(
    "--for",
    "reach",
    type=click.Choice(["workspace", "org", "user"]),
    default="workspace",
    show_default=True,
    help="What to ask for: one workspace, an organisation, or all that the user may.",
)
@click.option("--read-only", is_flag=True, help="Ask for reading only: mounts are read-only then.")
@click.option("--client-id", metavar="ID", help="Under what name this program is known to the service.")
@click.option("--keyring", "in_keyring", is_flag=True, help="Keep the token in the keyring of the system.")
def command(
    url: str | None,
    allow_insecure: bool,
    by_key: bool,
    api_key_file: Path | None,
    no_browser: bool,
    reach: str,
    read_only: bool,
    client_id: str | None,
    in_keyring: bool,
) -> int:
    """Sign in with the browser, or with an API key, and keep the token in a file of mode 0600.

    mountfs mount and the other commands use it where no other token is given, and renew it in time.
    """
    from mountfs.cli.account_options import chosen_url
    from mountfs.cli.account_view import summary
    from mountfs.cli.paths import logins_dir
    from mountfs.daemon.sign_in import keep

    address = chosen_url(url, allow_insecure=allow_insecure)
    if by_key or api_key_file is not None:
        login = _of_key(address, api_key_file)
    else:
        login = _of_consent(address, allow_insecure, no_browser, reach, read_only, client_id)
    kept, account = keep(login, logins_dir(), allow_insecure=allow_insecure, in_keyring=in_keyring)
    click.echo(summary(kept.url, account))
    return ExitCode.OK


def _of_key(address: str, file: Path | None) -> "Login":
    from mountfs.daemon.credentials import checked_token, read_token_file
    from mountfs.model.login import Login

    if file is not None:
        return Login(address, read_token_file(file).reveal())
    if sys.stdin.isatty():
        pasted = click.prompt("API key", hide_input=True, default="", show_default=False, err=True)
    else:
        pasted = sys.stdin.readline()
    return Login(address, checked_token(pasted.strip(), "the API key").reveal())


def _of_consent(
    address: str, allow_insecure: bool, no_browser: bool, reach: str, read_only: bool, client_id: str | None
) -> "Login":
    from mountfs.daemon import sign_in

    asked = _REACHES[reach]
    if no_browser or not _has_browser():
        return sign_in.by_code(
            address,
            allow_insecure=allow_insecure,
            reach=asked,
            writing=not read_only,
            client_id=client_id,
            ask_code=_ask_code,
        )
    return sign_in.by_browser(
        address,
        allow_insecure=allow_insecure,
        reach=asked,
        writing=not read_only,
        client_id=client_id,
        show=_show,
    )


def _has_browser() -> bool:
    """Tell whether a browser that opens now would be seen: one in this terminal would take it over."""
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def _show(address: str) -> None:
    click.echo(f"Sign in in the browser; if none opens, go to\n  {address}", err=True)
    webbrowser.open(address)


def _ask_code(address: str) -> str:
    click.echo(f"Sign in in any browser:\n  {address}", err=True)
    click.echo("Then paste the code that it shows, or the address that it ends at:", err=True)
    return sys.stdin.readline()
