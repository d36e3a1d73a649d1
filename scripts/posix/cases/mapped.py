"""Shared and private mappings: what they show, what they change, and what they do when the file shrinks."""

import mmap
import os
import signal
from functools import partial

from scripts.posix.clock import let_a_step_pass
from scripts.posix.notes import Notes, Place

PAGE = 4096


def beyond_the_end(at: Place, note: Notes) -> None:
    """SIGBUS behind the last page, zeros in the rest of it."""
    file = at / "file"
    file.write_bytes(b"x" * (PAGE + 100))

    def reads(offset: int, size: int) -> None:
        def touch(own: Notes) -> None:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            descriptor = os.open(file, os.O_RDWR)
            mapping = mmap.mmap(descriptor, 3 * PAGE + 100) if size else mmap.mmap(descriptor, 0)
            if size:
                os.ftruncate(descriptor, size)
            own("byte", lambda: mapping[offset])

        os.truncate(file, 3 * PAGE + 100)
        note.by_child(f"{offset} of {size}", touch)

    for size in (1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE):
        for offset in (0, PAGE - 1, PAGE, 2 * PAGE, 3 * PAGE):
            reads(offset, size)


def truncation(at: Place, note: Notes) -> None:
    """What was behind the end is zero when the file grows again, however it grows."""
    file = at / "file"
    for how in ("ftruncate", "write", "fallocate", "truncate by name"):
        file.write_bytes(b"x" * 3 * PAGE)
        with file.open("r+b") as stream:
            descriptor = stream.fileno()
            with mmap.mmap(descriptor, 3 * PAGE) as mapping:
                mapping[PAGE : PAGE + 200] = b"y" * 200
                os.ftruncate(descriptor, PAGE + 100)
                note(f"{how}: rest of the page", lambda: mapping[PAGE + 90 : PAGE + 110])
                if how == "ftruncate":
                    os.ftruncate(descriptor, 3 * PAGE)
                elif how == "write":
                    os.pwrite(descriptor, b"end", 3 * PAGE - 3)
                elif how == "fallocate":
                    os.posix_fallocate(descriptor, 0, 3 * PAGE)
                else:
                    os.truncate(file, 3 * PAGE)
                note(f"{how}: grown", lambda: mapping[:])
                note(f"{how}: by read", os.pread, descriptor, 4 * PAGE, 0)
        note(f"{how}: content", file.read_bytes)


def with_reads_and_writes(at: Place, note: Notes) -> None:
    """A mapping, read and write of several descriptors show the same at all times."""
    file = at / "file"
    file.write_bytes(bytes(8 * PAGE))
    one, two = os.open(file, os.O_RDWR), os.open(file, os.O_RDWR)
    with mmap.mmap(one, 8 * PAGE) as first, mmap.mmap(two, 8 * PAGE) as second:
        for number in range(40):
            place, text = number * 700 + 3, b"%08d" % number
            if number % 3 == 0:
                first[place : place + 8] = text
            elif number % 3 == 1:
                os.pwrite(two, text, place)
            else:
                second[place : place + 8] = text
            seen = {
                bytes(first[place : place + 8]),
                bytes(second[place : place + 8]),
                os.pread(one, 8, place),
                os.pread(two, 8, place),
            }
            note.value(f"{number}", seen == {text})
        os.close(one)
        os.close(two)
        first[0:3] = b"end"
        note.value("after the close", bytes(second[0:3]))
    note("content", file.read_bytes)


def over_a_fork(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"-" * PAGE)
    descriptor = os.open(file, os.O_RDWR)
    shared, private = mmap.mmap(descriptor, PAGE), mmap.mmap(descriptor, PAGE, flags=mmap.MAP_PRIVATE)
    os.close(descriptor)

    def work(own: Notes) -> None:
        shared[0:6] = b"shared"
        private[0:7] = b"private"
        own.value("own", bytes(private[0:7]))

    note.by_child("child", work)
    note.value("shared", bytes(shared[0:6]))
    note.value("private", bytes(private[0:7]))
    os.unlink(file)
    shared[10:14] = b"gone"
    note.value("unlinked", bytes(private[10:14]))
    shared.close()
    private.close()


def rights(at: Place, note: Notes) -> None:
    """What a descriptor was opened for limits its mappings."""
    file = at / "file"
    file.write_bytes(b"x" * PAGE)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        descriptor = os.open(file, flags)
        for kind in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            for access in (mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_WRITE):
                mapped = partial(mmap.mmap, descriptor, PAGE, flags=kind, prot=access)
                note(f"{flags} {kind} {access}", lambda mapped=mapped: mapped().close())
        os.close(descriptor)
    (at / "empty").write_bytes(b"")
    folder = os.open(at.top, os.O_RDONLY)
    note("a directory", lambda: mmap.mmap(folder, PAGE).close())
    os.close(folder)


def times(at: Place, note: Notes) -> None:
    """msync moves mtime and ctime where the mapping was written to."""
    file = at / "file"
    file.write_bytes(b"x" * PAGE)
    descriptor = os.open(file, os.O_RDWR)
    with mmap.mmap(descriptor, PAGE) as mapping:
        before = os.fstat(descriptor)
        let_a_step_pass()
        note.value("read", mapping[0])
        mapping.flush()
        after = os.fstat(descriptor)
        note.value("reading moves nothing", after.st_mtime_ns == before.st_mtime_ns)
        mapping[0:1] = b"y"
        mapping.flush()
        after = os.fstat(descriptor)
        note.value("writing moves", _moved(before, after))
        let_a_step_pass()
        mapping[1:2] = b"z"
        mapping.flush()
        note.value("writing again moves", _moved(after, os.fstat(descriptor)))
        last = os.fstat(descriptor)
        let_a_step_pass()
        mapping[2:3] = b"!"
    os.close(descriptor)
    note.value("unmapped and closed", _moved(last, os.stat(file)))


def _moved(before: os.stat_result, after: os.stat_result) -> tuple[bool, bool]:
    return after.st_mtime_ns > before.st_mtime_ns, after.st_ctime_ns > before.st_ctime_ns


def holes(at: Place, note: Notes) -> None:
    """A hole that is punched under a mapping shows as zeros, and can be written to."""
    file = at / "file"
    file.write_bytes(b"x" * 8 * PAGE)
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 8 * PAGE) as mapping:
        note.value("before", bytes(mapping[PAGE : PAGE + 3]))
        note("remove", mapping.madvise, 9, PAGE, 2 * PAGE)  # MADV_REMOVE
        note.value("removed", bytes(mapping[PAGE - 2 : PAGE + 2]))
        note("by read", os.pread, stream.fileno(), 4, PAGE - 2)
        mapping[2 * PAGE : 2 * PAGE + 3] = b"new"
        note("written", os.pread, stream.fileno(), 5, 2 * PAGE - 1)
        note("do not need", mapping.madvise, mmap.MADV_DONTNEED)
        note.value("still", bytes(mapping[2 * PAGE : 2 * PAGE + 3]))
        note("will need", mapping.madvise, mmap.MADV_WILLNEED)
    note("content", file.read_bytes)


def grown_by_another(at: Place, note: Notes) -> None:
    """A mapping that is larger than the file shows what comes, when it comes."""
    file = at / "file"
    file.write_bytes(b"x" * 10)
    descriptor = os.open(file, os.O_RDWR)
    os.ftruncate(descriptor, 4 * PAGE)
    mapping = mmap.mmap(descriptor, 4 * PAGE)
    os.ftruncate(descriptor, 10)
    with file.open("ab") as stream:
        stream.write(b"more" * PAGE)
    note.value("begin", bytes(mapping[5:20]))
    note.value("end", bytes(mapping[4 * PAGE - 4 : 4 * PAGE]))
    mapping.resize(2 * PAGE)
    note.value("resized", (len(mapping), os.fstat(descriptor).st_size))
    mapping.close()
    os.close(descriptor)
    note("content", file.read_bytes)


CASES = (
    beyond_the_end,
    truncation,
    with_reads_and_writes,
    over_a_fork,
    rights,
    times,
    holes,
    grown_by_another,
)
