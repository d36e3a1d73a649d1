"""A FUSE device that somebody with more rights opened and mounted, and handed to this process.

The environment names descriptors: `MOUNTFS_FUSE_FD` is the device of a mount that is made already;
`MOUNTFS_BROKER_FD`, where there is one, a socket to who made it. To that, one datagram `unmount` or
`detach` (of a
mount that is in use) asks to take the mount away, and the answer is the errno of that in decimal, 0 for
success.
"""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from mountfs.model.errors import FuseUnavailable

DEVICE_VARIABLE: Final = "MOUNTFS_FUSE_FD"
BROKER_VARIABLE: Final = "MOUNTFS_BROKER_FD"
UNMOUNT: Final = b"unmount"
DETACH: Final = b"detach"


@dataclass(frozen=True, slots=True)
class HandedDevice:
    """`broker`: takes the mount away on request; None: nobody does, unless `made_here`: an earlier process of
    this daemon mounted it, so that this one can take it away."""

    descriptor: int
    broker: socket.socket | None
    made_here: bool = False

    def unmount(self, *, lazy: bool, limit_s: float) -> bool:
        """Ask for the mount to be taken away. False: busy, refused, nobody there, or no answer in time."""
        if self.broker is None:
            return False
        self.broker.settimeout(limit_s)
        try:
            self.broker.send(DETACH if lazy else UNMOUNT)
            return self.broker.recv(64) == b"0"
        except OSError:
            return False


def received(environment: MutableMapping[str, str] = os.environ) -> HandedDevice | None:
    """Take what was handed, once: the variables go, and no child inherits the descriptors.

    Raises FuseUnavailable where the variables name nothing usable.
    """
    device = environment.pop(DEVICE_VARIABLE, None)
    channel = environment.pop(BROKER_VARIABLE, None)
    if device is None:
        return None
    try:
        descriptor = int(device)
        os.set_inheritable(descriptor, False)
        broker = None if channel is None else socket.socket(fileno=int(channel))
        if broker is not None:
            broker.set_inheritable(False)
    except (ValueError, OSError) as error:
        raise FuseUnavailable(
            f"{DEVICE_VARIABLE}={device}, {BROKER_VARIABLE}={channel}: no usable descriptors ({error})",
            hint="start the daemon by mountfs broker, or unset these variables",
        ) from error
    return HandedDevice(descriptor, broker)
