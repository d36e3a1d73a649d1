"""`mountfs logout`"""

import click

from mountfs.cli.account_options import insecure_option, url_option
from mountfs.cli.exit_codes import ExitCode


@click.command("logout", short_help="Forget a stored login.")
@url_option
@insecure_option
def command(url: str | None, allow_insecure: bool) -> int:
    """Forget the login that mountfs login stored, and end its session at the service.

    A mount that uses it goes on with what it has until that ends.
    """
    from mountfs.cli.account_options import chosen_url
    from mountfs.cli.paths import logins_dir
    from mountfs.daemon.sign_in import sign_out

    address = chosen_url(url, allow_insecure=allow_insecure)
    was_there, left = sign_out(address, logins_dir(), allow_insecure=allow_insecure)
    click.echo(f"signed out of {address}" if was_there else f"there was no login for {address}")
    if left:
        click.echo(left, err=True)
    return ExitCode.OK
