"""`mountfs mount`"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon.settings import MountSettings
from mountfs.model.errors import MountfsError

if TYPE_CHECKING:
    from mountfs.daemon.config.file import Given

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
    help="Configuration in TOML, instead of those that are installed; options and environment go first.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the configuration; may be repeated.",
)
@click.option(
    "--no-passthrough", is_flag=True, help="Never let the kernel serve open files from the cache by itself."
)
@click.option("--mkdir", is_flag=True, help="Make the mountpoint if it is missing.")
@click.option("--foreground", is_flag=True, help="Stay in this process and log to standard error.")
@click.argument("target", metavar="[NAME|MOUNTPOINT]", required=False)
def command(
    target: str | None,
    config_path: Path | None,
    assignments: tuple[str, ...],
    no_passthrough: bool,
    mkdir: bool,
    foreground: bool,
    **given: str | Path | None,
) -> int:
    """Mount a workspace: the one configured as NAME, or at MOUNTPOINT, an empty directory.

    Returns when the mount answers; the daemon goes on in the background.
    """

    def settings() -> MountSettings:
        return _settings(target, _options(given, assignments, no_passthrough), config_path, mkdir)

    return _serve_here(settings()) if foreground else _start(settings)


def _start(settings: Callable[[], MountSettings]) -> int:
    from mountfs.daemon.launch import launching

    # It loads its program while the settings are made, which takes as long.
    with launching() as daemon:
        made = settings()
        if made.device is not None:
            raise click.UsageError("the device of a broker needs --foreground")
        daemon.start(made)
    return ExitCode.OK


def _settings(
    target: str | None, options: "dict[str, Given]", config_path: Path | None, mkdir: bool
) -> MountSettings:
    from mountfs.cli.mount_settings import collect
    from mountfs.kernel.handed_device import received

    settings = collect(target, options, config_path)
    if mkdir:
        make_mountpoint(settings.mountpoint)
    return replace(settings, device=received())


def _options(
    given: Mapping[str, str | Path | None], assignments: tuple[str, ...], no_passthrough: bool
) -> "dict[str, Given]":
    from mountfs.daemon.config.file import Given
    from mountfs.daemon.config.layers import from_assignments, parsed

    options = from_assignments(assignments, "--set")
    for key, value in given.items():
        if value is not None:
            options[key] = parsed(key, str(value), f"--{key.replace('_', '-')}")
    if no_passthrough:
        options["passthrough"] = Given(False, "--no-passthrough")
    return options


def make_mountpoint(mountpoint: Path) -> None:
    from mountfs.daemon.running import shown
    from mountfs.model.errors import MountpointUnusable

    try:
        mountpoint.parent.mkdir(parents=True, exist_ok=True)
        # What is there already is looked at later: a dead mount would not answer.
        with suppress(FileExistsError):
            mountpoint.mkdir()
    except OSError as error:
        raise MountpointUnusable(f"{shown(str(mountpoint))} cannot be made: {error.strerror}") from error


def _serve_here(settings: MountSettings) -> int:
    from mountfs.cli.successor import FOREGROUND
    from mountfs.daemon.log_setup import log_to_stderr
    from mountfs.daemon.runner import prepare_cache_dir, run

    log_to_stderr(settings)
    try:
        prepare_cache_dir(settings.cache_dir)
        report = run(settings, lambda: None, successor=FOREGROUND)
    except MountfsError:
        log.debug("the mount failed", exc_info=True)
        raise
    return ExitCode.DATA_LEFT if report.left_in_journal else ExitCode.OK
