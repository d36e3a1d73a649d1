"""`mountfs up`"""

from contextlib import suppress
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


@click.command("up", short_help="Start an embedded workspace server and mount it.")
@click.option(
    "--data",
    type=Path,
    metavar="DIR",
    help="Where the server keeps everything; default: below $XDG_DATA_HOME/mountfs.",
)
@click.argument("directory", metavar="DIR", type=Path)
def command(data: Path | None, directory: Path) -> int:
    """Start an embedded workspace server and mount it at DIR, which is made if missing.

    Repairs what is not running of the two; says so when both are up already.
    """
    from mountfs.cli import embedded
    from mountfs.daemon.errors import ConfigurationRefused
    from mountfs.daemon.mounted import resolve_mountpoint
    from mountfs.daemon.running import shown

    directory = resolve_mountpoint(directory)
    place = shown(str(directory))
    folder = embedded.choose_data(directory, data)
    if folder.is_relative_to(directory):
        raise ConfigurationRefused("the data directory lies inside DIR", hint="choose another --data")
    with embedded.alone(folder):
        known = embedded.recorded(folder)
        server = embedded.ensure_running(folder)
        try:
            mounted_before = _is_up(directory, server.url)
            if not mounted_before:
                _mount(directory, folder, server.url)
        except BaseException:
            if server != known:  # started just now, and for nothing
                embedded.stop(server)
            raise
    click.echo(f"{place} is {'already ' if mounted_before else ''}up: workspace main at {server.url}")
    return ExitCode.OK


def _is_up(directory: Path, url: str) -> bool:
    """Tell whether the mount answers; one that is dead or belongs to another address is ended."""
    from mountfs.daemon.ending import end_mount
    from mountfs.daemon.errors import DaemonSilent, NotMounted
    from mountfs.daemon.mounted import find

    try:
        mounted = find(directory)
    except NotMounted:
        return False
    if mounted.record is not None and mounted.record.url == url:
        with suppress(DaemonSilent):
            mounted.client().status()
            return True
    end_mount(mounted, drain_timeout_s=0, tell=lambda progress: None)
    return False


def _mount(directory: Path, folder: Path, url: str) -> None:
    from mountfs.cli.embedded import CACHE_FOLDER, SERVER_FOLDER, WORKSPACE
    from mountfs.cli.mount import make_mountpoint
    from mountfs.daemon.credentials import read_token_file
    from mountfs.daemon.launch import start_in_background
    from mountfs.daemon.settings import MountSettings

    make_mountpoint(directory)
    start_in_background(
        MountSettings(
            url=url,
            workspace=WORKSPACE,
            mountpoint=directory,
            cache_dir=folder / CACHE_FOLDER,
            token=read_token_file(folder / SERVER_FOLDER / "token"),
        )
    )
