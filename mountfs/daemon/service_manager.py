"""Tells a service manager how the mount is, as systemd's sd_notify does. Without one nothing happens."""

import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

log = logging.getLogger(__name__)

_ADDRESS: Final = "NOTIFY_SOCKET"
_WATCHDOG_US: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_END_S: Final = 60.0
"""What an end may take besides its uploads: the watchdog of the daemon is quicker."""


def tell(*states: str) -> bool:
    """Send states such as READY=1; False where nobody listens. Never raises, never waits."""
    address = os.environ.get(_ADDRESS, "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send("\n".join(states).encode())
    except OSError as error:
        log.warning("the service manager does not take a message: %s", error.strerror)
        return False
    return True


def tell_ready(status: str) -> None:
    tell("READY=1", f"STATUS={status}")


def tell_reloading(status: str = "reading the configuration") -> None:
    tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", f"STATUS={status}")


def tell_stopping(drain_timeout_s: float) -> None:
    """Also asks for as much time as the end may take."""
    limit_us = round((drain_timeout_s + _END_S) * 1_000_000)
    tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={limit_us}", f"STATUS=sending, at most {drain_timeout_s:.0f} s")


def watchdog_interval_s() -> float | None:
    """How often the service manager wants a sign of life; None: it does not. A third of its limit."""
    if os.environ.get(_WATCHDOG_PID, str(os.getpid())) != str(os.getpid()):
        return None
    try:
        limit_s = int(os.environ.get(_WATCHDOG_US, "0")) / 1_000_000
    except ValueError:
        return None
    return limit_s / 3 if limit_s > 0 else None


async def give_signs_of_life(is_alive: Callable[[], Awaitable[bool]]) -> None:
    """Tell the watchdog for as long as `is_alive` says so; without a watchdog return at once."""
    interval_s = watchdog_interval_s()
    if interval_s is None:
        return
    while True:
        if await is_alive():
            tell("WATCHDOG=1")
        else:
            log.error("the mount does not answer, so the watchdog gets no sign of life")
        await trio.sleep(interval_s)
