"""The program that goes on with a running mount in the process of the one before; see `handover`.

Started by `handover.become` and by `upgrading.Upgrading` only. This one logs to the file of a daemon in the
background; a mount in the foreground has one of its own.
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from mountfs import __version__
from mountfs.daemon import handover
from mountfs.daemon.errors import UpgradeRefused, first_cause
from mountfs.daemon.handover import FreshStart, Handover, Offer
from mountfs.daemon.log_setup import log_to_file
from mountfs.daemon.runner import run
from mountfs.daemon.running import StopReport, shown
from mountfs.daemon.settings import MountSettings
from mountfs.daemon.signals import admit_held_signals
from mountfs.kernel.handed_device import HandedDevice
from mountfs.kernel.mounts import mount_at
from mountfs.model.errors import MountfsError

log = logging.getLogger(handover.BACKGROUND)  # also where this is the main module


def serve(arguments: Sequence[str], log_to: Callable[[MountSettings], None], *, successor: str) -> StopReport:
    """Go on as the arguments say, until the mount ends. `successor`: the module that does it the next time.

    Where a mount that was handed over cannot be served it is made anew, by another program in this process.
    Raises what `runner.run` does.
    """
    task, text = arguments
    passed = handover.take_text(int(text))
    admit_held_signals()
    if task == handover.ANEW:
        start = FreshStart.model_validate_json(passed)
        settings = MountSettings.load(start.settings)
        log_to(settings)
        return run(settings, _nobody_waits, successor=successor, passed=start)
    given = Handover.model_validate_json(passed)
    settings = replace(MountSettings.load(given.settings), device=_device(given))
    log_to(settings)
    return _go_on(given, settings, successor)


def _go_on(given: Handover, settings: MountSettings, successor: str) -> StopReport:
    serving = False

    def ready() -> None:
        nonlocal serving
        serving = True
        log.info("version %s goes on with the mount at %s", __version__, settings.mountpoint)

    try:
        return run(settings, ready, successor=successor, passed=given)
    except Exception as error:
        if serving or not _can_mount_anew(given, settings):
            raise
        reason = _one_line(error)
        log.exception("the mount cannot be taken over; mounting anew, and what programs have open breaks")
        _mount_anew(given, reason, successor)


def _mount_anew(given: Handover, reason: str, successor: str) -> NoReturn:
    """By a program of its own, so that nothing is left of the attempt."""
    for descriptor in given.descriptors.all():
        with suppress(OSError):  # closed by the attempt
            os.set_inheritable(descriptor, False)
    fresh = FreshStart(settings=given.settings, upgrades=given.upgrades, failure=reason)
    handover.become(successor, handover.ANEW, fresh)


def _can_mount_anew(given: Handover, settings: MountSettings) -> bool:
    """Not where somebody else makes the mount, and not where somebody unmounted it meanwhile."""
    found = mount_at(str(settings.mountpoint))
    is_there = found is not None and found.device_minor == given.connection.device_minor
    return is_there and given.descriptors.made_here


def _device(given: Handover) -> HandedDevice:
    passed = given.descriptors
    for descriptor in passed.all():
        os.set_inheritable(descriptor, False)
    broker = None if passed.broker is None else socket.socket(fileno=passed.broker)
    return HandedDevice(passed.device, broker, made_here=passed.made_here)


def _nobody_waits() -> None:
    """Whoever asked for the upgrade asks the mount itself how it went."""


def _one_line(error: BaseException) -> str:
    cause = first_cause(error)
    return shown(cause.message if isinstance(cause, MountfsError) else f"{type(cause).__name__}: {cause}")


def answer_check() -> None:
    """Tell on standard output, as `check` does, about the offer on standard input."""
    print(json.dumps(check(sys.stdin.read())))


def check(text: str) -> dict[str, str]:
    """Try everything that going on with the offered mount takes and that touches nothing of it. Returns this
    version, or why it cannot go on."""
    try:
        offer = handover.parsed_offer(text)
        _rehearse(offer, MountSettings.load(offer.settings))
    except Exception as error:
        return {"refused": _one_line(error)}
    return {"version": __version__}


def _rehearse(offer: Offer, settings: MountSettings) -> None:
    from mountfs.daemon import compose  # what serves has to be there, and is in the page cache then
    from mountfs.kernel.rehearsal import rehearse

    if not Path(settings.mountpoint).is_absolute():
        raise UpgradeRefused(f"{settings.mountpoint} is not absolute")
    rehearse(compose.mount_options(settings, source="rehearsal", predecessor=None), offer.connection)


def main(arguments: Sequence[str]) -> int:
    if arguments[0] == handover.CHECK:
        answer_check()
        return 0
    try:
        serve(arguments, log_to_file, successor=handover.BACKGROUND)
    except Exception:
        log.exception("the daemon failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
