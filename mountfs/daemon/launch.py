"""Starts the daemon in the background and waits until the mount answers, or says why it does not."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from mountfs.daemon.errors import ReportedError, StartFailed, StartTimedOut
from mountfs.daemon.log_setup import LOG_NAME
from mountfs.daemon.running import shown
from mountfs.daemon.settings import MountSettings

START_TIMEOUT_S = 60.0
SECRET_VARIABLES = ("MOUNTFS_TOKEN",)
"""What no process that we start inherits."""

_GRACE_S = 5.0
_MAX_NOISE_BYTES = 64 * 1024


class Launch:
    """A daemon on its way: it loads its program while its settings are still made. Made by `launching`."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def start(self, settings: MountSettings, *, timeout_s: float = START_TIMEOUT_S) -> int:
        """Give the daemon its settings; return its pid when its mount answers. Once.

        Raises ReportedError with the daemon's own reason, StartFailed when it died without one,
        StartTimedOut when it was not ready within `timeout_s`.
        """
        child = self._child
        assert child.stdin is not None
        _hand_over(child.stdin, settings)
        _wait_ready(child, settings, timeout_s)
        # The daemon outlives this process on purpose; Popen would warn of a child that is still running.
        child.returncode = 0
        return child.pid


@contextmanager
def launching(module: str = "mountfs.daemon") -> Iterator[Launch]:
    """Give a daemon to be started within the block; where it is not, what was begun of it is gone then."""
    child = _spawn(module)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    with child.stdout, child.stderr:
        try:
            yield Launch(child)
        finally:
            if child.returncode is None:
                _end(child)
                child.stdin.close()


def start_in_background(
    settings: MountSettings, *, timeout_s: float = START_TIMEOUT_S, module: str = "mountfs.daemon"
) -> int:
    """Return the pid of a daemon whose mount answers. Raises as `Launch.start`; whatever was started is gone
    then."""
    with launching(module) as daemon:
        return daemon.start(settings, timeout_s=timeout_s)


def _spawn(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES},
        start_new_session=True,
    )


def _hand_over(pipe: IO[bytes], settings: MountSettings) -> None:
    try:
        with pipe:
            pipe.write(settings.dump().encode())
    except BrokenPipeError:
        return  # it is dead already: what it said on the way is read next


def _wait_ready(child: subprocess.Popen[bytes], settings: MountSettings, timeout_s: float) -> None:
    outcome, noise = _first_line(child, time.monotonic() + timeout_s)
    log_path = shown(str(settings.cache_dir / LOG_NAME))
    if outcome is None:
        raise StartTimedOut(
            f"the mount did not answer within {timeout_s:.0f} s, so its daemon was ended",
            hint=f"see {log_path}",
        )
    if not outcome:
        raise StartFailed(
            f"the daemon died before the mount answered ({_ending(child)}){_last_words(noise)}",
            hint=f"see {log_path}",
        )
    told = json.loads(outcome)
    if "ready" not in told:
        raise ReportedError(told["message"], hint=told["hint"], types=tuple(told["types"]))


def _first_line(child: subprocess.Popen[bytes], deadline: float) -> tuple[bytes | None, bytes]:
    """Return the line that the child tells (None: not in time; empty: it never will), and its noise."""
    told = {child.stdout: b"", child.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for pipe in told:
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            for key, _events in selector.select(left):
                piece = os.read(key.fd, 64 * 1024)
                pipe = child.stdout if key.fileobj is child.stdout else child.stderr
                told[pipe] = (told[pipe] + piece)[-_MAX_NOISE_BYTES:]
                if not piece:
                    selector.unregister(key.fileobj)
                if pipe is child.stdout and (not piece or piece.endswith(b"\n")):
                    return told[child.stdout], told[child.stderr]
    return None, told[child.stderr]


def _ending(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        return "it closed its channel"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _last_words(noise: bytes) -> str:
    lines = noise.decode("utf-8", "backslashreplace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child, gently first: one that has mounted already unmounts."""
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
