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


class _ListingSwitches(click.Command):
    """Lists what the server can be made to do, which only its help has to know."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from mountfs.server.behaviour import described

        with formatter.section("Switches of --behave"):
            formatter.write_dl(described(), col_max=34)


@click.command("serve", cls=_ListingSwitches)
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
    help="Let a lock refuse uploads, updates, moves and deletes of others: --behave locks=enforced.",
)
@click.option(
    "--behave",
    "switches",
    multiple=True,
    metavar="KEY=VALUE",
    help="Behave as the service might where its behaviour is not known; may be repeated; see below.",
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
    switches: tuple[str, ...],
    restricted_extensions: tuple[str, ...],
) -> int:
    """Run the embedded workspace server in the foreground.

    The first start creates DIR/token (mode 0600), the token of its only account. One line with the base
    URL is printed when the server answers.
    """
    from mountfs.daemon.errors import ConfigurationRefused
    from mountfs.server import BehaviourRefused, ServerError, ServerOptions, read_behaviour, serve

    host, port = listen
    try:
        behaviour = read_behaviour([*(("locks=enforced",) if locks_enforced else ()), *switches])
    except BehaviourRefused as error:
        raise click.BadParameter(str(error), param_hint="--behave") from error
    options = ServerOptions(
        data=data,
        host=host,
        port=port,
        workspaces=workspaces or ("main",),
        behaviour=behaviour,
        restricted_extensions=tuple(extension.lower() for extension in restricted_extensions),
    )
    try:
        serve(options, click.echo)
    except ServerError as error:
        raise ConfigurationRefused(str(error)) from error
    return ExitCode.OK
