"""Files that the kernel serves by itself, from a backing file."""

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.t5_kernel.adapter.processes import Daemon

pytestmark = pytest.mark.kernel


@pytest.fixture(params=[False, True], ids=["at-once", "after-waits"])
def backed(start_daemon: Callable[..., Daemon], request: pytest.FixtureRequest) -> Daemon:
    daemon = start_daemon(backed=True, handlers_limit_s=0.5, waits=request.param)
    refusal = daemon.ask("session.passthrough_refusal")
    if refusal is not None:
        pytest.skip(f"NOT TESTED: no passthrough here: {refusal}")
    return daemon


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Closed after the test."""
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def requests(daemon: Daemon, kind: str) -> int:
    return int(daemon.ask(f"filesystem.calls[{kind!r}]"))


def backing_path(daemon: Daemon, path: Path) -> Path:
    return Path(daemon.ask(f"str(filesystem.backing_path({path.stat().st_ino}))"))


def wait_released(daemon: Daemon) -> None:
    daemon.wait_until("not session.backing_ids and not filesystem._handles")


def test_reads_and_writes_do_not_reach_the_daemon(backed: Daemon, descriptors: list[int]) -> None:
    path = backed.mountpoint / "file"
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    os.pwrite(descriptors[0], b"hello world", 0)
    descriptors.append(os.open(path, os.O_RDWR))
    os.pwrite(descriptors[1], b"W", 6)
    assert os.pread(descriptors[0], 100, 0) == b"hello World"
    assert backing_path(backed, path).read_bytes() == b"hello World"
    assert (requests(backed, "read"), requests(backed, "write")) == (0, 0)


def test_a_write_shows_in_stat_at_once(backed: Daemon, descriptors: list[int]) -> None:
    path = backed.mountpoint / "file"
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    for size in (1, 5000, 70_000):
        os.pwrite(descriptors[0], b"x", size - 1)
        assert os.fstat(descriptors[0]).st_size == path.stat().st_size == size


def test_opens_of_one_inode_share_an_id_until_the_last_is_released(backed: Daemon) -> None:
    path = backed.mountpoint / "file"
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    second = os.open(path, os.O_RDONLY)
    other = os.open(backed.mountpoint / "other", os.O_RDWR | os.O_CREAT)
    assert backed.ask("session.backing_ids") == 2
    os.close(first)
    os.close(other)
    backed.wait_until("session.backing_ids == 1")
    assert os.pread(second, 1, 0) == b""
    os.close(second)
    wait_released(backed)


def test_an_ordinary_open_makes_the_next_ordinary_too(backed: Daemon, descriptors: list[int]) -> None:
    path = backed.mountpoint / "file"
    backed.ask("setattr(filesystem, 'offers', False)")
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    os.pwrite(descriptors[0], b"ordinary", 0)
    backed.ask("setattr(filesystem, 'offers', True)")
    descriptors.append(os.open(path, os.O_RDWR))
    assert os.pread(descriptors[1], 100, 0) == b"ordinary"
    assert backed.ask("session.backing_ids") == 0
    assert requests(backed, "write") == 1


def test_a_file_in_passthrough_stays_so_for_opens_that_offer_none(
    backed: Daemon, descriptors: list[int]
) -> None:
    path = backed.mountpoint / "file"
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    backed.ask("setattr(filesystem, 'offers', False)")
    descriptors.append(os.open(path, os.O_RDWR))
    os.pwrite(descriptors[1], b"joined", 0)
    assert requests(backed, "write") == 0


def test_a_file_changes_between_both_ways_and_keeps_its_content(backed: Daemon) -> None:
    path = backed.mountpoint / "file"
    for turn, offers in enumerate((True, False, True, False)):
        backed.ask(f"setattr(filesystem, 'offers', {offers})")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        assert os.pread(descriptor, 100, 0) == b"0123"[:turn]
        os.pwrite(descriptor, b"%d" % turn, turn)
        os.close(descriptor)
        wait_released(backed)
    assert requests(backed, "write") == 2


def test_another_file_for_an_open_inode_fails_the_open_and_leaves_the_mount(
    backed: Daemon, descriptors: list[int]
) -> None:
    path = backed.mountpoint / "file"
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    os.write(descriptors[0], b"kept")
    ino = path.stat().st_ino
    backed.ask(f"os.unlink(filesystem.backing_path({ino}))")
    backed.ask("filesystem.close_files()")
    with pytest.raises(OSError, match="Input/output error"):
        os.open(path, os.O_RDWR)
    assert os.pread(descriptors[0], 100, 0) == b"kept"
    assert backed.ask("len(filesystem._handles)") == 1
    backed.expected_log += backed.log.read_text().splitlines()
    assert "BackingDiffers" in backed.log.read_text()


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_mmap_shows_the_backing_file(backed: Daemon, descriptors: list[int], flags: int) -> None:
    path = backed.mountpoint / "file"
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    os.write(descriptors[0], b"a" * 8192)
    with mmap.mmap(descriptors[0], 8192, flags=flags) as memory:
        assert memory[:] == b"a" * 8192
        memory[4096:4100] = b"bbbb"
        memory.flush()
    changed = b"bbbb" if flags == mmap.MAP_SHARED else b"aaaa"
    assert backing_path(backed, path).read_bytes()[4096:4100] == changed
    assert requests(backed, "read") == 0


def test_appending_descriptors_take_turns(backed: Daemon, descriptors: list[int]) -> None:
    path = backed.mountpoint / "log"
    for _ in range(2):
        descriptors.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    for number in range(10):
        os.write(descriptors[number % 2], b"%d" % number)
    assert path.read_bytes() == b"0123456789"
    assert requests(backed, "write") == 0


def test_truncating_an_open_file_shows_in_its_reads(backed: Daemon, descriptors: list[int]) -> None:
    path = backed.mountpoint / "file"
    descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
    os.write(descriptors[0], b"0123456789")
    os.ftruncate(descriptors[0], 4)
    assert os.pread(descriptors[0], 100, 0) == b"0123"
    os.truncate(path, 6)
    assert os.pread(descriptors[0], 100, 0) == b"0123\0\0"
    descriptors.append(os.open(path, os.O_RDWR | os.O_TRUNC))
    assert (os.pread(descriptors[0], 100, 0), path.stat().st_size) == (b"", 0)


def test_close_without_flush_tells_the_daemon_only_of_the_release(backed: Daemon) -> None:
    for no_flush, flushes in ((True, 0), (False, 1)):
        backed.ask(f"setattr(filesystem, 'no_flush', {no_flush})")
        (backed.mountpoint / f"file{flushes}").write_bytes(b"x")
        wait_released(backed)
        assert requests(backed, "flush") == flushes


def test_many_opens_leave_neither_ids_nor_descriptors(backed: Daemon) -> None:
    def descriptors_of_daemon() -> int:
        wait_released(backed)
        backed.ask("filesystem.close_files()")
        return len(os.listdir(f"/proc/{backed.pid}/fd"))

    (backed.mountpoint / "warm").touch()
    before = descriptors_of_daemon()
    for number in range(300):
        path = backed.mountpoint / f"file{number % 30}"
        with path.open("ab") as one, path.open("rb"):
            one.write(b"x")
    assert descriptors_of_daemon() == before
    assert backed.ask("take_leaked_backing_ids(2000)") == []
    with path.open("ab"):
        assert len(backed.ask("take_leaked_backing_ids(2000)")) == 1  # so it would have seen one
    wait_released(backed)
    backed.expected_log += backed.log.read_text().splitlines()


def test_switched_off_the_daemon_serves(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(backed=True, passthrough=False)
    path = daemon.mountpoint / "file"
    path.write_bytes(b"content")
    assert path.read_bytes() == b"content"
    assert requests(daemon, "write") == 1
    assert "switched off" in daemon.ask("session.passthrough_refusal")
    # The kernel was not asked for it in INIT, so it names no file either.
    assert daemon.ask("session._open_files._new_id(os.memfd_create('any'))") is None
    daemon.expected_log += daemon.log.read_text().splitlines()
    assert "not permitted" in daemon.log.read_text()


def test_without_the_right_files_are_served_by_the_daemon(backed: Daemon) -> None:
    path = backed.mountpoint / "file"
    path.write_bytes(b"before")
    wait_released(backed)
    backed.ask("os.seteuid(65534)")
    with path.open("r+b", buffering=0) as file:
        file.write(b"behind")
        assert file.read() == b""
    wait_released(backed)
    backed.ask("os.seteuid(0)")
    assert backing_path(backed, path).read_bytes() == b"behind"
    assert requests(backed, "write") == 1
    assert "CAP_SYS_ADMIN" in backed.ask("session.passthrough_refusal")
    backed.expected_log += backed.log.read_text().splitlines()
    assert len(backed.expected_log) == 1


def test_the_question_for_capabilities_before_a_write_reaches_no_python(backed: Daemon) -> None:
    path = backed.mountpoint / "file"
    path.write_bytes(b"content")
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(path, "security.capability")
    assert requests(backed, "getxattr") == 0
    os.setxattr(path, "user.colour", b"blue")
    assert os.getxattr(path, "user.colour") == b"blue"


@pytest.mark.parametrize("passthrough", [True, False])
def test_set_id_bits_go_with_a_write(start_daemon: Callable[..., Daemon], passthrough: bool) -> None:
    daemon = start_daemon(backed=True, passthrough=passthrough, clears_set_id=True, allow_other=True)
    path = daemon.mountpoint / "file"
    path.touch()
    wait_released(daemon)
    path.chmod(0o6777)
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert path.stat().st_mode & 0o7777 == 0o777
