"""Whether this version could take an open connection over: tried without it. Needs a process of its own."""

import os
from dataclasses import replace
from typing import cast

from mountfs.kernel.handed_device import HandedDevice
from mountfs.kernel.notifier import Notifier
from mountfs.kernel.session import MountOptions, Session
from mountfs.model.filesystem import Filesystem
from mountfs.model.succession import ConnectionState


def rehearse(options: MountOptions, connection: ConnectionState) -> None:
    """Do what a session does before it serves, with a file in memory for a device. Raises FuseUnavailable."""
    device = HandedDevice(os.memfd_create("mountfs-rehearsal", os.MFD_CLOEXEC), None)
    nothing_to_serve = cast("Filesystem", None)
    session = Session(nothing_to_serve, Notifier(), replace(options, device=device, predecessor=connection))
    session.begin(options.mountpoint)
