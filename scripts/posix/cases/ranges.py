"""fallocate, holes, and copies from file to file."""

import os
from pathlib import Path

from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import (
    FALLOC_COLLAPSE_RANGE,
    FALLOC_INSERT_RANGE,
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    fallocate,
)

BLOCK = 4096


def allocation(at: Place, note: Notes) -> None:
    file = at / "file"

    def tried(label: str, mode: int, offset: int, size: int, flags: int = os.O_RDWR) -> None:
        descriptor = os.open(file, flags | os.O_CREAT)
        note(label, fallocate, descriptor, mode, offset, size)
        note("size", lambda: os.fstat(descriptor).st_size)
        note("content", os.pread, descriptor, 100_000, 0)
        os.close(descriptor)
        note("content by another open", file.read_bytes)

    tried("of an empty file", 0, 0, 10_000)
    file.write_bytes(b"x" * 20_000)
    tried("within", 0, 1000, 5000)
    tried("beyond", 0, 19_000, 5000)
    tried("beyond, keeping the size", FALLOC_KEEP_SIZE, 50_000, 5000)
    tried("hole", FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 5000, 6000)
    tried("hole behind the end", FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 90_000, 6000)
    tried("hole across the end", FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 23_000, 60_000)
    tried("hole without keeping the size", FALLOC_PUNCH_HOLE, 0, 1000)
    tried("zeros", FALLOC_ZERO_RANGE, 100, 300)
    tried("zeros beyond", FALLOC_ZERO_RANGE, 23_900, 3000)
    tried("zeros beyond, keeping the size", FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 20_000, 60_000)
    tried("nothing", 0, 0, 0)
    tried("negative", 0, -1, 10)
    tried("negative size", 0, 1, -10)
    tried("read only", 0, 0, 10, os.O_RDONLY)
    tried("too big", 0, (1 << 63) - 2, 100)
    tried("collapse and hole", FALLOC_COLLAPSE_RANGE | FALLOC_PUNCH_HOLE, 0, BLOCK)
    tried("insert and keep", FALLOC_INSERT_RANGE | FALLOC_KEEP_SIZE, 0, BLOCK)
    os.mkfifo(at / "fifo")
    descriptor = os.open(at / "fifo", os.O_RDWR)
    note("fifo", fallocate, descriptor, 0, 0, 10)
    os.close(descriptor)
    note("posix_fallocate", lambda: _posix_fallocate(at / "new", 5000))


def _posix_fallocate(file: Path, size: int) -> int:
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def allocation_clears_set_id(at: Place, note: Notes) -> None:
    def change(own: Notes) -> None:
        for mode in (0, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE):
            file = at / f"{mode}"
            descriptor = os.open(file, os.O_RDWR)
            own("fallocate", fallocate, descriptor, mode, 0, 9000)
            os.close(descriptor)
            own.status("after", file)

    for mode in (0, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE):
        file = at / f"{mode}"
        file.write_bytes(b"x" * 100)
        os.chown(file, 1234, 1234)
        file.chmod(0o6777)
    note.by_user(1234, change)


def holes(at: Place, note: Notes) -> None:
    """Where data is may be told in coarser pieces, so only what must hold everywhere is noted."""
    file = at / "file"
    with file.open("w+b") as stream:
        descriptor = stream.fileno()
        note("data of an empty file", os.lseek, descriptor, 0, os.SEEK_DATA)
        note("hole of an empty file", os.lseek, descriptor, 0, os.SEEK_HOLE)
        os.pwrite(descriptor, b"begin", 0)
        os.pwrite(descriptor, b"middle", 1 << 20)
        os.ftruncate(descriptor, 2 << 20)
        note("first data", os.lseek, descriptor, 0, os.SEEK_DATA)
        note("first hole", os.lseek, descriptor, 0, os.SEEK_HOLE)
        note("second data", os.lseek, descriptor, BLOCK, os.SEEK_DATA)
        note("second hole", os.lseek, descriptor, 1 << 20, os.SEEK_HOLE)
        note("no more data", os.lseek, descriptor, (1 << 20) + BLOCK, os.SEEK_DATA)
        note("the last hole", os.lseek, descriptor, (2 << 20) - 1, os.SEEK_HOLE)
        note("at the end", os.lseek, descriptor, 2 << 20, os.SEEK_HOLE)
        note("behind the end", os.lseek, descriptor, 3 << 20, os.SEEK_DATA)
        note("negative", os.lseek, descriptor, -1, os.SEEK_DATA)
        note("set", os.lseek, descriptor, 100, os.SEEK_SET)
        note("current", os.lseek, descriptor, 5, os.SEEK_CUR)
        note("end", os.lseek, descriptor, -5, os.SEEK_END)
        note("before the start", os.lseek, descriptor, -5, os.SEEK_SET)
        fallocate(descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, BLOCK)
        note("after a punch", os.lseek, descriptor, 0, os.SEEK_DATA)
        os.lseek(descriptor, 7, os.SEEK_SET)
        note("failing", os.lseek, descriptor, 3 << 20, os.SEEK_DATA)
        note("keeps the place", os.lseek, descriptor, 0, os.SEEK_CUR)


def copies(at: Place, note: Notes) -> None:
    source, target = at / "source", at / "target"
    source.write_bytes(bytes(range(256)) * 1000)
    target.write_bytes(b"t" * 1000)

    def copied(label: str, count: int, start: int, to: int, into: Path = target) -> None:
        reader, writer = os.open(source, os.O_RDWR), os.open(into, os.O_RDWR)
        note(label, os.copy_file_range, reader, writer, count, start, to)
        note("content", into.read_bytes)
        os.close(reader)
        os.close(writer)

    copied("all", 256_000, 0, 0)
    copied("a part", 1000, 300, 5000)
    copied("behind the end", 1000, 10, 300_000)
    copied("more than there is", 10_000, 250_000, 0)
    copied("from behind the end", 10_000, 999_999, 0)
    copied("nothing", 0, 0, 0)
    copied("within one file", 1000, 0, 100_000, source)
    copied("over itself", 1000, 0, 500, source)
    reader, writer = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_APPEND)
    note("to an appender", os.copy_file_range, reader, writer, 10)
    os.close(writer)
    writer = os.open(target, os.O_RDONLY)
    note("to a reader", os.copy_file_range, reader, writer, 10)
    os.close(writer)
    writer = os.open(at.top, os.O_RDONLY)
    note("to a directory", os.copy_file_range, reader, writer, 10)
    os.close(writer)
    writer = os.open(target, os.O_RDWR | os.O_TRUNC)
    moved = 0
    while count := os.copy_file_range(reader, writer, 1 << 20):
        moved += count
    note.value("by the descriptors' places", (moved, os.lseek(writer, 0, os.SEEK_CUR)))
    note("content", target.read_bytes)
    os.close(reader)
    os.close(writer)


def copies_of_what_is_written_just_now(at: Place, note: Notes) -> None:
    """The source may still be in some cache, and so may the old content of the target."""
    with (
        (at / "source").open("w+b", buffering=0) as source,
        (at / "target").open("w+b", buffering=0) as target,
    ):
        os.pwrite(target.fileno(), b"old" * 10_000, 0)
        note("before", os.pread, target.fileno(), 10, 8000)
        for turn in range(3):
            os.pwrite(source.fileno(), b"%d" % turn * 20_000, 0)
            note("copy", os.copy_file_range, source.fileno(), target.fileno(), 20_000, 0, 4000)
            note("at once", os.pread, target.fileno(), 10, 8000)
        note("size", lambda: os.fstat(target.fileno()).st_size)


def sparse_copy(at: Place, note: Notes) -> None:
    import subprocess

    with (at / "source").open("wb") as stream:
        os.pwrite(stream.fileno(), b"data", 1 << 20)
        os.ftruncate(stream.fileno(), 4 << 20)
    for how in ("auto", "always", "never"):
        note(
            how,
            lambda how=how: (
                subprocess.run(["cp", f"--sparse={how}", at / "source", at / how], check=False).returncode
            ),
        )
        note("content", (at / how).read_bytes)


CASES = (
    allocation,
    allocation_clears_set_id,
    holes,
    copies,
    copies_of_what_is_written_just_now,
    sparse_copy,
)
