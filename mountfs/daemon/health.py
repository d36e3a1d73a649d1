"""Whether a mount is alive and ready: for the probes of those who look after it, so fast and bounded.

Nothing here imports what a command needs to understand a whole status: a probe runs every few seconds.
"""

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mountfs.daemon.errors import DaemonSilent, NotMounted, NotReady
from mountfs.daemon.mounted import Mounted
from mountfs.daemon.running import shown
from mountfs.daemon.runtime_dir import short_socket_path
from mountfs.kernel import mounts
from mountfs.kernel.mounts import MountState

_QUESTION: Final = b'{"ask": "health"}\n'
_MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """What a daemon that lives says of itself."""

    online: bool
    feed_live: bool
    stopping: bool


def check_live(mounted: Mounted, *, limit_s: float) -> Answered:
    """Return what the daemon answers. Raises DaemonSilent where there is none, or it does not in time."""
    place = shown(str(mounted.mountpoint))
    if mounted.socket is None or not mounted.has_live_daemon:
        raise DaemonSilent(
            f"{place}: no daemon of this user serves it", hint=f"mountfs umount {place} clears it"
        )
    try:
        return _ask(mounted.socket, time.monotonic() + limit_s)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = "it does not react in time" if isinstance(error, TimeoutError) else str(error)
        raise DaemonSilent(f"{place}: the daemon does not answer: {why}") from error


def check_ready(mounted: Mounted, *, limit_s: float) -> Answered:
    """Return what the daemon answers where programs can use the mount.

    The mount itself is asked, past the kernel's caches. A mount is made only when the workspace was reached
    or the cache knew it, so being there shows that too. Raises DaemonSilent, NotMounted, NotReady.
    """
    deadline = time.monotonic() + limit_s
    answered = check_live(mounted, limit_s=limit_s)
    place = shown(str(mounted.mountpoint))
    if mounted.mount is None:
        raise NotMounted(f"{place} is not mounted, though its daemon runs")
    if answered.stopping:
        raise NotReady(f"{place}: the mount is being ended")
    left_s = max(0.1, deadline - time.monotonic())
    if mounts.state_of(mounted.mount, limit_s=left_s) is not MountState.LIVE:
        raise DaemonSilent(f"{place}: the mount does not answer in time")
    return answered


def _ask(path: Path, deadline: float) -> Answered:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_left_s(deadline))
        with short_socket_path(path) as address:
            connection.connect(address)
        connection.sendall(_QUESTION)
        value = _result(connection, deadline)
    return Answered(bool(value["online"]), bool(value["feed_live"]), bool(value["stopping"]))


def _result(connection: socket.socket, deadline: float) -> dict[str, Any]:
    """Return the result among the lines, of which some may only tell that the daemon is at work."""
    received = b""
    while len(received) < _MAX_ANSWER_BYTES:
        connection.settimeout(_left_s(deadline))
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError("it ended while asked")
        received += piece
        for line in received.split(b"\n")[:-1]:
            answer = json.loads(line)
            if answer["answer"] == "result":
                value: dict[str, Any] = answer["value"]
                return value
            if answer["answer"] == "failure":
                raise ConnectionError(str(answer["message"]))
    raise ConnectionError("its answer is not understood")


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
