"""Time in microseconds: the wall clock, in seconds on the wire; and for locks the time since the boot."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

SECOND_US = 1_000_000


def now_us() -> int:
    """The wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


def lock_clock_us() -> int:
    """The time since the boot, that of a sleep included: it never jumps, so no lock ends before its time."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def boot_id() -> str:
    """The name of this boot; the clock of locks begins anew with each."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def wire_time(moment_us: int) -> str:
    """The wire's form, `2026-05-18 19:26:25 UTC`."""
    return _wire_second(moment_us // SECOND_US)


@lru_cache(maxsize=4096)  # rows that were changed together, and all answers of one second, tell the same
def _wire_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S} UTC"


def parse_wire_time(text: str) -> int | None:
    """Microseconds of a `YYYY-MM-DD hh:mm:ss UTC` text, None when it is none."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * SECOND_US
