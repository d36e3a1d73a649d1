"""System calls that may hang on a FUSE mount, done in a child process.

Never in a thread: a thread that waits for an answer of its own dead process keeps that process, and with
it the mount, from ending. A child that hangs is left behind; it ends when its mount does.
"""

import os
import subprocess
import sys
from typing import Final

_STATVFS: Final = "os.statvfs(sys.argv[1])"

_UMOUNT: Final = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.umount2(os.fsencode(sys.argv[1]), int(sys.argv[2])):
    raise OSError(ctypes.get_errno(), "umount2")
"""

_ABORT: Final = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result:
        raise OSError(ctypes.get_errno(), "")
folder, new_namespace, private_below = "/sys/fs/fuse/connections", 0x20000, 0x44000
check(libc.unshare(new_namespace))
check(libc.mount(b"none", b"/", None, private_below, None))
check(libc.mount(b"none", folder.encode(), b"fusectl", 0, None))
with open(f"{folder}/{sys.argv[1]}/abort", "w") as file:
    file.write("1")
"""

_PROGRAM: Final = """
import os, sys
try:
    exec(sys.argv.pop(1))
except OSError as error:
    os._exit(error.errno)
"""

_left_behind: list[subprocess.Popen[bytes]] = []


def statvfs_errno(path: str, *, limit_s: float) -> int | None:
    """The errno of `statvfs(path)`, 0 for success; None without an answer in time.

    Not of `stat`, which the kernel answers from its cache.
    """
    return _run([sys.executable, "-I", "-S", "-c", _PROGRAM, _STATVFS, path], limit_s)


def umount_errno(path: str, flags: int, *, limit_s: float) -> int | None:
    """The errno of `umount2(path, flags)`, 0 for success; None without an answer in time."""
    return _run([sys.executable, "-I", "-S", "-c", _PROGRAM, _UMOUNT, path, str(flags)], limit_s)


def abort_errno(device_minor: int, *, limit_s: float) -> int | None:
    """The errno of aborting a FUSE connection by a control file system that only the child sees; 0 for
    success. Needs root, but no mount that is attached."""
    return _run([sys.executable, "-I", "-S", "-c", _PROGRAM, _ABORT, str(device_minor)], limit_s)


def fusermount_status(path: str, *, lazy: bool, limit_s: float) -> int | None:
    """The exit status of fusermount3, which unmounts for those who are not root; None: not in time."""
    return _run(["fusermount3", "-u", *(["-z"] if lazy else []), "--", path], limit_s)


def _run(command: list[str], limit_s: float) -> int | None:
    _left_behind[:] = [process for process in _left_behind if process.poll() is None]
    process = subprocess.Popen(  # noqa: S603 -- no shell, and the programs are fixed
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=os.sep
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        _left_behind.append(process)
        return None
