"""What is mounted, whether it is alive, and taking it down. Needs no daemon, and never waits unbounded.

Nothing here touches a mounted directory from this process: a dead daemon's mount could hold it for ever.
"""

import errno
import logging
import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from mountfs.kernel import child

_log = logging.getLogger(__name__)

FILESYSTEM_TYPE: Final = "fuse.mountfs"
ANSWER_LIMIT_S: Final = 5.0

READ_AHEAD_KIB: Final = 512
"""Of the kernel, which is also the size of its largest reads: four times its own, so that a stream costs a
quarter of the requests. A fault in a mapping reads as much around it."""

_READ_AHEAD: Final = "/sys/class/bdi/{}:{}/read_ahead_kb"
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
_MNT_FORCE: Final = 1
_MNT_DETACH: Final = 2


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    mountpoint: str
    filesystem_type: str
    source: str
    device_major: int
    device_minor: int
    read_only: bool

    @property
    def is_ours(self) -> bool:
        return self.filesystem_type == FILESYSTEM_TYPE


class MountState(Enum):
    LIVE = "live"
    DEAD = "dead"
    SILENT = "silent"
    """No answer in time: a busy daemon, or one that was stopped."""


def parse_mountinfo(content: bytes) -> list[Mount]:
    """Parse /proc/self/mountinfo; later mounts come later, also over the same directory."""
    return [_parse_line(line) for line in content.splitlines()]


def mounts() -> list[Mount]:
    return parse_mountinfo(_MOUNTINFO.read_bytes())


def mountfs_mounts() -> list[Mount]:
    return [mount for mount in mounts() if mount.is_ours]


def mount_at(path: str) -> Mount | None:
    """The topmost mount on exactly this directory. Does not touch the directory itself."""
    parent, name = os.path.split(os.path.abspath(path))
    place = os.path.join(os.path.realpath(parent), name)
    return next((mount for mount in reversed(mounts()) if mount.mountpoint == place), None)


def state_of(mount: Mount, *, limit_s: float = ANSWER_LIMIT_S) -> MountState:
    """Ask the mount. Dead is what has lost its daemon; any answer of a daemon counts as life."""
    match child.statvfs_errno(mount.mountpoint, limit_s=limit_s):
        case None:
            return MountState.SILENT
        case errno.ENOTCONN | errno.ECONNABORTED:
            return MountState.DEAD
        case _:
            return MountState.LIVE


def clear_dead_mount(path: str) -> bool:
    """Take away what a killed daemon left at `path`; True if there was something, and it is gone.

    Leaves alone what answers, what is silent, and what is not of mountfs.
    """
    mount = mount_at(path)
    if mount is None or not mount.is_ours or state_of(mount) is not MountState.DEAD:
        return False
    return unmount(mount, lazy=True)


def unmount(mount: Mount, *, lazy: bool, limit_s: float = ANSWER_LIMIT_S) -> bool:
    """Unmount; `lazy` also while it is in use. False: busy, not permitted, or no answer in time."""
    if os.geteuid() == 0:
        outcome = child.umount_errno(mount.mountpoint, _MNT_DETACH if lazy else 0, limit_s=limit_s)
    else:
        outcome = child.fusermount_status(mount.mountpoint, lazy=lazy, limit_s=limit_s)
    return outcome == 0


def abort_connection(mount: Mount, *, limit_s: float = ANSWER_LIMIT_S) -> bool:
    """The last resort: end every request of this mount with an error, whatever the daemon does.

    Works where the control file system of FUSE is mounted, and else for root. False: neither.
    """
    try:
        (_CONNECTIONS / str(mount.device_minor) / "abort").write_bytes(b"1")
    except OSError as error:
        _log.debug("no control file for the connection of %s: %s", mount.mountpoint, error)
    else:
        return True
    flags = _MNT_FORCE | _MNT_DETACH
    if is_attached(mount) and child.umount_errno(mount.mountpoint, flags, limit_s=limit_s) == 0:
        return True
    return child.abort_errno(mount.device_minor, limit_s=limit_s) == 0


def widen_read_ahead(mount: Mount) -> bool:
    """Let the kernel read ahead in large requests; to be called before its first request is answered.

    False where that is not permitted: its requests have 128 KiB then.
    """
    try:
        place = _READ_AHEAD.format(mount.device_major, mount.device_minor)
        Path(place).write_text(str(READ_AHEAD_KIB))
    except OSError as error:
        _log.debug("the read-ahead of %s stays as it is: %s", mount.mountpoint, error)
        return False
    return True


def is_attached(mount: Mount) -> bool:
    """Whether this mount, and not another one in its place, is what its directory shows."""
    found = mount_at(mount.mountpoint)
    return found is not None and found.device_minor == mount.device_minor and found.source == mount.source


def _parse_line(line: bytes) -> Mount:
    before, after = line.split(b" - ", 1)
    _, _, device, _, mountpoint, options, *_ = before.split(b" ")
    filesystem_type, source, *_ = after.split(b" ")
    major, minor = device.split(b":")
    return Mount(
        mountpoint=_unescape(mountpoint),
        filesystem_type=_unescape(filesystem_type),
        source=_unescape(source),
        device_major=int(major),
        device_minor=int(minor),
        read_only=b"ro" in options.split(b","),
    )


def _unescape(field: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field))
