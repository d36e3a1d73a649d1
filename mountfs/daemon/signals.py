"""Signals as requests to stop or to read the configuration again."""

import logging
import os
import signal
from typing import Final

import trio

from mountfs.daemon.running import RunningMount

log = logging.getLogger(__name__)

_LISTENED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_unheard: Final[list[int]] = []
"""What came while nobody obeyed."""


async def obey_signals(
    running: RunningMount,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Turn SIGTERM and SIGINT into an orderly stop; from the second on it does not wait for uploads.

    SIGHUP reads the configuration again; with a controlling terminal it means that this is gone, and stops
    too.
    Runs until cancelled. From then on these signals are only remembered: the mount is ending, and a signal
    that cut that short would leave a dead mount behind.
    """
    for number in _LISTENED:
        signal.signal(number, _remember)  # what the receiver restores when it is closed
    at_terminal = has_terminal()
    stopping = False
    with trio.open_signal_receiver(*_LISTENED) as arriving:
        while _unheard:
            signal.raise_signal(_unheard.pop(0))
        task_status.started()
        async for arrived in arriving:
            if running.is_left:
                _remember(arrived, None)  # the next process obeys it
                continue
            if arrived == signal.SIGHUP and not at_terminal:
                log.info("SIGHUP: reading the configuration again")
                await running.reload()
                continue
            drain_timeout_s = 0.0 if stopping else running.drain_timeout_s
            log.info("%s: stopping, uploads may take %.0f s", signal.Signals(arrived).name, drain_timeout_s)
            running.request_stop(drain_timeout_s=drain_timeout_s)
            stopping = True


def _remember(number: int, frame: object) -> None:
    _unheard.append(number)


def hold_signals() -> None:
    """Let the signals of `obey_signals` wait, those included that came since it ended: for the program that
    this process is about to become. To be called by the main thread, which is the one that becomes it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _LISTENED)
    for number in _LISTENED:
        # What is sent to the process goes to another thread while one is left, and would end with that.
        signal.signal(number, lambda arrived, _frame: signal.raise_signal(arrived))
    while _unheard:
        signal.raise_signal(_unheard.pop(0))  # to this thread, and it waits there


def admit_held_signals() -> None:
    """The first thing of that program: from here on they are remembered until somebody obeys."""
    for number in _LISTENED:
        signal.signal(number, _remember)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LISTENED)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
