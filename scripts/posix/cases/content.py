"""Reading and writing: appends, truncation, mappings, vectors."""

import errno
import mmap
import os
import random
from pathlib import Path

from scripts.posix.clock import let_a_step_pass
from scripts.posix.notes import Notes, Place


def truncation(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"0123456789" * 1000)
    for size in (5000, 4096, 4097, 1, 0, 3, 9000, 100_000):
        note(f"to {size}", os.truncate, file, size)
        note("content", file.read_bytes)
    (at / "folder").mkdir()
    os.symlink("file", at / "link")
    note("by a link", os.truncate, at / "link", 7)
    note("size", lambda: file.stat().st_size)
    note("a directory", os.truncate, at / "folder", 0)
    note("nothing", os.truncate, at / "missing", 0)
    note("negative", os.truncate, file, -1)
    with file.open("rb") as reader:
        note("read only", os.ftruncate, reader.fileno(), 0)
    with file.open("r+b") as writer:
        note("open", os.ftruncate, writer.fileno(), 12)
        note("negative, open", os.ftruncate, writer.fileno(), -1)
    note("huge", os.truncate, file, 1 << 40)
    note("size", lambda: file.stat().st_size)
    note("more than a disk", os.truncate, file, 999_999_999_999_999)
    note("beyond all", os.truncate, file, (1 << 63) - 1)
    note("back", os.truncate, file, 2)
    note("content", file.read_bytes)


def open_flags(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"content")

    def opened(path: Path, flags: int) -> int:
        descriptor = os.open(path, flags, 0o640)
        size = os.fstat(descriptor).st_size
        os.close(descriptor)
        return size

    os.symlink("file", at / "link")
    os.symlink("new-by-link", at / "dangling")
    os.symlink("circle", at / "circle")
    (at / "folder").mkdir()
    note("excl", opened, file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    note("excl of a dangling link", opened, at / "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    note("creat of a dangling link", opened, at / "dangling", os.O_CREAT | os.O_WRONLY)
    note("what that made", (at / "new-by-link").exists)
    note("nofollow", opened, at / "link", os.O_RDONLY | os.O_NOFOLLOW)
    note("nofollow of a file", opened, file, os.O_RDONLY | os.O_NOFOLLOW)
    note("circle", opened, at / "circle", os.O_RDONLY)
    note("directory flag", opened, file, os.O_RDONLY | os.O_DIRECTORY)
    note("directory for writing", opened, at / "folder", os.O_WRONLY)
    note("directory with creat", opened, at / "folder", os.O_RDONLY | os.O_CREAT)
    note("directory with trunc", opened, at / "folder", os.O_RDONLY | os.O_TRUNC)
    note("file with a slash", opened, Path(str(file)) / ".", os.O_RDONLY)
    note("trunc", opened, file, os.O_WRONLY | os.O_TRUNC)
    note("size", lambda: file.stat().st_size)
    note("missing", opened, at / "missing", os.O_RDWR)
    note("path only", opened, file, os.O_PATH)
    note("sync", opened, file, os.O_WRONLY | os.O_SYNC)
    note("noatime", opened, file, os.O_RDONLY | os.O_NOATIME)


def what_a_descriptor_may_do(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"content")
    reader, writer, folder = (
        os.open(file, os.O_RDONLY),
        os.open(file, os.O_WRONLY),
        os.open(at.top, os.O_RDONLY),
    )
    note("write to a reader", os.write, reader, b"x")
    note("read from a writer", os.read, writer, 1)
    note("read a directory", os.read, folder, 1)
    note("fsync a reader", os.fsync, reader)
    note("fdatasync", os.fdatasync, writer)
    note("read at a negative place", os.pread, reader, 1, -1)
    note("read behind the end", os.pread, reader, 10, 100)
    note("read nothing", os.pread, reader, 0, 0)
    note("write nothing", os.pwrite, writer, b"", 100)
    note("size", lambda: file.stat().st_size)
    note("write far behind the end", os.pwrite, writer, b"end", 100_000)
    note("content", file.read_bytes)
    for descriptor in (reader, writer, folder):
        os.close(descriptor)
    note("closed", os.fstat, reader)


def appends(at: Place, note: Notes) -> None:
    """Two processes, each line of its own in one write, and a third that looks meanwhile."""
    file = at / "log"
    file.write_bytes(b"")
    children = []
    for name in (b"a", b"b", b"c"):
        child = os.fork()
        if child == 0:
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
            for number in range(150):
                os.write(descriptor, name * (number % 40 + 1) + b"\n")
            os._exit(0)
        children.append(child)
    sizes = [file.stat().st_size for _ in range(50)]
    for child in children:
        os.waitpid(child, 0)
    note.value("sizes only grow", sizes == sorted(sizes))
    lines = file.read_bytes().splitlines()
    note.value("lines", len(lines))
    for name in (b"a", b"b", b"c"):
        own = [line for line in lines if line[:1] == name]
        note.value("whole and in order", own == [name * (number % 40 + 1) for number in range(150)])
    with file.open("ab") as appender:
        os.pwrite(appender.fileno(), b"appended all the same", 0)
    note("pwrite with append", lambda: file.read_bytes()[-20:])


def tail(at: Place, note: Notes) -> None:
    """A reader at the end of a file sees what another process appends."""
    file = at / "log"
    file.write_bytes(b"begin\n")
    with file.open("rb") as reader:
        note("first", reader.read)
        for number in range(5):
            child = os.fork()
            if child == 0:
                with file.open("ab") as writer:
                    writer.write(b"line %d\n" % number)
                os._exit(0)
            os.waitpid(child, 0)
            note("next", reader.read)
        os.truncate(file, 3)
        note("cut", reader.read)
        note("size", lambda: os.fstat(reader.fileno()).st_size)


def mappings(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(bytes(range(256)) * 100)
    with file.open("r+b") as stream:
        shared = mmap.mmap(stream.fileno(), 0)
        private = mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE)
        reader = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        shared[5000:5005] = b"hello"
        note("by another mapping", lambda: reader[5000:5005])
        note("by read", lambda: os.pread(stream.fileno(), 5, 5000))
        os.pwrite(stream.fileno(), b"world", 9000)
        note("by a mapping", lambda: shared[9000:9005])
        private[5000:5005] = b"other"
        note("private does not show", lambda: shared[5000:5005])
        os.ftruncate(stream.fileno(), 30_000)
        note("grown", lambda: os.pread(stream.fileno(), 3, 29_997))
        for mapping in (shared, private, reader):
            mapping.close()
    note("content", file.read_bytes)
    with file.open("rb") as stream:
        note("for writing of a reader", mmap.mmap, stream.fileno(), 0, access=mmap.ACCESS_WRITE)
    with file.open("r+b") as stream:
        mapping = mmap.mmap(stream.fileno(), 0)
    mapping[0:6] = b"closed"
    note("written after the close", lambda: file.read_bytes()[:6])
    mapping.flush()
    mapping.close()
    note("content", file.read_bytes)


def times_of_content(at: Place, note: Notes) -> None:
    """Which operation moves mtime and ctime."""
    file = at / "file"
    file.write_bytes(b"content" * 100)

    def moves(label: str, change: object) -> None:
        before = os.stat(file)
        let_a_step_pass()
        assert callable(change)
        change()
        after = os.stat(file)
        note.value(label, (after.st_mtime_ns > before.st_mtime_ns, after.st_ctime_ns > before.st_ctime_ns))

    def opened(work: object, flags: int = os.O_RDWR) -> None:
        descriptor = os.open(file, flags)
        assert callable(work)
        work(descriptor)
        os.close(descriptor)

    moves("open and close", lambda: opened(lambda _: None))
    moves("read", file.read_bytes)
    moves("write", lambda: opened(lambda fd: os.write(fd, b"x")))
    moves("write nothing", lambda: opened(lambda fd: os.write(fd, b"")))
    moves("truncate shorter", lambda: os.truncate(file, 300))
    moves("truncate longer", lambda: os.truncate(file, 400))
    moves("ftruncate to the same size", lambda: opened(lambda fd: os.ftruncate(fd, 400)))
    moves("truncate to the same size", lambda: os.truncate(file, 400))
    moves("O_TRUNC", lambda: opened(lambda _: None, os.O_WRONLY | os.O_TRUNC))
    moves("O_TRUNC of an empty file", lambda: opened(lambda _: None, os.O_WRONLY | os.O_TRUNC))
    moves("chmod", lambda: file.chmod(0o611))
    moves("chmod to the same", lambda: file.chmod(0o611))
    moves("chown to the same", lambda: os.chown(file, 0, 0))
    moves("utime", lambda: os.utime(file, (1, 1)))
    moves("write after utime", lambda: opened(lambda fd: os.write(fd, b"x")))
    moves("fsync", lambda: opened(os.fsync))


def vectors(at: Place, note: Notes) -> None:
    with (at / "file").open("w+b") as stream:
        descriptor = stream.fileno()
        note("pwritev", os.pwritev, descriptor, [b"one", b"two", b"", b"three" * 3000], 7)
        parts = [bytearray(5), bytearray(3), bytearray(20_000)]
        note("preadv", os.preadv, descriptor, parts, 3)
        note.value("parts", tuple(bytes(part) for part in parts))
        note("sendfile", lambda: _sent(descriptor))


def _sent(descriptor: int) -> int:
    reader, writer = os.pipe()
    try:
        return os.sendfile(writer, descriptor, 0, 1000)
    finally:
        os.close(reader)
        os.close(writer)


def odd_sizes(at: Place, note: Notes) -> None:
    """Writes of any size at any place against bytes in memory."""
    chance = random.Random(11)
    expected = bytearray()
    with (at / "file").open("w+b", buffering=0) as stream:
        for _ in range(120):
            offset, size = chance.randrange(300_000), chance.choice((1, 511, 4095, 4097, 65_537, 131_073))
            piece = chance.randbytes(size)
            if len(expected) < offset:
                expected.extend(bytes(offset - len(expected)))
            expected[offset : offset + size] = piece
            os.pwrite(stream.fileno(), piece, offset)
    note.value("equal", (at / "file").read_bytes() == bytes(expected))


def direct_io(at: Place, note: Notes) -> None:
    """O_DIRECT may be refused, but must not lie."""
    buffer = mmap.mmap(-1, 8192)
    buffer[:] = b"d" * 8192
    try:
        descriptor = os.open(at / "file", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        note.value("refused", error.errno == errno.EINVAL)
        return
    os.pwrite(descriptor, buffer, 4096)
    os.close(descriptor)
    note("content", (at / "file").read_bytes)


def atime(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"content")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    note("set", lambda: file.stat().st_atime_ns)


CASES = (
    truncation,
    open_flags,
    what_a_descriptor_may_do,
    appends,
    tail,
    mappings,
    times_of_content,
    vectors,
    odd_sizes,
    direct_io,
    atime,
)
