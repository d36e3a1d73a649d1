"""`mountfs whoami`"""

import json
from dataclasses import asdict
from pathlib import Path

import click

from mountfs.cli.account_options import insecure_option, token_option, url_option
from mountfs.cli.exit_codes import ExitCode


@click.command("whoami", short_help="Show who the token belongs to, and what it allows.")
@url_option
@token_option
@insecure_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(url: str | None, token_file: Path | None, allow_insecure: bool, as_json: bool) -> int:
    """Show the user, the scopes, and whether they allow writing, of the token that a mount would use."""
    from mountfs.cli.account_options import access
    from mountfs.cli.account_view import summary
    from mountfs.daemon.accounts import ask

    chosen = access(url, token_file, allow_insecure=allow_insecure)
    account = ask(chosen, lambda service: service.account())
    if as_json:
        stored = chosen.logins is not None
        click.echo(json.dumps({"url": chosen.url, "stored_login": stored, **asdict(account)}, indent=2))
    else:
        click.echo(summary(chosen.url, account))
    return ExitCode.OK
