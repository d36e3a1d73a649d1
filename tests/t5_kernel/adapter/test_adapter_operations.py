"""Each operation as a program sees it, through the kernel, the adapter and back."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.t5_kernel.adapter.processes import Daemon, Process

pytestmark = pytest.mark.kernel

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


@pytest.fixture(params=[False, True], ids=["at-once", "after-waits"])
def daemon(start_daemon: Callable[..., Daemon], request: pytest.FixtureRequest) -> Daemon:
    """What needs no waiting goes past pyfuse3: each test runs with calls that never wait, and with others."""
    return start_daemon(handlers_limit_s=0.5, waits=request.param)


@pytest.fixture
def top(daemon: Daemon) -> Path:
    return daemon.mountpoint


def rename_with(flags: int, source: Path, target: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.renameat2(-100, bytes(source), -100, bytes(target), flags)
    return ctypes.get_errno() if failed else 0


def test_file_keeps_content_mode_size_and_times(top: Path) -> None:
    path = top / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    os.pwrite(descriptor, b"world", 6)
    os.pwrite(descriptor, b"hello", 0)
    os.fsync(descriptor)
    os.fdatasync(descriptor)
    os.close(descriptor)
    assert path.read_bytes() == b"hello\0world"
    os.truncate(path, 5)
    os.chmod(path, 0o604)
    os.chown(path, 12, 34)
    os.utime(path, ns=(1_000_000_001, 2_000_000_003))
    found = path.stat()
    assert (stat.S_ISREG(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, 0o604)
    assert (found.st_uid, found.st_gid, found.st_size, found.st_blocks) == (12, 34, 5, 1)
    assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, 2_000_000_003)


def test_utime_now_is_the_present(top: Path) -> None:
    path, clock = top / "file", top / "clock"
    path.touch()
    os.utime(path, ns=(1, 1))
    clock.touch()
    os.utime(path)
    assert path.stat().st_mtime_ns >= clock.stat().st_mtime_ns - 20_000_000
    assert path.stat().st_atime_ns == path.stat().st_mtime_ns


def test_umask_is_applied_once(top: Path, start_program: Callable[..., Process]) -> None:
    code = "os.umask(0o027); os.mkdir('d', 0o777); os.close(os.open('f', os.O_CREAT, 0o666)); say('made')"
    program = start_program("os.chdir(sys.argv[1])\n" + code, top)
    assert program.line() == "made"
    assert stat.S_IMODE((top / "d").stat().st_mode) == 0o750
    assert stat.S_IMODE((top / "f").stat().st_mode) == 0o640


def test_directories_symlinks_and_fifos(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "link").symlink_to("b/é")
    os.mkfifo(top / "a" / "fifo", 0o600)
    assert os.readlink(top / "a" / "link") == "b/é"
    assert stat.S_ISFIFO((top / "a" / "fifo").lstat().st_mode)
    with pytest.raises(OSError, match="not empty"):
        (top / "a").rmdir()
    descriptor = os.open(top / "a", os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    (top / "a" / "b").rmdir()
    assert sorted(os.listdir(top / "a")) == ["fifo", "link"]


def test_rename_replaces_refuses_and_exchanges(top: Path) -> None:
    one, two = top / "one", top / "two"
    one.write_text("1")
    two.write_text("2")
    assert rename_with(RENAME_NOREPLACE, one, two) == errno.EEXIST
    assert rename_with(RENAME_EXCHANGE, one, two) == 0
    assert (one.read_text(), two.read_text()) == ("2", "1")
    assert rename_with(RENAME_WHITEOUT, one, two) == errno.EINVAL
    one.rename(two)
    assert (one.exists(), two.read_text()) == (False, "2")


def test_hard_link_is_refused_in_the_way_that_programs_expect(top: Path) -> None:
    (top / "file").touch()
    with pytest.raises(PermissionError):
        os.link(top / "file", top / "other")


def test_extended_attributes(top: Path) -> None:
    path = top / "file"
    path.touch()
    os.setxattr(path, "user.colour", b"red", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.colour", b"blue", os.XATTR_CREATE)
    assert os.listxattr(path) == ["user.colour"]
    assert os.getxattr(path, "user.colour") == b"red"
    os.removexattr(path, "user.colour")
    for name, expected in (("user.colour", errno.ENODATA), ("trusted.colour", errno.ENOTSUP)):
        with pytest.raises(OSError, match=r".") as refused:
            os.getxattr(path, name)
        assert refused.value.errno == expected


def test_statvfs_shows_the_capacity(top: Path) -> None:
    found = os.statvfs(top)
    assert found.f_blocks * found.f_frsize == 1 << 40
    assert found.f_bavail * found.f_frsize == 1 << 39
    assert (found.f_files, found.f_ffree, found.f_namemax) == (1000, 900, 255)


def test_bug_in_the_file_system_is_an_error_of_one_program(daemon: Daemon, top: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        (top / "raises-a-bug").stat()
    assert os.listdir(top) == []
    log = daemon.log.read_text().splitlines()
    assert log[0] == "ERROR mountfs.kernel.requests lookup failed unexpectedly; the program gets EIO"
    assert log[-1] == "RuntimeError: a bug in the file system"
    daemon.expected_log = log


def test_absence_is_remembered_only_as_long_as_the_file_system_says(daemon: Daemon, top: Path) -> None:
    assert not (top / "file").exists()
    daemon.ask("filesystem.add(1, b'file', 0o100644).ino")
    assert (top / "file").exists()

    daemon.ask("setattr(filesystem, 'times', CacheTimes(60, 60, 60))")
    assert not (top / "later").exists()
    daemon.ask("filesystem.add(1, b'later', 0o100644).ino")
    assert not (top / "later").exists()
    daemon.ask("notifier.entry_changed(1, b'later')")
    daemon.ask("await notifier.drained()")
    assert (top / "later").exists()


def test_references_are_counted_for_lookups_and_listings_and_given_back(daemon: Daemon, top: Path) -> None:
    ino = daemon.ask("filesystem.add(1, b'listed', 0o100644).ino")
    assert os.listdir(top) == ["listed"]
    assert daemon.ask(f"filesystem.references[{ino}]") == 1
    (top / "listed").unlink()
    daemon.wait_until(f"filesystem.references[{ino}] == 0")


def test_listing_while_entries_come_and_go_shows_all_that_stay_once(daemon: Daemon, top: Path) -> None:
    daemon.ask("[filesystem.add(1, b'stays%d' % n, 0o100644).ino for n in range(10000)] and None")
    seen = []
    with os.scandir(top) as listing:
        for number, entry in enumerate(listing):
            seen.append(entry.name)
            if number % 10 == 0:
                (top / f"comes{number}").touch()
                (top / f"stays{number}").exists()
            if number % 20 == 10:
                (top / f"comes{number - 10}").unlink()
    stays = [name for name in seen if name.startswith("stays")]
    assert sorted(stays) == sorted(f"stays{n}" for n in range(10000))
    assert len(seen) == len(set(seen))


def test_mount_full_of_stuck_requests_still_ends(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    """pyfuse3 serves at most 99 at once."""
    daemon.ask("[filesystem.add(1, b'%d' % n, 0o40755).ino for n in range(110)] and None")
    program = start_program(
        """
import threading
def create(n):
    try: os.open(f"{sys.argv[1]}/{n}/never", os.O_CREAT | os.O_WRONLY)
    except OSError as error: ends.append(error.errno)
ends, threads = [], [threading.Thread(target=create, args=[n]) for n in range(110)]
for thread in threads: thread.start()
for thread in threads: thread.join()
say(len(ends))
""",
        daemon.mountpoint,
    )
    daemon.wait_until("filesystem.stuck_requests >= 98")
    place = daemon.mountpoint
    daemon.expected_log = [
        f"WARNING mountfs.kernel.session {place} is in use; detaching it, "
        "and its programs get errors from now on",
        f"WARNING mountfs.kernel.session {place}: cancelling requests that do not end",
    ]
    daemon.tell_end()
    assert daemon.ends() == "told"
    assert program.line() == "110"
