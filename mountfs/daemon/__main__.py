"""The background daemon: settings come by standard input, the outcome of the start goes to standard output.

Started by `launch.start_in_background` only. The token comes with the settings, so that it is neither in
the arguments nor in the environment of the process.
"""

import json
import logging
import os
import sys
from importlib import import_module

from mountfs.daemon.errors import first_cause, type_names
from mountfs.daemon.handover import BACKGROUND
from mountfs.daemon.log_setup import log_to_file
from mountfs.daemon.runner import prepare_cache_dir, run
from mountfs.daemon.running import shown
from mountfs.daemon.settings import MountSettings
from mountfs.model.disk import Disk
from mountfs.model.errors import MountfsError
from mountfs.storage.system_disk import SYSTEM_DISK

log = logging.getLogger(__name__)


class _Launcher:
    """The process that waits for the mount; told exactly once, after which the channel is closed."""

    def __init__(self) -> None:
        self._descriptor: int | None = os.dup(1)
        os.set_inheritable(self._descriptor, False)

    def tell(self, outcome: dict[str, object]) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(outcome).encode() + b"\n")
        except BrokenPipeError:
            log.warning("nobody waits for the mount any more")
        finally:
            os.close(self._descriptor)
            self._descriptor = None


def main(disk: Disk = SYSTEM_DISK) -> int:
    launcher = _Launcher()
    import_module("mountfs.daemon.compose")  # heavy: while the launcher still makes the settings
    settings = MountSettings.load(sys.stdin.read())
    _detach()
    try:
        prepare_cache_dir(settings.cache_dir)
        log_to_file(settings)
        run(settings, lambda: launcher.tell({"ready": True}), successor=BACKGROUND, disk=disk)
    except MountfsError as error:
        log.exception("the mount failed")
        launcher.tell(
            {"message": shown(error.message), "hint": shown(error.hint), "types": type_names(error)}
        )
        return 1
    except Exception as error:
        log.exception("the daemon failed")
        cause = first_cause(error)
        line = f"the daemon failed: {type(cause).__name__}: {cause}"
        hint = f"{settings.cache_dir / 'daemon.log'} has the whole story"
        launcher.tell({"message": shown(line), "hint": shown(hint), "types": type_names(error)})
        return 1
    return 0


def _detach() -> None:
    """Keep nothing of the launcher: its terminal, folder and umask are not the daemon's."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    os.chdir("/")
    os.umask(0o077)


if __name__ == "__main__":
    sys.exit(main())
