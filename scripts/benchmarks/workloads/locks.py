"""Locks: taken when nobody has them, passed on between programs and between mounts, each beside its floor."""

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import httpx

from scripts.benchmarks import bare
from scripts.benchmarks.workloads.base import BLOCK, Bare, NotMeasured, Place, Readings, Unit, Workload

SETTLE_S = 0.005
"""How long a waiter gets to reach the lock before that is passed on to it; not timed."""

REMOTE_SETTLE_S = 0.1
"""The same where the waiter has to be refused by the server first."""

POLL_S = 30

FIRST = 1
"""What the first holder writes: by zeros, which the file has already, there would be no new version."""


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


def _asking(descriptor: int) -> float:
    """The time of one request, made as those of a hand-over are: when nobody asked anything for a while."""
    time.sleep(SETTLE_S)
    return _taking(descriptor)


def _hand_over(holder: int, other: int, settle_s: float = SETTLE_S) -> float:
    """The time from the holder's unlock until the other, who waited, has the lock. Leaves it to the other."""
    ends = []

    def wait() -> None:
        fcntl.flock(other, fcntl.LOCK_EX)
        ends.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(settle_s)
    begin = time.monotonic()
    fcntl.flock(holder, fcntl.LOCK_UN)
    waiter.join()
    return ends[0] - begin


def _there_and_back(first: int, other: int) -> float:
    """One hand-over; the way back is not timed."""
    took = _hand_over(first, other)
    fcntl.flock(other, fcntl.LOCK_UN)
    fcntl.flock(first, fcntl.LOCK_EX)
    return took


def locks(place: Place) -> Readings:
    """`lock.request` takes a lock again that is held: one request that needs no one else."""
    count = place.sizes.lock_operations
    fresh = [place.directory / f"lock{number}" for number in range(max(3, count // 5))]
    with ExitStack() as ends:
        for path in fresh:
            path.write_bytes(b"x")
        if place.confirm is not None:
            place.confirm()
        first, other = (_descriptor(place.directory / "lock", ends) for _ in range(2))
        fcntl.flock(first, fcntl.LOCK_EX)
        asked = _median_us(lambda: _asking(first), count)
        passed = _median_us(lambda: _there_and_back(first, other), count)
        readings = {"lock.request": asked, "lock.hand_over": passed}
        if place.confirm is not None:
            taken = [_taking(_descriptor(path, ends)) for path in fresh]
            readings["lock.first"] = median(taken) * 1e6
    return readings


def remote_locks(place: Place) -> Readings:
    """The lock goes to and fro between two mounts; each holder writes a block that the next one reads."""
    if place.beside is None or place.confirm is None:
        raise NotMeasured("there is no second mount whose locks it knows")
    path = place.directory / "lock"
    path.write_bytes(bytes(BLOCK))
    place.confirm()
    with ExitStack() as ends:
        holder, other = (_descriptor(file, ends) for file in (path, place.beside / "lock"))
        fcntl.flock(holder, fcntl.LOCK_EX)
        taken = []
        for number in range(FIRST, FIRST + max(4, place.sizes.lock_operations // 2)):
            content = number.to_bytes(4, "big") * (BLOCK // 4)
            os.pwrite(holder, content, 0)
            taken.append(_hand_over(holder, other, REMOTE_SETTLE_S))
            if os.pread(other, BLOCK, 0) != content:
                raise OSError("the lock came without what was written under it")
            holder, other = other, holder
        return {"lock.remote_hand_over": median(taken) * 1e6}


class _Client:
    """Takes and gives back the lock of one file by bare calls."""

    def __init__(self, http: httpx.Client, node: str) -> None:
        self._http = http
        self._path = f"workspace/main/storage/{node}/"
        self._token = ""

    def try_to_lock(self) -> bool:
        answer = self._http.post(f"{self._path}lock/")
        if answer.status_code == httpx.codes.CONFLICT:
            return False
        self._token = str(answer.raise_for_status().json()["lock_token"])
        return True

    def look(self) -> None:
        self._http.get(f"{self._path}details/").raise_for_status()

    def unlock(self) -> None:
        self._http.delete(f"{self._path}lock/", params={"lock_token": self._token}).raise_for_status()

    def publish(self, content: bytes) -> None:
        upload = bare.upload_unplaced(self._http, "lock", content)
        bare.place_version(self._http, self._path, upload)

    def wait_for_lock(self, cursor: str) -> None:
        """Told by the poll, as whoever was refused once."""
        while not self.try_to_lock():
            cursor = bare.poll(self._http, cursor, POLL_S)
        self.look()


def bare_locks(place: Place, server: Bare) -> Readings:
    """The floor of `lock.first`: the lock, and a look at what the file is by now."""
    with bare.connected(server) as http:
        node = bare.upload_chunked(http, f"{place.directory.name}-lock", 1)
        client = _Client(http, node)

        def take() -> float:
            begin = time.monotonic()
            if not client.try_to_lock():
                raise NotMeasured("the lock was not granted")
            client.look()
            took = time.monotonic() - begin
            client.unlock()
            return took

        return {"lock.first": _median_us(take, place.sizes.lock_operations)}


def bare_remote_locks(place: Place, server: Bare) -> Readings:
    """The floor of `lock.remote_hand_over`: a new version, the unlock, the poll that tells another client of
    it, its lock and its look."""
    with ExitStack() as ends:
        first, second = (ends.enter_context(bare.connected(server)) for _ in range(2))
        node = bare.upload_chunked(first, f"{place.directory.name}-lock", BLOCK)
        holder, other = _Client(first, node), _Client(second, node)
        waits, released = second, first
        if not holder.try_to_lock():
            raise NotMeasured("the lock was not granted")
        taken = []
        for number in range(FIRST, FIRST + max(4, place.sizes.lock_operations // 2)):
            cursor = bare.poll(waits, "", 0)
            waiter = threading.Thread(target=other.wait_for_lock, args=(cursor,))
            waiter.start()
            time.sleep(REMOTE_SETTLE_S)
            begin = time.monotonic()
            holder.publish(number.to_bytes(4, "big") * (BLOCK // 4))
            holder.unlock()
            waiter.join()
            taken.append(time.monotonic() - begin)
            holder, other, waits, released = other, holder, released, waits
        return {"lock.remote_hand_over": median(taken) * 1e6}


WORKLOADS = (
    Workload(
        "locks",
        dict.fromkeys(("lock.request", "lock.hand_over", "lock.first"), Unit.MICROSECONDS),
        locks,
        bare=bare_locks,
    ),
    Workload(
        "remote_locks",
        {"lock.remote_hand_over": Unit.MICROSECONDS},
        remote_locks,
        on_disk=False,
        bare=bare_remote_locks,
        beside=True,
    ),
)
