"""Locks: passed on between programs of a mount, and taken when nobody has them, each beside its floor."""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from scripts.benchmarks import bare
from scripts.benchmarks.workloads.base import Bare, NotMeasured, Place, Readings, Unit, Workload

SETTLE_S = 0.005
"""How long a waiter gets to reach the lock before that is passed on to it; not timed."""


def _descriptor(path: os.PathLike[str], ends: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    ends.callback(os.close, descriptor)
    return descriptor


def _median_us(work: Callable[[], float], count: int) -> float:
    return median(work() for _ in range(count)) * 1e6


def _taking(descriptor: int) -> float:
    begin = time.monotonic()
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return time.monotonic() - begin


def _hand_over(holder: int, other: int) -> float:
    """The time from the holder's unlock until the other, who waited, has the lock."""
    ends = []

    def wait() -> None:
        fcntl.flock(other, fcntl.LOCK_EX)
        ends.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(SETTLE_S)
    begin = time.monotonic()
    fcntl.flock(holder, fcntl.LOCK_UN)
    waiter.join()
    fcntl.flock(other, fcntl.LOCK_UN)
    fcntl.flock(holder, fcntl.LOCK_EX)
    return ends[0] - begin


def locks(place: Place) -> Readings:
    """`lock.request` takes a lock again that is held: one request that needs no one else."""
    count = place.sizes.delayed_operations
    fresh = [place.directory / f"lock{number}" for number in range(max(3, count // 5))]
    with ExitStack() as ends:
        for path in fresh:
            path.write_bytes(b"x")
        if place.confirm is not None:
            place.confirm()
        first, other = (_descriptor(place.directory / "lock", ends) for _ in range(2))
        fcntl.flock(first, fcntl.LOCK_EX)
        asked = _median_us(lambda: _taking(first), count)
        passed = _median_us(lambda: _hand_over(first, other), count)
        readings = {"lock.request": asked, "lock.hand_over": passed}
        if place.confirm is not None:
            taken = [_taking(_descriptor(path, ends)) for path in fresh]
            readings["lock.first"] = median(taken) * 1e6
    return readings


def bare_locks(place: Place, server: Bare) -> Readings:
    """The floor of `lock.first`: the lock, and a look at what the file is by now."""
    with bare.connected(server) as http:
        node = bare.upload_chunked(http, f"{place.directory.name}-lock", 1)
        path = f"workspace/main/storage/{node}/"

        def take() -> float:
            begin = time.monotonic()
            answer = http.post(f"{path}lock/").json()
            http.get(f"{path}details/")
            took = time.monotonic() - begin
            if "lock_token" not in answer:
                raise NotMeasured("the lock was not granted")
            http.delete(f"{path}lock/", params={"lock_token": answer["lock_token"]})
            return took

        return {"lock.first": _median_us(take, place.sizes.delayed_operations)}


WORKLOADS = (
    Workload(
        "locks",
        dict.fromkeys(("lock.request", "lock.hand_over", "lock.first"), Unit.MICROSECONDS),
        locks,
        bare=bare_locks,
    ),
)
