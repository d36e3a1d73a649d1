"""What this machine has of what a mount needs, for `mountfs doctor`. Looks, and changes nothing."""

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountfs.kernel import extension, preflight

_STATUS: Final = Path("/proc/self/status")
_CAP_SYS_ADMIN: Final = 21
_PASSTHROUGH_SINCE: Final = (6, 9)


@dataclass(frozen=True, slots=True)
class Finding:
    """`hint` says what to do where `ok` is false."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def findings() -> list[Finding]:
    return [_kernel(), _fuse_device(), _mounting(), _extension(), _abort(), _passthrough()]


def has_mount_capability() -> bool:
    """Whether this process has CAP_SYS_ADMIN (in its own user namespace)."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", _STATUS.read_text(), re.MULTILINE)
    return effective is not None and bool(int(effective[1], 16) >> _CAP_SYS_ADMIN & 1)


def _kernel() -> Finding:
    return Finding("kernel", True, f"{platform.system()} {platform.release()}")


def _fuse_device() -> Finding:
    problem = preflight.fuse_device_problem()
    if problem is None:
        return Finding("fuse device", True, f"{preflight.FUSE_DEVICE} can be opened")
    return Finding("fuse device", False, *problem)


def _mounting() -> Finding:
    helper = shutil.which("fusermount3")
    if os.geteuid() == 0 and has_mount_capability():
        return Finding("right to mount", True, "root with CAP_SYS_ADMIN")
    if helper is None:
        return Finding("right to mount", False, "fusermount3 is missing", "install the package fuse3")
    return Finding("right to mount", True, f"by {helper}")


def _extension() -> Finding:
    if not extension.AVAILABLE:
        hint = "install a C compiler, pkg-config and libfuse3-dev, then install mountfs again"
        return Finding("locks across hosts", False, f"no C extension: {extension.REASON}", hint)
    from mountfs.kernel import _extras

    return Finding("locks across hosts", True, f"C extension loaded, libfuse {_extras.libfuse_version()}")


def _abort() -> Finding:
    if Path("/sys/fs/fuse/connections").is_mount():
        return Finding("abort of a connection", True, "the control file system of FUSE is mounted")
    if has_mount_capability():
        return Finding("abort of a connection", True, "by umount -f")
    hint = "mount -t fusectl none /sys/fs/fuse/connections"
    return Finding("abort of a connection", False, "no control file system of FUSE", hint)


def _passthrough() -> Finding:
    """A mount works the same without it. `mountfs status` tells whether a mount has it."""
    if not extension.AVAILABLE:
        return Finding("passthrough", False, "no C extension")
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    new_enough = release is not None and (int(release[1]), int(release[2])) >= _PASSTHROUGH_SINCE
    wanted = ".".join(map(str, _PASSTHROUGH_SINCE))
    permitted = has_mount_capability()
    kernel = f"the kernel is {'' if new_enough else 'not '}at least {wanted}"
    right = f"CAP_SYS_ADMIN is {'' if permitted else 'not '}there"
    detail = f"{kernel} (its configuration is not known), {right}"
    return Finding("passthrough", new_enough and permitted, detail)
