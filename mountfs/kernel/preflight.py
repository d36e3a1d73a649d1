"""Finds out before mounting why it would fail, so that the reason is ours to tell and not libfuse's."""

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from mountfs.kernel.mounts import mount_at
from mountfs.model.errors import FuseUnavailable, MountpointUnusable

FUSE_DEVICE: Final = Path("/dev/fuse")
_FUSE_CONF: Final = Path("/etc/fuse.conf")


def check_mountpoint(mountpoint: str) -> None:
    """Raises MountpointUnusable, with what to do about it."""
    if found := mount_at(mountpoint):
        raise MountpointUnusable(
            f"{mountpoint}: something is mounted here already ({found.filesystem_type}, {found.source})",
            hint=f"unmount it first (umount {mountpoint}), or choose another directory",
        )
    try:
        status = os.stat(mountpoint)
        entries = os.listdir(mountpoint) if stat.S_ISDIR(status.st_mode) else []
    except FileNotFoundError:
        hint = f"create it: mkdir -p {mountpoint}"
        raise MountpointUnusable(f"{mountpoint}: no such directory", hint=hint) from None
    except OSError as error:
        hint = "choose a directory that this user can read and write"
        raise MountpointUnusable(f"{mountpoint}: {error.strerror}", hint=hint) from error
    _check_directory(mountpoint, status, entries)


def check_handed(mountpoint: str) -> None:
    """Raises MountpointUnusable where a mount that somebody made for us is not to be seen."""
    found = mount_at(mountpoint)
    if found is None or not found.is_ours:
        raise MountpointUnusable(
            f"{mountpoint}: the mount whose device was handed over is not here",
            hint="give the daemon the mountpoint that its broker was given",
        )


def check_fuse(*, allow_other: bool) -> None:
    """Raises FuseUnavailable, with what to do about it."""
    device_problem = fuse_device_problem()
    if device_problem:
        message, hint = device_problem
        raise FuseUnavailable(message, hint=hint)
    if os.geteuid() == 0:
        return
    if shutil.which("fusermount3") is None:
        raise FuseUnavailable(
            "fusermount3 is missing, and only root can mount without it", hint="install the package fuse3"
        )
    if allow_other and not _user_may_allow_other():
        raise FuseUnavailable(
            "other users cannot be admitted to this mount", hint=f"add user_allow_other to {_FUSE_CONF}"
        )


def fuse_device_problem() -> tuple[str, str] | None:
    """What keeps /dev/fuse from being used, and what to do; None when it can be opened."""
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        hint = "load the module (modprobe fuse), or start the container with --device /dev/fuse"
        return f"{FUSE_DEVICE} does not exist", hint
    except OSError as error:
        hint = "mount as a user who may open it; a container also needs --device /dev/fuse"
        if error.errno == errno.ENODEV:
            hint = "the kernel has no FUSE: modprobe fuse"
        return f"{FUSE_DEVICE} cannot be opened: {error.strerror}", hint
    return None


def _check_directory(mountpoint: str, status: os.stat_result, entries: list[str]) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise MountpointUnusable(f"{mountpoint}: not a directory", hint="choose an empty directory")
    if entries:
        raise MountpointUnusable(
            f"{mountpoint}: the directory is not empty",
            hint="choose an empty directory; a mount would hide what is in this one",
        )
    if os.geteuid() != 0 and not os.access(mountpoint, os.W_OK):
        raise MountpointUnusable(
            f"{mountpoint}: this user cannot write there", hint="choose a directory of your own"
        )


def _user_may_allow_other() -> bool:
    try:
        lines = _FUSE_CONF.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)
