"""The entry point: finds the command, and turns every error into one line and an exit code."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

import click

from mountfs import __version__
from mountfs.cli import exit_codes
from mountfs.cli.exit_codes import ExitCode
from mountfs.cli.paths import state_dir
from mountfs.daemon.running import shown
from mountfs.model.errors import MountfsError

_COMMANDS = (
    *("login", "logout", "whoami", "workspaces"),
    *("mount", "umount", "upgrade", "up", "down", "broker"),
    *("status", "health", "sync", "locks", "unlock"),
    *("conflicts", "retry", "discard"),
    *("pin", "unpin", "prefetch"),
    *("versions", "cat", "restore", "trash", "search", "log"),
    *("serve", "config", "doctor"),
)


class _LazyGroup(click.Group):
    """Imports a command's module when it is called or described, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return cast("click.Command", import_module(f"mountfs.cli.{cmd_name}").command)


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExit codes:\n" + exit_codes.as_text(),
)
@click.version_option(__version__, prog_name="mountfs", message="%(prog)s %(version)s")
def program() -> None:
    """A remote workspace as an ordinary directory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors are one line on standard error, never a traceback; who
    names no command where one is needed gets the help there."""
    try:
        outcome = program.main(args=arguments, prog_name="mountfs", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return ExitCode.USAGE
    except click.ClickException as error:
        return _say(_usage_line(error), ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", ExitCode.INTERRUPTED)
    except MountfsError as error:
        line = f"{error.message}; {error.hint}" if error.hint else error.message
        return _say(line, exit_codes.for_error(error))
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        if isinstance(error, OSError) and _is_nowhere():
            return _say(
                "the current directory is gone; cd to it, or elsewhere, and try again", ExitCode.USAGE
            )
        return _say(f"unexpected error: {error!r}{_keep_traceback()}", ExitCode.UNEXPECTED)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _say(line: str, code: ExitCode) -> int:
    print(f"mountfs: {' '.join(shown(line).split())}", file=sys.stderr)
    return code


def _is_nowhere() -> bool:
    """Tell whether the current directory was removed, or went with a mount that was replaced since."""
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _usage_line(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "mountfs"
    return f"{error.format_message().rstrip('.')}; see {command} --help"


def _reader_left() -> int:
    # The interpreter flushes standard output once more at exit, which would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.UNEXPECTED


def _keep_traceback() -> str:
    path: Path = state_dir() / "errors.log"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), errors="backslashreplace")
    except OSError:
        return ""
    return f"; details in {path}"
