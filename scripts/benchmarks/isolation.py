"""Calls in a process of their own, with a limit: a mount that hangs must not hang the benchmark."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeVar

from scripts.benchmarks.workloads.base import NotMeasured

Result = TypeVar("Result")
KILL_S = 10.0


class Failed(Exception):
    """The call failed or did not end in time; the text is the reason."""


def isolated(function: Callable[[], Result], limit_s: float) -> Result:
    """Return what the function returns in a child process, with whatever it starts.

    Raises NotMeasured as the function does, and Failed for every other error and after the limit.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(function, sender))
    sys.stdout.flush()
    child.start()
    sender.close()
    try:
        if not receiver.poll(limit_s):
            raise Failed(f"not done within {limit_s:.0f} s")
        try:
            kind, value = receiver.recv()
        except EOFError:
            raise Failed("its process died") from None
    finally:
        receiver.close()
        _end(child.pid or 0)
        child.join(KILL_S)
    if kind == "not measured":
        raise NotMeasured(value)
    if kind == "failed":
        raise Failed(value)
    result: Result = value
    return result


def _call(function: Callable[[], object], sender: Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        sender.send(("done", function()))
    except NotMeasured as error:
        sender.send(("not measured", str(error)))
    except Exception as error:
        sender.send(("failed", f"{type(error).__name__}: {error}"))
    signal.pause()  # until the parent ends the session: nothing it started outlives it


def _end(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
