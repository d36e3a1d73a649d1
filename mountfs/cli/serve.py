"""`mountfs serve`"""

from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


class _Address(click.ParamType[tuple[str, int]]):
    name = "HOST:PORT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host.strip("[]"), int(port)


@click.command("serve")
@click.option(
    "--data",
    required=True,
    type=Path,
    metavar="DIR",
    help="Where the server keeps everything; made if missing.",
)
@click.option(
    "--listen",
    type=_Address(),
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Port 0 takes a free one.",
)
@click.option(
    "--workspace",
    "workspaces",
    multiple=True,
    metavar="NAME",
    help="A workspace to create at the first start; may be repeated; default: main.",
)
@click.option(
    "--locks-enforced",
    is_flag=True,
    help="Let a lock refuse uploads, updates, moves and deletes of others; default: locks only advise.",
)
@click.option(
    "--refuse-extension",
    "restricted_extensions",
    multiple=True,
    metavar="EXT",
    help="Refuse files with this extension, as the service does with some; may be repeated.",
)
def command(
    data: Path,
    listen: tuple[str, int],
    workspaces: tuple[str, ...],
    locks_enforced: bool,
    restricted_extensions: tuple[str, ...],
) -> int:
    """Run the embedded workspace server in the foreground.

    The first start creates DIR/token (mode 0600), the token of its only account. One line with the base
    URL is printed when the server answers.
    """
    from mountfs.daemon.errors import ConfigurationRefused
    from mountfs.server import ServerError, ServerOptions, serve

    host, port = listen
    options = ServerOptions(
        data=data,
        host=host,
        port=port,
        workspaces=workspaces or ("main",),
        locks_enforced=locks_enforced,
        restricted_extensions=tuple(extension.lower() for extension in restricted_extensions),
    )
    try:
        serve(options, click.echo)
    except ServerError as error:
        raise ConfigurationRefused(str(error)) from error
    return ExitCode.OK
