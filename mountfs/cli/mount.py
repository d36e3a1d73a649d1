"""`mountfs mount`"""

import logging
from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon.settings import MountSettings
from mountfs.model.errors import MountfsError

log = logging.getLogger(__name__)


@click.command("mount")
@click.option("--url", metavar="URL", help="Address of the workspace service.")
@click.option("--workspace", metavar="NAME_OR_ID", help="The workspace to mount.")
@click.option(
    "--cache",
    type=Path,
    metavar="DIR",
    help="Cache directory; default: one below $XDG_CACHE_HOME/mountfs for each mount.",
)
@click.option(
    "--token-file",
    type=Path,
    metavar="F",
    help="File with the token, readable by its owner only. MOUNTFS_TOKEN goes first.",
)
@click.option(
    "--config",
    "config_path",
    type=Path,
    metavar="FILE",
    help="Configuration in TOML; options and environment go first.",
)
@click.option(
    "--no-passthrough", is_flag=True, help="Never let the kernel serve open files from the cache by itself."
)
@click.option("--foreground", is_flag=True, help="Stay in this process and log to standard error.")
@click.argument("mountpoint", type=Path)
def command(
    url: str | None,
    workspace: str | None,
    cache: Path | None,
    token_file: Path | None,
    config_path: Path | None,
    no_passthrough: bool,
    foreground: bool,
    mountpoint: Path,
) -> int:
    """Mount a workspace at MOUNTPOINT, an empty directory.

    Returns when the mount answers; the daemon goes on in the background.
    """
    from mountfs.cli.mount_settings import collect
    from mountfs.daemon.mounted import resolve_mountpoint

    settings = collect(
        resolve_mountpoint(mountpoint),
        url=url,
        workspace=workspace,
        cache=cache,
        token_file=token_file,
        config_path=config_path,
        passthrough=not no_passthrough,
    )
    if foreground:
        return _serve_here(settings)
    from mountfs.daemon.launch import start_in_background

    start_in_background(settings)
    return ExitCode.OK


def _serve_here(settings: MountSettings) -> int:
    from mountfs.daemon.log_setup import log_to_stderr
    from mountfs.daemon.runner import prepare_cache_dir, run

    log_to_stderr(settings.log_level, settings.token)
    try:
        prepare_cache_dir(settings.cache_dir)
        report = run(settings, lambda: None)
    except MountfsError:
        log.debug("the mount failed", exc_info=True)
        raise
    return ExitCode.DATA_LEFT if report.left_in_journal else ExitCode.OK
