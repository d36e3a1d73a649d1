"""`mountfs broker`"""

import os
import sys
from pathlib import Path

import click


@click.command(
    "broker",
    short_help="Mount for a daemon without rights.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--user", "name", required=True, metavar="USER", help="Who the daemon is to be; not root.")
@click.option(
    "--token-file",
    type=Path,
    metavar="F",
    help="Read the token here and hand it on by MOUNTFS_TOKEN, so that USER needs no right to the file.",
)
@click.option("--mkdir", is_flag=True, help="Make the mountpoint if it is missing.")
@click.argument("mountpoint", type=Path)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    name: str, token_file: Path | None, mkdir: bool, mountpoint: Path, arguments: tuple[str, ...]
) -> int:
    """Open /dev/fuse, mount MOUNTPOINT, and run ARGUMENTS of `mountfs mount --foreground` as USER.

    \b
    mountfs broker --user agent /srv/project --config /etc/mountfs/project.toml

    Needs root. The daemon gets the open device and no rights; the mount is taken away when it asks, or
    ends. All users may enter the mount, and modes decide.
    """
    from mountfs.cli.mount import make_mountpoint
    from mountfs.daemon.broker import account, serve
    from mountfs.daemon.credentials import read_token_file
    from mountfs.daemon.mounted import resolve_mountpoint

    place = resolve_mountpoint(mountpoint)
    user = account(name)
    if mkdir:
        make_mountpoint(place)
    program = [sys.executable, "-P", "-m", "mountfs.cli", "mount", "--foreground"]
    environment = dict(os.environ)
    if token_file is not None:
        environment["MOUNTFS_TOKEN"] = read_token_file(token_file).reveal()
    return serve(place, user, [*program, "--set", f"mountpoint={place}", *arguments], environment)
