"""`mount.fuse.mountfs` and `umount.fuse.mountfs`: what mount(8), umount(8) and /etc/fstab call.

Exit codes are those of mount(8): 0, 1 for a wrong call, 32 for a mount or unmount that failed.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountfs.cli.exit_codes import ExitCode

_WRONG_CALL: Final = 1
_FAILED: Final = 32

_IGNORED: Final = frozenset(
    [
        "defaults",
        "rw",
        "auto",
        "noauto",
        "user",
        "users",
        "nouser",
        "owner",
        "group",
        "nofail",
        "_netdev",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "atime",
        "noatime",
        "relatime",
        "norelatime",
        "strictatime",
        "diratime",
        "nodiratime",
        "async",
    ]
)
"""What fstab says to others, and what a mount of mountfs is or is not anyhow."""

_FLAGS: Final = {"ro": "read_only=true", "allow_other": "allow_other=true"}


class WrongOption(Exception):
    """An option that is none of ours."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call of `mountfs mount`: the configured NAME or nothing, and what is set."""

    name: str | None
    config: str | None
    assignments: tuple[str, ...]


def translate(
    source: str,
    directory: str,
    options: str,
    names: Callable[[str | None], Collection[str]],
    *,
    sloppy: bool = False,
) -> Wanted:
    """Return what a line of fstab asks for. `source` is a configured name or else the workspace.

    `names` tells what is configured in the file that the option `config` gives, None: in those that are
    installed. Raises WrongOption for an option that is unknown, unless `sloppy`.
    """
    from mountfs.daemon.config.file import MountKeys

    config = None
    assignments = []
    for option in filter(None, options.split(",")):
        key, sign, value = option.partition("=")
        if option in _FLAGS:
            assignments.append(_FLAGS[option])
        elif key == "config" and sign:
            config = value
        elif key in MountKeys.model_fields and sign:
            assignments.append(option)
        elif option not in _IGNORED and not key.startswith(("x-", "X-", "comment")) and not sloppy:
            raise WrongOption(f"unknown option {key}")
    name = source if source in names(config) else None
    if name is None and not any(each.startswith("workspace=") for each in assignments):
        assignments.append(f"workspace={source}")
    return Wanted(name, config, (*assignments, f"mountpoint={directory}"))


def mount(arguments: Sequence[str] | None = None) -> int:
    """What `mount.fuse.mountfs SOURCE DIR [-fnrsvw] [-N NS] [-t TYPE] [-o OPTIONS]` does."""
    parser = argparse.ArgumentParser("mount.fuse.mountfs", add_help=True)
    parser.add_argument("source")
    parser.add_argument("directory")
    parser.add_argument("-o", dest="options", action="append", default=[])
    parser.add_argument("-f", dest="fake", action="store_true")
    parser.add_argument("-s", dest="sloppy", action="store_true")
    parser.add_argument("-r", dest="read_only", action="store_true")
    _ignore(parser, "-n", "-v", "-w")
    given = _parse(parser, arguments)
    if given is None:
        return _WRONG_CALL
    options = ",".join([*given.options, *(["ro"] if given.read_only else [])])
    return _mount(given, options)


def _mount(given: argparse.Namespace, options: str) -> int:
    from mountfs.cli.main import main
    from mountfs.daemon.errors import ConfigurationRefused

    try:
        wanted = translate(given.source, given.directory, options, _configured, sloppy=given.sloppy)
    except (WrongOption, ConfigurationRefused) as error:
        print(f"mount.fuse.mountfs: {error}", file=sys.stderr)
        return _WRONG_CALL if isinstance(error, WrongOption) else _FAILED
    if given.fake:
        return 0
    command = ["mount", *(["--config", wanted.config] if wanted.config else [])]
    for assignment in wanted.assignments:
        command += ["--set", assignment]
    return _told(main([*command, *([wanted.name] if wanted.name else [])]))


def _configured(config: str | None) -> Collection[str]:
    """Raises ConfigurationRefused for a file that is given and has a fault."""
    from mountfs.daemon.config.search import in_file, search

    return (in_file(Path(config)) if config is not None else search()).mounts


def unmount(arguments: Sequence[str] | None = None) -> int:
    """What `umount.fuse.mountfs DIR [-flnrv] [-N NS] [-t TYPE]` does: sends what is waiting before it
    unmounts."""
    from mountfs.cli.main import main

    parser = argparse.ArgumentParser("umount.fuse.mountfs", add_help=True)
    parser.add_argument("directory")
    _ignore(parser, "-f", "-l", "-n", "-r", "-v")
    given = _parse(parser, arguments)
    if given is None:
        return _WRONG_CALL
    return _told(main(["umount", given.directory]))


def _ignore(parser: argparse.ArgumentParser, *switches: str) -> None:
    for switch in switches:
        parser.add_argument(switch, action="store_true")
    parser.add_argument("-N", dest="namespace")
    parser.add_argument("-t", dest="filesystem_type")


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace | None:
    try:
        return parser.parse_args(arguments)
    except SystemExit as ended:
        if ended.code == 0:
            raise
        return None


def _told(code: int) -> int:
    """Return mount(8)'s code. Changes that are left in the journal are safe, and the unmount is done."""
    return 0 if code in (ExitCode.OK, ExitCode.DATA_LEFT) else _FAILED
