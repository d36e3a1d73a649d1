"""flock and fcntl locks between processes of one mount, answer by answer."""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from scripts.posix.notes import Notes, Place

_FORMAT = "hhqqi4x"

F_OFD_GETLK, F_OFD_SETLK = 36, 37


def _record(
    descriptor: int, command: int, kind: int, start: int, length: int, whence: int = os.SEEK_SET
) -> tuple[int, ...]:
    asked = struct.pack(_FORMAT, kind, whence, start, length, 0)
    told = struct.unpack(_FORMAT, fcntl.fcntl(descriptor, command, asked))
    return told[:4]  # without the process


def _by_another(note: Notes, label: str, file: Path, work: Callable[[Notes, int], None]) -> None:
    def opened(own: Notes) -> None:
        descriptor = os.open(file, os.O_RDWR)
        work(own, descriptor)
        os.close(descriptor)

    note.by_child(label, opened)


def whole_files(at: Place, note: Notes) -> None:
    """flock(2): conversions, duplicates, a reader's descriptor, and directories."""
    file = at / "file"
    file.write_bytes(b"x")
    one, two = os.open(file, os.O_RDWR), os.open(file, os.O_RDONLY)

    def tried(own: Notes, descriptor: int) -> None:
        for name, how in (("shared", fcntl.LOCK_SH), ("exclusive", fcntl.LOCK_EX)):
            own(name, fcntl.flock, descriptor, how | fcntl.LOCK_NB)
            own(f"{name}, given back", fcntl.flock, descriptor, fcntl.LOCK_UN)

    for label, descriptor, how in (
        ("shared", one, fcntl.LOCK_SH),
        ("shared by both", two, fcntl.LOCK_SH),
        ("exclusive while the other is shared", one, fcntl.LOCK_EX),
        ("given back by the other", two, fcntl.LOCK_UN),
        ("exclusive", one, fcntl.LOCK_EX),
        ("shared while the other is exclusive", two, fcntl.LOCK_SH),
        ("back to shared", one, fcntl.LOCK_SH),
        ("a reader, exclusive", two, fcntl.LOCK_EX),
        ("given back", one, fcntl.LOCK_UN),
        ("a reader, exclusive now", two, fcntl.LOCK_EX),
        ("given back twice", one, fcntl.LOCK_UN),
        ("nothing", one, 0),
        ("unknown", one, 64),
    ):
        note(label, fcntl.flock, descriptor, how | fcntl.LOCK_NB)
        _by_another(note, label, file, tried)
    three = os.dup(two)
    os.close(two)
    _by_another(note, "a duplicate holds on", file, tried)
    os.close(three)
    _by_another(note, "closed", file, tried)
    os.close(one)
    folder = os.open(at.top, os.O_RDONLY)
    note("a directory", fcntl.flock, folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    again = os.open(at.top, os.O_RDONLY)
    note("a directory again", fcntl.flock, again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(folder)
    os.close(again)


def records(at: Place, note: Notes) -> None:
    """fcntl(2): ranges that split and join, and what F_GETLK tells of them."""
    file = at / "file"
    file.write_bytes(b"x" * 1000)
    one = os.open(file, os.O_RDWR)

    def asked(own: Notes, descriptor: int) -> None:
        for start, length in ((0, 0), (0, 10), (5, 1), (95, 10), (150, 10), (500, 0), (5000, 1)):
            for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK):
                own(f"{kind} {start} {length}", _record, descriptor, fcntl.F_GETLK, kind, start, length)
        own("to the end", _record, descriptor, fcntl.F_GETLK, fcntl.F_WRLCK, 0, 0, os.SEEK_END)
        own("before the end", _record, descriptor, fcntl.F_GETLK, fcntl.F_WRLCK, -10, 5, os.SEEK_END)
        own("refused", _record, descriptor, fcntl.F_SETLK, fcntl.F_WRLCK, 0, 0)

    for kind, start, length in (
        (fcntl.F_WRLCK, 0, 100),
        (fcntl.F_RDLCK, 50, 100),
        (fcntl.F_UNLCK, 20, 10),
        (fcntl.F_WRLCK, 20, 10),
        (fcntl.F_RDLCK, 0, 0),
        (fcntl.F_UNLCK, 100, 100),
        (fcntl.F_WRLCK, 990, 100),
        (fcntl.F_UNLCK, 0, 0),
        (fcntl.F_WRLCK, 2**62, 0),
        (fcntl.F_WRLCK, 200, -100),
    ):
        label = f"{kind} {start} {length}"
        note(label, _record, one, fcntl.F_SETLK, kind, start, length)
        note("own locks do not count", _record, one, fcntl.F_GETLK, fcntl.F_WRLCK, 0, 0)
        _by_another(note, label, file, asked)
    os.close(os.open(file, os.O_RDONLY))
    _by_another(note, "closed by another descriptor", file, asked)
    os.close(one)


def refused(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"x" * 1000)
    reader, writer = os.open(file, os.O_RDONLY), os.open(file, os.O_WRONLY)
    note("read lock of a writer", _record, writer, fcntl.F_SETLK, fcntl.F_RDLCK, 0, 0)
    note("write lock of a reader", _record, reader, fcntl.F_SETLK, fcntl.F_WRLCK, 0, 0)
    note("before the start", _record, reader, fcntl.F_SETLK, fcntl.F_RDLCK, -1, 1)
    note("a length before the start", _record, reader, fcntl.F_SETLK, fcntl.F_RDLCK, 5, -10)
    note("too far", _record, reader, fcntl.F_SETLK, fcntl.F_RDLCK, 2**63 - 1, 10)
    note("from a wrong place", _record, reader, fcntl.F_SETLK, fcntl.F_RDLCK, 0, 0, 9)
    note("an unknown kind", _record, reader, fcntl.F_SETLK, 9, 0, 0)
    note("asking for an unlock", _record, reader, fcntl.F_GETLK, fcntl.F_UNLCK, 0, 0)
    for descriptor in (reader, writer):
        os.close(descriptor)
    folder = os.open(at.top, os.O_RDONLY)
    note("a directory", _record, folder, fcntl.F_SETLK, fcntl.F_RDLCK, 0, 0)
    os.close(folder)


def of_descriptions(at: Place, note: Notes) -> None:
    """Locks of open file descriptions, among themselves and against those of the process."""
    file = at / "file"
    file.write_bytes(b"x" * 1000)
    one, two = os.open(file, os.O_RDWR), os.open(file, os.O_RDWR)
    for label, descriptor, command, kind, start, length in (
        ("one", one, F_OFD_SETLK, fcntl.F_WRLCK, 0, 100),
        ("two over it", two, F_OFD_SETLK, fcntl.F_WRLCK, 50, 100),
        ("two behind it", two, F_OFD_SETLK, fcntl.F_RDLCK, 100, 100),
        ("the process over one", one, fcntl.F_SETLK, fcntl.F_WRLCK, 0, 10),
        ("the process elsewhere", one, fcntl.F_SETLK, fcntl.F_WRLCK, 500, 10),
        ("one over that", one, F_OFD_SETLK, fcntl.F_WRLCK, 505, 1),
        ("one asks", one, F_OFD_GETLK, fcntl.F_WRLCK, 0, 0),
        ("two asks", two, F_OFD_GETLK, fcntl.F_WRLCK, 0, 0),
        ("one given back", one, F_OFD_SETLK, fcntl.F_UNLCK, 0, 0),
        ("two again", two, F_OFD_SETLK, fcntl.F_WRLCK, 50, 100),
    ):
        note(label, _record, descriptor, command, kind, start, length)
    child = os.fork()
    if child == 0:
        os.close(two)  # the description is still open in the parent
        os._exit(0)
    os.waitpid(child, 0)
    note("the child closed its own", _record, one, F_OFD_SETLK, fcntl.F_WRLCK, 60, 1)
    os.close(two)
    note("closed", _record, one, F_OFD_SETLK, fcntl.F_WRLCK, 60, 1)
    os.close(one)


def unlinked(at: Place, note: Notes) -> None:
    """A file that has no name any more can be locked all the same, as sqlite and mktemp users do."""
    file = at / "file"
    file.write_bytes(b"x")
    one = os.open(file, os.O_RDWR)
    os.unlink(file)
    note("flock", fcntl.flock, one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    note("record", _record, one, fcntl.F_SETLK, fcntl.F_WRLCK, 0, 0)
    again = os.open(f"/proc/self/fd/{one}", os.O_RDWR)
    note("by another open", fcntl.flock, again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    os.close(one)


CASES = (whole_files, records, refused, of_descriptions, unlinked)
