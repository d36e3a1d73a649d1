"""Signals as requests to stop or to read the configuration again."""

import logging
import os
import signal

import trio

from mountfs.daemon.running import RunningMount

log = logging.getLogger(__name__)

_LISTENED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def obey_signals(
    running: RunningMount,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Turn SIGTERM and SIGINT into an orderly stop; from the second on it does not wait for uploads.

    SIGHUP reads the configuration again; with a controlling terminal it means that this is gone, and stops
    too.
    Runs until cancelled. From then on these signals are ignored: the mount is ending, and a signal that cut
    that short would leave a dead mount behind.
    """
    for number in _LISTENED:
        signal.signal(number, signal.SIG_IGN)  # what the receiver restores when it is closed
    at_terminal = has_terminal()
    stopping = False
    with trio.open_signal_receiver(*_LISTENED) as arriving:
        task_status.started()
        async for arrived in arriving:
            if arrived == signal.SIGHUP and not at_terminal:
                log.info("SIGHUP: reading the configuration again")
                await running.reload()
                continue
            drain_timeout_s = 0.0 if stopping else running.drain_timeout_s
            log.info("%s: stopping, uploads may take %.0f s", signal.Signals(arrived).name, drain_timeout_s)
            running.request_stop(drain_timeout_s=drain_timeout_s)
            stopping = True


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
