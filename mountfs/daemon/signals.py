"""Signals as requests to stop."""

import logging
import signal

import trio

from mountfs.daemon.running import RunningMount

log = logging.getLogger(__name__)

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def stop_on_signals(
    running: RunningMount,
    *,
    drain_timeout_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Turn SIGTERM, SIGINT and SIGHUP into an orderly stop; from the second on it does not wait for uploads.

    Runs until cancelled. From then on these signals are ignored: the mount is ending, and a signal that cut
    that short would leave a dead mount behind.
    """
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)  # what the receiver restores when it is closed
    with trio.open_signal_receiver(*_STOPPING) as arriving:
        task_status.started()
        async for arrived in arriving:
            log.info("%s: stopping, uploads may take %.0f s", signal.Signals(arrived).name, drain_timeout_s)
            running.request_stop(drain_timeout_s=drain_timeout_s)
            drain_timeout_s = 0.0
