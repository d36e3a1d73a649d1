"""Opens /dev/fuse and mounts it, for a daemon that has no right to."""

import ctypes
import os
from typing import Final

from mountfs.kernel.mounts import FILESYSTEM_TYPE
from mountfs.kernel.preflight import FUSE_DEVICE
from mountfs.model.errors import FuseUnavailable

_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4


def mount_device(mountpoint: str, *, uid: int, gid: int, source: str) -> int:
    """Return the device of a new mount that a daemon of this user is to serve; every user may enter it, and
    the
    kernel checks modes. The descriptor is not inherited. Raises FuseUnavailable.

    Until a daemon serves the device whoever looks at the mount waits; closing it ends that with an error.
    """
    device = os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={device},rootmode=40000,user_id={uid},group_id={gid},default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    outcome = libc.mount(
        source.encode(),
        os.fsencode(mountpoint),
        FILESYSTEM_TYPE.encode(),
        ctypes.c_ulong(_MS_NOSUID | _MS_NODEV),
        data.encode(),
    )
    if outcome != 0:
        reason = os.strerror(ctypes.get_errno())
        os.close(device)
        raise FuseUnavailable(
            f"{mountpoint}: mounting failed ({reason})", hint="the broker needs CAP_SYS_ADMIN"
        )
    return device
