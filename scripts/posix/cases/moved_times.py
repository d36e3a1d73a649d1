"""Which times each operation moves, on the entry and on the directories: the matrix of conformance suites."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from scripts.posix.cases.kinds import MAKERS
from scripts.posix.clock import let_a_step_pass
from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import (
    AT_SYMLINK_NOFOLLOW,
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    UTIME_NOW,
    UTIME_OMIT,
    fallocate,
    renameat2,
    utimensat,
)

Watched = Sequence[Path | int]
Changes = dict[str, Callable[[], object]]

OTHER = 1002


def _times(watched: Watched) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for one in watched:
        try:
            status = os.fstat(one) if isinstance(one, int) else os.lstat(one)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_ctime_ns))
    return found


def _moves(note: Notes, label: str, watched: Watched, change: Callable[[], object]) -> None:
    """Note for each of the watched which of mtime and ctime moved, and whether the operation failed."""
    before = _times(watched)
    let_a_step_pass()
    note(label, lambda: change() and None)
    for number, (old, new) in enumerate(zip(before, _times(watched), strict=True)):
        told = None if old is None or new is None else (new[0] > old[0], new[1] > old[1])
        note.value(f"{label}: {number}", told)


def of_directories(at: Place, note: Notes) -> None:
    """Making and removing each kind moves the times of the directory, failing moves nothing."""
    top = at / "top"
    top.mkdir()
    for kind, make in MAKERS.items():
        path = top / kind.replace(" ", "-")
        _moves(note, f"make {kind}", [top], partial(make, path))
        _moves(note, f"mkdir over {kind}", [top, path], partial(os.mkdir, path))
        _moves(note, f"unlink {kind}", [top, path], partial(os.unlink, path))
        _moves(note, f"rmdir {kind}", [top, path], partial(os.rmdir, path))


def of_new_entries(at: Place, note: Notes) -> None:
    """All three times are those of the making, and not before those of the directory."""
    for kind, make in MAKERS.items():
        path = at / kind.replace(" ", "-")
        before = os.stat(at.top).st_mtime_ns
        let_a_step_pass()
        make(path)
        status, folder = os.lstat(path), os.stat(at.top)
        note.value(
            kind,
            (
                status.st_atime_ns > before,
                status.st_mtime_ns > before,
                status.st_ctime_ns > before,
                folder.st_mtime_ns > before,
                folder.st_mtime_ns == folder.st_ctime_ns,
                kind == "full directory" or status.st_mtime_ns == status.st_ctime_ns,
            ),
        )


def of_renames(at: Place, note: Notes) -> None:
    for kind, make in MAKERS.items():
        one, two = at / f"{kind}-one".replace(" ", "-"), at / f"{kind}-two".replace(" ", "-")
        one.mkdir()
        two.mkdir()
        make(one / "a")
        _renamed(note, kind, one, two)


def _renamed(note: Notes, kind: str, one: Path, two: Path) -> None:
    watched = [one, two, one / "a", two / "b"]
    _moves(note, f"{kind}: away", [one, two], lambda: os.rename(one / "a", two / "b"))
    _moves(note, f"{kind}: within", watched, lambda: os.rename(two / "b", two / "c"))
    _moves(note, f"{kind}: to itself", [two, two / "c"], lambda: os.rename(two / "c", two / "c"))
    (two / "d").mkdir()
    (two / "d" / "x").mkdir()
    over = [two, two / "c", two / "d"]
    _moves(note, f"{kind}: over what is full", over, lambda: os.rename(two / "c", two / "d"))
    _moves(note, f"{kind}: no replace", over, lambda: renameat2(two / "c", two / "d", RENAME_NOREPLACE))
    _moves(note, f"{kind}: exchange", over, lambda: renameat2(two / "c", two / "d", RENAME_EXCHANGE))
    (one / "e").mkdir()
    _moves(
        note,
        f"{kind}: exchange across",
        [one, *over],
        lambda: renameat2(two / "d", one / "e", RENAME_EXCHANGE),
    )


def of_what_is_replaced(at: Place, note: Notes) -> None:
    for kind in ("file", "empty directory"):
        source, target = at / f"{kind}-source".replace(" ", "-"), at / f"{kind}-target".replace(" ", "-")
        MAKERS[kind](source)
        MAKERS[kind](target)
        with _descriptors(source, target) as opened:
            _moves(note, f"over: {kind}", [at.top, *opened], partial(os.rename, source, target))
            note.value("links", [os.fstat(one).st_nlink > 0 for one in opened])


@contextlib.contextmanager
def _descriptors(*paths: Path) -> Iterator[list[int]]:
    opened = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)


def of_attributes(at: Place, note: Notes) -> None:
    """chmod, chown, utimensat and xattrs, also those that change nothing, on each kind."""
    for kind, make in MAKERS.items():
        path = at / kind.replace(" ", "-")
        make(path)
        if "link" not in kind:
            mode = stat.S_IMODE(path.stat().st_mode)
            for label, wanted in (("chmod", 0o711), ("chmod to the same", 0o711), ("chmod back", mode)):
                _moves(note, f"{kind}: {label}", [at.top, path], partial(os.chmod, path, wanted))
        for owner in ((1, 1), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 0)):
            _moves(note, f"{kind}: chown {owner}", [at.top, path], partial(os.lchown, path, *owner))
        _moved_by_times_and_xattrs(note, kind, path)


def _moved_by_times_and_xattrs(note: Notes, kind: str, path: Path) -> None:
    watched = [path.parent, path]
    for atime, mtime in (
        ((1, 1), (0, UTIME_OMIT)),
        ((0, UTIME_OMIT), (0, UTIME_OMIT)),
        ((0, UTIME_OMIT), (0, UTIME_NOW)),
    ):
        label = f"{kind}: utimensat {atime} {mtime}"
        _moves(note, label, watched, partial(utimensat, path, atime, mtime, AT_SYMLINK_NOFOLLOW))
    for label, change in (
        ("set", partial(os.setxattr, path, "user.x", b"1")),
        ("set the same", partial(os.setxattr, path, "user.x", b"1")),
        ("create", partial(os.setxattr, path, "user.x", b"1", os.XATTR_CREATE)),
        ("get", partial(os.getxattr, path, "user.x")),
        ("remove", partial(os.removexattr, path, "user.x")),
        ("remove again", partial(os.removexattr, path, "user.x")),
    ):
        _moves(note, f"{kind}: xattr {label}", watched, partial(change, follow_symlinks=False))


def of_open_files(at: Place, note: Notes) -> None:
    """What moves while a file is open shows at once, through its name and through each descriptor."""
    path = at / "file"
    path.write_bytes(b"x" * 10_000)
    writer, reader = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    watched: Watched = [path, writer, reader]
    for label, change in (
        ("write", lambda: os.pwrite(writer, b"y", 0)),
        ("write of nothing", lambda: os.pwrite(writer, b"", 0)),
        ("write behind the end", lambda: os.pwrite(writer, b"y", 50_000)),
        ("read", lambda: os.pread(reader, 100, 0)),
        ("ftruncate shorter", lambda: os.ftruncate(writer, 5000)),
        ("ftruncate to the same", lambda: os.ftruncate(writer, 5000)),
        ("truncate to the same", lambda: os.truncate(path, 5000)),
        ("ftruncate longer", lambda: os.ftruncate(writer, 6000)),
        ("fallocate", lambda: fallocate(writer, 0, 0, 9000)),
        ("fallocate of what is there", lambda: fallocate(writer, 0, 0, 100)),
        ("fallocate, keeping the size", lambda: fallocate(writer, FALLOC_KEEP_SIZE, 0, 90_000)),
        ("punch", lambda: fallocate(writer, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, 4096)),
        ("zero", lambda: fallocate(writer, FALLOC_ZERO_RANGE, 100, 5000)),
        ("copy", lambda: os.copy_file_range(reader, writer, 100, 0, 5000)),
        ("fsync", lambda: os.fsync(writer)),
        ("utime", lambda: os.utime(writer, (1, 1))),
        ("write after it", lambda: os.pwrite(writer, b"z", 0)),
        ("utime again", lambda: os.utime(writer, (1, 1))),
        ("close", lambda: os.close(os.dup(writer))),
        ("open and close", lambda: os.close(os.open(path, os.O_RDWR))),
        ("open with O_TRUNC", lambda: os.close(os.open(path, os.O_RDWR | os.O_TRUNC))),
        ("sendfile into it", lambda: _sent_into(writer)),
        ("truncate over nothing", lambda: os.truncate(path, -1)),
    ):
        _moves(note, label, watched, change)
        note.value(f"{label}: all tell the same", len(set(_times(watched))) == 1)
    os.close(writer)
    os.close(reader)


def _sent_into(descriptor: int) -> None:
    source = os.open("/etc/passwd", os.O_RDONLY)
    os.sendfile(descriptor, source, 0, 10)
    os.close(source)


def stay_over_the_close(at: Place, note: Notes) -> None:
    """What `fstat` told last before a close is what `stat` tells after it, and later."""
    path = at / "file"
    for label, flags, work in (
        ("write", os.O_RDWR | os.O_CREAT, lambda fd: os.write(fd, b"x")),
        ("append", os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")),
        ("trunc", os.O_WRONLY | os.O_TRUNC, lambda _: None),
        ("ftruncate", os.O_WRONLY, lambda fd: os.ftruncate(fd, 100)),
        ("utime after a write", os.O_WRONLY, _then_utime),
        ("utime before a write", os.O_WRONLY, _after_utime),
        ("chmod after a write", os.O_WRONLY, _then_chmod),
        ("fsync", os.O_WRONLY, _then_fsync),
    ):
        descriptor = os.open(path, flags, 0o644)
        work(descriptor)
        told = _times([descriptor])
        let_a_step_pass()
        os.close(descriptor)
        note.value(f"{label}: after the close", _times([path]) == told)
        let_a_step_pass()
        path.read_bytes()
        note.value(f"{label}: after a read", _times([path]) == told)
        note.value(f"{label}: mtime is set", os.stat(path).st_mtime_ns == 6_000_000_000)


def _then_utime(descriptor: int) -> None:
    os.write(descriptor, b"x")
    os.utime(descriptor, (5, 6))


def _after_utime(descriptor: int) -> None:
    os.utime(descriptor, (5, 6))
    os.write(descriptor, b"x")


def _then_chmod(descriptor: int) -> None:
    os.write(descriptor, b"x")
    os.fchmod(descriptor, 0o600)


def _then_fsync(descriptor: int) -> None:
    os.write(descriptor, b"x")
    os.fsync(descriptor)


def of_what_others_may_not(at: Place, note: Notes) -> None:
    """An operation that is refused moves nothing, of the entry and of the directory."""
    top = at / "top"
    top.mkdir()
    for kind, make in MAKERS.items():
        path, new = top / kind.replace(" ", "-"), top / "new"
        make(path)
        changes: Changes = {
            "chown": partial(os.lchown, path, OTHER, -1),
            "chgrp": partial(os.lchown, path, -1, OTHER),
            "utimensat": partial(utimensat, path, (1, 1), (1, 1), AT_SYMLINK_NOFOLLOW),
            "touch": partial(utimensat, path, (0, UTIME_NOW), (0, UTIME_NOW), AT_SYMLINK_NOFOLLOW),
            "setxattr": partial(os.setxattr, path, "user.x", b"1", follow_symlinks=False),
            "removexattr": partial(os.removexattr, path, "user.x", follow_symlinks=False),
            "unlink": partial(os.unlink, path),
            "rmdir": partial(os.rmdir, path),
            "rename": partial(os.rename, path, new),
            "exchange": partial(renameat2, path, at / "own", RENAME_EXCHANGE),
            "rename over it": partial(os.rename, at / "own", path),
            "make in it": partial(os.mkdir, path / "new"),
            "make beside it": partial(make, new),
        }
        if "link" not in kind:
            changes["chmod"] = partial(os.chmod, path, 0o777)
        if kind == "file":
            changes["truncate"] = partial(os.truncate, path, 3)
            changes["open with O_TRUNC"] = partial(os.open, path, os.O_WRONLY | os.O_TRUNC)

        def tried(own: Notes, kind: str = kind, path: Path = path, changes: Changes = changes) -> None:
            for label, change in changes.items():
                _moves(own, f"{kind}: {label}", [top, path], change)

        (at / "own").mkdir()
        os.chown(at / "own", OTHER, OTHER)
        note.by_user(OTHER, tried)
        (at / "own").rmdir()


def extremes(at: Place, note: Notes) -> None:
    """Seconds that do not fit: as far as the system calls take them."""
    path = at / "file"
    path.write_bytes(b"")
    for seconds in (-1, -(2**31), 2**31, 2**32, 2**33, 2**34 - 10):
        note(f"{seconds}", utimensat, path, (seconds, 999_999_999), (seconds, 1))
        if -(2**31) < seconds < 2**34 - 2**31:  # what ext4 can keep
            note("told", lambda: (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns))
    for seconds in (2**40, 2**62, -(2**40), -(2**62)):
        note(f"{seconds}", utimensat, path, (seconds, 0), (seconds, 0))
    note("back", utimensat, path, (1, 2), (3, 4))
    note("told", lambda: (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns))


CASES = (
    of_directories,
    of_new_entries,
    of_renames,
    of_what_is_replaced,
    of_attributes,
    of_what_others_may_not,
    of_open_files,
    stay_over_the_close,
    extremes,
)
