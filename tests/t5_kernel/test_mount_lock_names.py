"""A lock is of the file, not of its name: files that are new, renamed, replaced or deleted; directories."""

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.server_variants import chosen_behaviour
from tests.t5_kernel.mounted import PATIENCE_S, Mount, World, remote_files
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

NOW = fcntl.LOCK_EX | fcntl.LOCK_NB


@pytest.fixture
def pair(world: World) -> tuple[Mount, Mount]:
    """Two mounts that both see `file`."""
    first, second = world.mount("first"), world.mount("second")
    (first / "file").write_text("old")
    first.sync()
    wait_until((second / "file").exists)
    return first, second


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_free(path: Path) -> bool:
    with opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, NOW)
        except BlockingIOError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True


def wait_for_waiters(mount: Mount, count: int) -> None:
    wait_until(lambda: sum(lock["waiters"] for lock in mount.status()["locks"]) == count, limit_s=PATIENCE_S)


@pytest.mark.skipif(
    chosen_behaviour().twins, reason="the service makes two files of one name, each of which has a lock"
)
def test_lock_file_that_two_hosts_create_at_once_is_one_file(world: World) -> None:
    mounts = [world.mount("first"), world.mount("second")]
    for number in range(5):
        name = f"lock{number}"
        both = [os.open(mount / name, os.O_RDWR | os.O_CREAT) for mount in mounts]
        with ThreadPoolExecutor(2) as threads:
            taking = [threads.submit(fcntl.flock, each, NOW) for each in both]
            errors = [each.exception(PATIENCE_S) for each in taking]
        assert [type(error) for error in errors if error] == [BlockingIOError]
        for descriptor in both:
            os.close(descriptor)
    for mount in mounts:
        mount.sync()
    with world.api() as api:
        assert sorted(remote_files(api)) == [f"lock{number}" for number in range(5)]


def test_lock_through_a_descriptor_for_reading_excludes(pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    with opened(first / "file", os.O_RDONLY) as reader:
        fcntl.flock(reader, NOW)
        assert not is_free(second / "file")
    wait_until(lambda: is_free(second / "file"))


def test_lock_of_a_directory_holds_on_its_mount(pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    with opened(first.place, os.O_RDONLY) as one, opened(first.place, os.O_RDONLY) as two:
        fcntl.flock(one, NOW)
        with pytest.raises(BlockingIOError):
            fcntl.flock(two, NOW)
        with opened(second.place, os.O_RDONLY) as elsewhere:
            fcntl.flock(elsewhere, NOW)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(two, NOW)


@pytest.mark.skipif(
    chosen_behaviour().lock_end == "version",
    reason="the service ends the lock with the rename: until it is taken again anybody may take it",
)
@pytest.mark.parametrize("renamer", [0, 1], ids=["by its holder's mount", "by the other mount"])
def test_file_that_is_renamed_stays_locked(pair: tuple[Mount, Mount], renamer: int) -> None:
    if renamer and chosen_behaviour().locks == "enforced":
        pytest.skip("the service refuses a rename by others than the holder of the lock")
    first, second = pair
    with opened(first / "file") as holder:
        fcntl.flock(holder, NOW)
        (pair[renamer] / "file").rename(pair[renamer] / "moved")
        wait_until((pair[1 - renamer] / "moved").exists)
        assert not is_free(first / "moved")
        assert not is_free(second / "moved")
        os.pwrite(holder, b"new", 0)
        fcntl.flock(holder, fcntl.LOCK_UN)
        with opened(second / "moved") as next_holder:
            fcntl.flock(next_holder, fcntl.LOCK_EX)
            assert os.pread(next_holder, 9, 0) == b"new"


def test_file_that_its_holder_deletes_stays_locked_here_and_is_gone_elsewhere(
    pair: tuple[Mount, Mount],
) -> None:
    first, second = pair
    with opened(first / "file") as holder, opened(first / "file") as other:
        fcntl.flock(holder, NOW)
        (first / "file").unlink()
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, NOW)
        os.pwrite(holder, b"new", 0)
        fcntl.flock(holder, fcntl.LOCK_UN)
        fcntl.flock(other, NOW)
        assert os.pread(other, 9, 0) == b"new"
    first.sync()
    wait_until(lambda: not (second / "file").exists())
    assert first.status()["locks"] == []


def test_waiter_of_another_host_gets_the_lock_of_a_file_that_is_deleted(pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    with opened(first / "file") as holder, opened(second / "file") as waiter:
        fcntl.flock(holder, NOW)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(fcntl.flock, waiter, fcntl.LOCK_EX)
            wait_for_waiters(second, 1)
            (first / "file").unlink()
            first.sync()
            fcntl.flock(holder, fcntl.LOCK_UN)
            waiting.result(PATIENCE_S)
        fcntl.flock(waiter, fcntl.LOCK_UN)
    wait_until(lambda: not (second / "file").exists())


@pytest.mark.skipif(
    chosen_behaviour().locks == "enforced",
    reason="the service refuses a deletion by others than the holder of the lock",
)
def test_what_a_holder_wrote_to_a_file_that_another_host_deletes_is_kept(pair: tuple[Mount, Mount]) -> None:
    first, second = pair
    with opened(first / "file") as holder:
        fcntl.flock(holder, NOW)
        os.pwrite(holder, b"new", 0)
        (second / "file").unlink()
        second.sync()
        with suppress(OSError):  # it says so where the deletion is known by then
            fcntl.flock(holder, fcntl.LOCK_UN)
    first.sync()
    assert (first / "file").read_text() == "new"
    wait_until(lambda: (second / "file").exists() and (second / "file").read_text() == "new")


def test_file_that_replaces_a_locked_one_is_free(pair: tuple[Mount, Mount]) -> None:
    """A program may lock what it put in the place of the file that it has locked still."""
    first, second = pair
    with opened(first / "file") as holder:
        fcntl.flock(holder, NOW)
        (first / "new").write_text("replaced")
        (first / "new").rename(first / "file")
        with opened(first / "file") as successor:
            fcntl.flock(successor, NOW)
            assert not is_free(second / "file")
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert not is_free(second / "file"), "the old file's unlock is none of the new one"
            fcntl.flock(successor, fcntl.LOCK_UN)
    with opened(second / "file") as next_holder:
        fcntl.flock(next_holder, fcntl.LOCK_EX)
        assert os.pread(next_holder, 9, 0) == b"replaced"
