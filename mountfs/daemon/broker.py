"""Mounts for a daemon without rights: opens /dev/fuse, mounts, and hands the descriptor to a program of a
user.

It keeps nothing but the right to take the mount away again, and does that when the program asks or ends.
"""

import ctypes
import errno
import logging
import os
import pwd
import selectors
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.running import shown
from mountfs.daemon.signals import has_terminal
from mountfs.kernel import mounts, preflight
from mountfs.kernel.handed_device import BROKER_VARIABLE, DETACH, DEVICE_VARIABLE, UNMOUNT
from mountfs.kernel.mounting import mount_device
from mountfs.kernel.mounts import Mount

log = logging.getLogger(__name__)

_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NO_PROGRAM: Final = 127
_PR_SET_NO_NEW_PRIVS: Final = 38
_WATCHDOG_PID: Final = "WATCHDOG_PID"


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the daemon is to be."""

    name: str
    uid: int
    gid: int
    home: str


def account(name: str) -> Account:
    """Return the user. Raises ConfigurationRefused for one that there is not, and for root."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationRefused(f"there is no user {shown(name)}") from None
    if found.pw_uid == 0:
        raise ConfigurationRefused(
            "the daemon would be root", hint="name a user without rights, or use no broker"
        )
    return Account(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def serve(mountpoint: Path, user: Account, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Mount, run the command as `user` until it ends, take the mount away, and return the command's exit
    code, as
    a shell would tell it. Signals to stop or to reload are passed on."""
    place = str(mountpoint)
    mounts.clear_dead_mount(place)
    preflight.check_mountpoint(place)
    preflight.check_fuse(allow_other=True)
    device = mount_device(place, uid=user.uid, gid=user.gid, source="mountfs")
    mount = mounts.mount_at(place)
    assert mount is not None, "it was mounted just now"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Blocked until they are waited for, so that none is lost between the fork and then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    try:
        child = os.fork()
        if child == 0:
            _become(user, device, theirs, command, environment)
        # What is open here would keep the mount waiting when the program is gone.
        os.close(device)
        theirs.close()
        return _attend(child, ours, mount)
    finally:
        if mounts.is_attached(mount):
            mounts.unmount(mount, lazy=True)


def _become(
    user: Account, device: int, channel: socket.socket, command: Sequence[str], inherited: Mapping[str, str]
) -> NoReturn:
    """In the child: give the rights away and turn into the command."""
    try:
        os.setsid()
        os.initgroups(user.name, user.gid)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        for descriptor in (device, channel.fileno()):
            os.set_inheritable(descriptor, True)
        environment = {
            # Folders of the one who started this are not the daemon's.
            **{name: value for name, value in inherited.items() if not name.startswith("XDG_")},
            "HOME": user.home,
            "USER": user.name,
            "LOGNAME": user.name,
            DEVICE_VARIABLE: str(device),
            BROKER_VARIABLE: str(channel.fileno()),
        }
        if _WATCHDOG_PID in environment:
            environment[_WATCHDOG_PID] = str(os.getpid())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_PASSED_ON, signal.SIGCHLD})
        os.execvpe(command[0], list(command), environment)  # noqa: S606 - what the caller asks for
    except OSError as error:
        log.error("%s cannot be started as %s: %s", shown(command[0]), user.name, error.strerror)
    finally:
        os._exit(_NO_PROGRAM)


def _attend(child: int, channel: socket.socket, mount: Mount) -> int:
    """Pass signals on and answer requests until the child has ended; return how."""
    wakeup, woken = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    for number in (*_PASSED_ON, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_PASSED_ON, signal.SIGCHLD})
    with wakeup, woken, channel, selectors.DefaultSelector() as selector:
        selector.register(woken, selectors.EVENT_READ)
        selector.register(channel, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                if key.fileobj is channel:
                    if not _answer(channel, mount):
                        selector.unregister(channel)
                    continue
                _pass_on(child, woken.recv(64))
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    signal.set_wakeup_fd(-1)
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code


def _pass_on(child: int, arrived: bytes) -> None:
    for number in arrived:
        if number == signal.SIGHUP and has_terminal():
            os.kill(child, signal.SIGTERM)  # the child has no terminal that could be gone
        elif number in _PASSED_ON:
            os.kill(child, number)


def _answer(channel: socket.socket, mount: Mount) -> bool:
    """Do what is asked; False: nobody will ask any more."""
    try:
        request = channel.recv(64)
        if request:
            channel.send(str(_take_away(request, mount)).encode())
    except OSError:
        return False
    return bool(request)


def _take_away(request: bytes, mount: Mount) -> int:
    if request not in (UNMOUNT, DETACH):
        return errno.EINVAL
    return 0 if mounts.unmount(mount, lazy=request == DETACH) else errno.EBUSY
