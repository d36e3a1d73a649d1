"""Descriptors: shared offsets, changed flags, several opens of one file, large files, pipes and O_PATH."""

import contextlib
import fcntl
import mmap
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

from scripts.posix.notes import Notes, Place

LARGE = 5 * 2**30
BLOCK = 4096


@contextlib.contextmanager
def opened(path: Path, flags: int, mode: int = 0o644) -> Iterator[int]:
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def shared_offsets(at: Place, note: Notes) -> None:
    """dup and fork share the offset, another open does not."""
    file = at / "file"
    file.write_bytes(bytes(range(200)))
    with opened(file, os.O_RDWR) as one, opened(file, os.O_RDWR) as other:
        two = os.dup(one)
        note("read", os.read, one, 10)
        note("by the duplicate", os.read, two, 10)
        note("by another open", os.read, other, 10)
        child = os.fork()
        if child == 0:
            os.read(one, 10)
            os.lseek(two, 5, os.SEEK_CUR)
            os.write(one, b"child")
            os._exit(0)
        os.waitpid(child, 0)
        note("after the child", os.lseek, one, 0, os.SEEK_CUR)
        note("its bytes", os.pread, other, 8, 34)
        os.close(two)
        note("the duplicate is closed", os.read, one, 3)
        note("with append", fcntl.fcntl, one, fcntl.F_SETFL, os.O_APPEND)
        note("appended", os.write, one, b"end")
        note("where", os.lseek, one, 0, os.SEEK_CUR)
        note("without append", fcntl.fcntl, one, fcntl.F_SETFL, 0)
        note("flags", lambda: fcntl.fcntl(one, fcntl.F_GETFL) & ~os.O_LARGEFILE & ~0o100000)
        os.lseek(one, 0, os.SEEK_SET)
        os.write(one, b"begin")
    note("content", file.read_bytes)


def several_opens(at: Place, note: Notes) -> None:
    """Readers, writers and appenders of one file at once, each opened while the others are."""
    file = at / "file"
    flags = (
        os.O_RDWR | os.O_CREAT,
        os.O_RDONLY,
        os.O_WRONLY,
        os.O_WRONLY | os.O_APPEND,
        os.O_RDONLY | os.O_DIRECT,
        os.O_RDWR | os.O_SYNC,
        os.O_RDWR | os.O_TRUNC,
        os.O_RDONLY,
        os.O_WRONLY | os.O_APPEND,
    )
    descriptors = []
    for number, flag in enumerate(flags):
        descriptors.append(os.open(file, flag, 0o644))
        for writer in descriptors:
            if fcntl.fcntl(writer, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
                os.write(writer, b"%d" % number * 9)
        note(f"after {number}", os.pread, descriptors[0], 1000, 0)
        note(f"size {number}", lambda: os.fstat(descriptors[-1]).st_size)
        if number == 4:
            os.rename(file, at / "moved")
            (at / "other").write_bytes(b"other")
            os.rename(at / "moved", file)
    while descriptors:
        os.close(descriptors.pop(len(descriptors) // 2))
        if descriptors:
            note("size", lambda: os.fstat(descriptors[-1]).st_size)
    note("content", file.read_bytes)


def mode_of_the_making(at: Place, note: Notes) -> None:
    """A descriptor may what it was opened for, whatever the mode says."""
    for mode in (0o444, 0o000, 0o200):
        file = at / f"{mode:o}"

        def made(own: Notes, file: Path = file, mode: int = mode) -> None:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
            own("write", os.write, descriptor, b"content")
            own("read", os.pread, descriptor, 10, 0)
            own("truncate", os.ftruncate, descriptor, 3)
            own("open again for writing", lambda: os.close(os.open(file, os.O_WRONLY)))
            own("open again for reading", lambda: os.close(os.open(file, os.O_RDONLY)))
            own("truncate by name", os.truncate, file, 1)
            own("by /proc", lambda: os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY)))
            with mmap.mmap(descriptor, 1) as mapping:
                mapping[0:1] = b"m"
            own("mapped", os.pread, descriptor, 10, 0)
            os.close(descriptor)
            own.status("after", file)

        at.top.chmod(0o777)
        note.by_user(1234, made)


def direct_io(at: Place, note: Notes) -> None:
    """Whole blocks; what is not aligned may be refused or not, but is never half done."""
    file = at / "file"
    buffer = mmap.mmap(-1, 4 * BLOCK)
    buffer[:] = b"d" * len(buffer)
    with opened(file, os.O_RDWR | os.O_CREAT | os.O_DIRECT) as direct, opened(file, os.O_RDWR) as cached:
        note("write", os.pwrite, direct, buffer, 0)
        note("seen by the cached one", os.pread, cached, 4, BLOCK)
        note("cached write", os.pwrite, cached, b"cached", 2 * BLOCK)
        note("read", os.preadv, direct, [buffer], 0)
        note.value("sees it", bytes(buffer[2 * BLOCK : 2 * BLOCK + 6]))
        note("behind the end", os.preadv, direct, [buffer], 100 * BLOCK)
        note("truncate", os.ftruncate, direct, 5000)
        note("the rest", os.preadv, direct, [buffer], BLOCK)
        note("after it", os.pread, cached, 10_000, 4990)
        buffer[:] = b"f" * len(buffer)  # what is behind the count that was read is anything
        note("far", os.pwrite, direct, buffer, 64 * BLOCK)
        note("size", lambda: os.fstat(cached).st_size)
        with contextlib.suppress(OSError):
            os.pwrite(direct, b"odd", 7)
            assert os.pread(cached, 3, 7) == b"odd"
            os.pwrite(direct, b"ddd", 7)
    note.value("content", file.read_bytes())
    note("set by fcntl", lambda: _set_direct(file))


def _set_direct(file: Path) -> int:
    with opened(file, os.O_RDONLY) as descriptor:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT)
        return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT


def large_files(at: Place, note: Notes) -> None:
    file = at / "file"
    with opened(file, os.O_RDWR | os.O_CREAT) as descriptor:
        note("write far", os.pwrite, descriptor, b"far", LARGE)
        note("size", lambda: os.fstat(descriptor).st_size)
        note("read", os.pread, descriptor, 10, LARGE - 3)
        note("around 4 GiB", os.pwrite, descriptor, b"x" * 200, 2**32 - 100)
        note("read there", os.pread, descriptor, 10, 2**32 - 5)
        note("data", os.lseek, descriptor, 0, os.SEEK_DATA)
        with mmap.mmap(descriptor, BLOCK + 3, offset=LARGE - BLOCK) as mapping:
            note.value("mapped", mapping[BLOCK:])
        note("shrink", os.ftruncate, descriptor, 2**32)
        note("grow", os.ftruncate, descriptor, LARGE)
        note("zeros", os.pread, descriptor, 10, 2**32 - 5)
        for offset in (2**63 - 1, 2**63 - 4096):
            note(f"write at {offset}", os.pwrite, descriptor, b"x", offset)
            note(f"read at {offset}", os.pread, descriptor, 1, offset)
            note(f"truncate to {offset}", os.ftruncate, descriptor, offset)
    note("size", lambda: file.stat().st_size)
    os.truncate(file, 0)


def limit_of_a_process(at: Place, note: Notes) -> None:
    """RLIMIT_FSIZE cuts what crosses it, and refuses what begins at it, with a signal."""
    file = at / "file"

    def limited(own: Notes) -> None:
        signals: list[int] = []
        signal.signal(signal.SIGXFSZ, lambda number, _: signals.append(number))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with opened(file, os.O_RDWR | os.O_CREAT) as descriptor:
            own("across", os.pwrite, descriptor, b"x" * 1000, 500)
            own("at", os.pwrite, descriptor, b"x", 1000)
            own("truncate", os.ftruncate, descriptor, 1001)
            own("within", os.ftruncate, descriptor, 1000)
            own("fallocate", os.posix_fallocate, descriptor, 0, 2000)
            own("copy", os.copy_file_range, descriptor, descriptor, 100, 0, 2000)
            own("size", lambda: os.fstat(descriptor).st_size)
        own.value("signals", len(signals))

    note.by_child("limited", limited)


def odd_vectors(at: Place, note: Notes) -> None:
    """Vectors and the flags of preadv2 and pwritev2."""
    with opened(at / "file", os.O_RDWR | os.O_CREAT) as descriptor:
        note("many", os.writev, descriptor, [b"%d" % (number % 10) for number in range(1000)])
        note("too many", os.writev, descriptor, [b"x"] * 1025)
        note("none", os.writev, descriptor, [])
        note("read", os.preadv, descriptor, [bytearray(3), bytearray(0), bytearray(10_000)], 990)
        note("at a negative place", os.preadv, descriptor, [bytearray(3)], -5)
        for name in ("RWF_SYNC", "RWF_DSYNC", "RWF_APPEND", "RWF_HIPRI"):
            flag = getattr(os, name)
            note(f"write {name}", os.pwritev, descriptor, [b"ab", b"c"], 2, flag)
        note("read with RWF_HIPRI", os.preadv, descriptor, [bytearray(3)], 0, os.RWF_HIPRI)
        note("unknown flag", os.preadv, descriptor, [bytearray(3)], 0, 1 << 20)
        note("content", os.pread, descriptor, 2000, 0)


def splices(at: Place, note: Notes) -> None:
    """Bytes by way of pipes, in both directions."""
    (at / "file").write_bytes(b"0123456789" * 1000)
    reader, writer = os.pipe()
    with opened(at / "file", os.O_RDWR) as descriptor, opened(at / "new", os.O_RDWR | os.O_CREAT) as new:
        note("into a pipe", os.splice, descriptor, writer, 5000, offset_src=3)
        note("out of it", os.splice, reader, new, 5000, offset_dst=7)
        note("the new one", os.pread, new, 10_000, 0)
        note("behind the end", os.splice, descriptor, writer, 100, offset_src=100_000)
        note("by its own place", os.splice, descriptor, writer, 4)
        note("moves it", os.lseek, descriptor, 0, os.SEEK_CUR)
        note("out again", os.splice, reader, new, 4)
        note("without a pipe", os.splice, descriptor, new, 4)
        note("sendfile", os.sendfile, new, descriptor, 100, 500)
        note("where", os.lseek, new, 0, os.SEEK_CUR)
        note("sendfile of more than there is", os.sendfile, new, descriptor, 9000, 5000)
        fcntl.fcntl(new, fcntl.F_SETFL, os.O_APPEND)
        note("sendfile to an appender", os.sendfile, new, descriptor, 0, 10)
        note("content", os.pread, new, 20_000, 0)
    os.close(reader)
    os.close(writer)


def path_only(at: Place, note: Notes) -> None:
    """O_PATH names a file and opens nothing."""
    (at / "file").write_bytes(b"content")
    os.symlink("file", at / "link")
    (at / "folder").mkdir()
    with opened(at / "file", os.O_PATH) as named, opened(at / "link", os.O_PATH | os.O_NOFOLLOW) as link:
        for label, operation in (
            ("read", lambda: os.read(named, 1)),
            ("write", lambda: os.write(named, b"x")),
            ("seek", lambda: os.lseek(named, 0, os.SEEK_SET)),
            ("truncate", lambda: os.ftruncate(named, 0)),
            ("chmod", lambda: os.fchmod(named, 0o600)),
            ("chown", lambda: os.fchown(named, 0, 0)),
            ("sync", lambda: os.fsync(named)),
            ("map", lambda: mmap.mmap(named, 1)),
            ("xattr", lambda: os.listxattr(named)),
            ("lock", lambda: fcntl.flock(named, fcntl.LOCK_EX)),
            ("stat", lambda: os.fstat(named).st_size),
            ("kind of the link", lambda: stat.S_ISLNK(os.fstat(link).st_mode)),
            ("what the link says", lambda: os.readlink("", dir_fd=link)),
            ("by /proc", lambda: Path(f"/proc/self/fd/{named}").read_bytes()),
            ("write by /proc", lambda: Path(f"/proc/self/fd/{named}").write_bytes(b"new")),
        ):
            note(label, operation)
        os.unlink(at / "file")
        note("unlinked", lambda: (os.fstat(named).st_nlink, os.fstat(named).st_size))
        note("by /proc when it is unlinked", lambda: Path(f"/proc/self/fd/{named}").read_bytes())
    with opened(at / "folder", os.O_PATH | os.O_DIRECTORY) as folder:
        note("list", os.listdir, folder)
        note("make in it", lambda: os.mkdir("below", dir_fd=folder))
        note("enter it", os.fchdir, folder)
        os.chdir("/")


CASES = (
    shared_offsets,
    several_opens,
    mode_of_the_making,
    direct_io,
    large_files,
    limit_of_a_process,
    odd_vectors,
    splices,
    path_only,
)
