"""Listings by small portions, working directories, and the system calls that limit how a path is resolved."""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from scripts.posix.cases.kinds import MAKERS
from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    STATX_BASIC,
    entries_by_portion,
    handle_of,
    link_descriptor,
    link_followed,
    open_by_handle,
    openat2,
    statx_mask,
    sync_file_range,
    syncfs,
    watch,
    watcher,
)


def by_portions(at: Place, note: Notes) -> None:
    """Any size of buffer gives each name once; one that is too small is refused."""
    names = [f"{'n' * (number % 60)}-{number}" for number in range(200)]
    for name in names:
        (at / name).write_bytes(b"")
    descriptor = os.open(at.top, os.O_RDONLY)
    for size in (96, 120, 512, 4096, 1 << 20):
        os.lseek(descriptor, 0, os.SEEK_SET)
        found = [name for portion in entries_by_portion(descriptor, size) for name in portion]
        note.value(f"{size}: names", sorted(found) == sorted([b".", b"..", *map(os.fsencode, names)]))
        note(f"{size}: at the end", lambda size=size: entries_by_portion(descriptor, size))
    os.lseek(descriptor, 0, os.SEEK_SET)
    note("too small", entries_by_portion, descriptor, 16)
    os.close(descriptor)


def from_the_start_again(at: Place, note: Notes) -> None:
    """After a rewind a listing shows what came and went; two descriptors have places of their own."""
    for number in range(50):
        (at / f"{number}").write_bytes(b"")
    one, two = os.open(at.top, os.O_RDONLY), os.open(at.top, os.O_RDONLY)
    first = _flat(entries_by_portion(one, 4096))
    (at / "new").write_bytes(b"")
    (at / "7").unlink()
    os.rename(at / "8", at / "eight")
    os.lseek(one, 0, os.SEEK_SET)
    again = _flat(entries_by_portion(one, 4096))
    note.value("went", set(first) - set(again))
    note.value("came", set(again) - set(first))
    note.value("twice", len(again) - len(set(again)))
    note("another descriptor", lambda: sorted(_flat(entries_by_portion(two, 200))) == sorted(again))
    note("to a negative place", os.lseek, one, -1, os.SEEK_SET)
    os.close(one)
    os.close(two)


def _flat(portions: list[list[bytes]]) -> list[bytes]:
    return [name for portion in portions for name in portion]


def working_directories(at: Place, note: Notes) -> None:
    """A directory that is moved or removed while somebody is in it."""

    def inside(own: Notes) -> None:
        (at / "one" / "two" / "three").mkdir(parents=True)
        (at / "other").mkdir()
        os.chdir(at / "one" / "two" / "three")
        own("here", os.getcwd)
        os.rename(at / "one" / "two", at / "other" / "moved")
        own("moved", os.getcwd)
        own("above", lambda: os.path.samefile("../..", at / "other"))
        own("make", lambda: Path("file").write_bytes(b"x"))
        own("by its name", (at / "other" / "moved" / "three" / "file").read_bytes)
        own("list above", os.listdir, "..")
        os.unlink("file")
        os.rmdir(at / "other" / "moved" / "three")
        for label, work in (
            ("here", os.getcwd),
            ("list", lambda: os.listdir(".")),
            ("make", lambda: Path("file").write_bytes(b"x")),
            ("mkdir", lambda: os.mkdir("x")),
            ("symlink", lambda: os.symlink("x", "y")),
            ("stat", lambda: os.stat(".").st_nlink),
            ("above", lambda: os.path.samefile("..", at / "other" / "moved")),
            ("remove it again", lambda: os.rmdir("../three")),
            ("enter", lambda: os.chdir(".")),
            ("open", lambda: os.close(os.open(".", os.O_RDONLY))),
            ("chmod", lambda: os.chmod(".", 0o700)),
            ("xattr", lambda: os.setxattr(".", "user.x", b"y")),
        ):
            own(f"removed: {label}", work)

    note.by_child("inside", inside)


def link_counts(at: Place, note: Notes) -> None:
    """Of a directory: two and one for each directory in it, through each way that these come and go."""
    (at / "top").mkdir()
    top, other = at / "top", at / "other"
    other.mkdir()

    def counted(label: str, *work: Callable[[], object]) -> None:
        for step in work:
            step()
        note.value(label, (top.stat().st_nlink, other.stat().st_nlink))

    counted("new")
    counted("made", lambda: (top / "a").mkdir(), lambda: (top / "b").mkdir())
    counted("a file", lambda: (top / "f").write_bytes(b""))
    counted("moved", lambda: os.rename(top / "a", other / "a"))
    counted("over another", lambda: os.rename(top / "b", other / "a"))
    counted("back", lambda: os.rename(other / "a", top / "a"))
    counted("removed", lambda: (top / "a").rmdir())
    descriptor = os.open(top, os.O_RDONLY)
    (top / "f").unlink()
    top.rmdir()
    note("of one that is gone", lambda: os.fstat(descriptor).st_nlink)
    os.close(descriptor)
    (at / "x").mkdir()
    (at / "y").mkdir()
    descriptor = os.open(at / "y", os.O_RDONLY)
    os.rename(at / "x", at / "y")
    note("of one that is replaced", lambda: os.fstat(descriptor).st_nlink)
    os.close(descriptor)


def limits_of_resolving(at: Place, note: Notes) -> None:
    """openat2(2)."""
    (at / "folder" / "below").mkdir(parents=True)
    (at / "folder" / "file").write_bytes(b"x")
    (at / "outside").write_bytes(b"x")
    for name, target in (
        ("inner", "file"),
        ("outer", "../outside"),
        ("absolute", "/etc/passwd"),
        ("rooted", "/file"),
        ("deep", "below/../file"),
    ):
        os.symlink(target, at / "folder" / name)
    top = os.open(at / "folder", os.O_PATH)
    for resolve in (
        *(0, RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS),
        *(RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_BENEATH | RESOLVE_IN_ROOT, 1 << 40),
    ):
        for path in (
            "file",
            "inner",
            "outer",
            "absolute",
            "rooted",
            "deep",
            "../outside",
            "below/..",
            "/",
            ".",
        ):
            note(
                f"{resolve}: {path}",
                lambda path=path, resolve=resolve: os.close(
                    openat2(Path(path), os.O_RDONLY, resolve, top=top)
                ),
            )
    note(
        "made",
        lambda: os.close(openat2(Path("new"), os.O_CREAT | os.O_RDWR, RESOLVE_BENEATH, mode=0o640, top=top)),
    )
    note.status("new", at / "folder" / "new")
    note("bits that are no mode", openat2, Path("new2"), os.O_CREAT | os.O_RDWR, 0, mode=0o177777, top=top)
    note("a mode without making", openat2, Path("file"), os.O_RDONLY, 0, mode=0o600, top=top)
    os.close(top)


def handles(at: Place, note: Notes) -> None:
    """name_to_handle_at(2): what is in use is found by its handle, also under another name."""
    for kind, make in MAKERS.items():
        path = at / kind.replace(" ", "-")
        make(path)
        note(f"{kind}: the same twice", lambda path=path: handle_of(path) == handle_of(path))
    file = at / "file"
    with file.open("rb"):
        handle = handle_of(file)
        os.rename(file, at / "moved")
        note("by another name", lambda: handle_of(at / "moved") == handle)
        inside = os.open(at.top, os.O_RDONLY)

        def read() -> bytes:
            descriptor = open_by_handle(inside, handle, os.O_RDONLY)
            try:
                return os.read(descriptor, 100)
            finally:
                os.close(descriptor)

        note("opened", read)
        os.close(inside)


def told_by_statx(at: Place, note: Notes) -> None:
    for kind, make in MAKERS.items():
        path = at / kind.replace(" ", "-")
        make(path)
        note(f"{kind}: basic", lambda path=path: statx_mask(path, STATX_BASIC, 0x100) & STATX_BASIC)
        note(f"{kind}: inode", lambda path=path: statx_mask(path, 0x100, 0x100) & 0x100)
    note("missing", statx_mask, at / "missing", STATX_BASIC)
    note("unknown flags", statx_mask, at / "file", STATX_BASIC, 1 << 20)
    for flag in (0x2000, 0x4000):  # AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC
        note(f"{flag}", lambda flag=flag: statx_mask(at / "file", STATX_BASIC, flag) & STATX_BASIC)


def control_calls(at: Place, note: Notes) -> None:
    """ioctl(2), advice and synchronisation."""
    (at / "file").write_bytes(b"x" * 100)
    descriptor, folder = os.open(at / "file", os.O_RDWR), os.open(at.top, os.O_RDONLY)
    for label, work in (
        ("bytes that can be read", lambda: struct.unpack("i", fcntl.ioctl(descriptor, 0x541B, bytes(4)))),
        ("unknown", lambda: fcntl.ioctl(descriptor, 0x12345678, bytes(4))),
        ("unknown of a directory", lambda: fcntl.ioctl(folder, 0x12345678, bytes(4))),
        ("terminal", lambda: os.ttyname(descriptor)),
        ("is a terminal", lambda: os.isatty(descriptor)),
        ("advice", lambda: os.posix_fadvise(descriptor, 0, 100, os.POSIX_FADV_DONTNEED)),
        ("unknown advice", lambda: os.posix_fadvise(descriptor, 0, 100, 99)),
        ("range", lambda: sync_file_range(descriptor, 0, 10, 7)),
        ("range with unknown flags", lambda: sync_file_range(descriptor, 0, 10, 64)),
        ("negative range", lambda: sync_file_range(descriptor, -1, 10, 7)),
        ("file system", lambda: syncfs(descriptor)),
        ("file system by a directory", lambda: syncfs(folder)),
        ("fsync of a directory", lambda: os.fsync(folder)),
        ("fdatasync of a directory", lambda: os.fdatasync(folder)),
        ("write to a directory", lambda: os.write(folder, b"x")),
        ("truncate of a directory", lambda: os.ftruncate(folder, 0)),
        ("seek of a directory", lambda: os.lseek(folder, 0, os.SEEK_SET)),
        ("owner of signals", lambda: fcntl.fcntl(descriptor, fcntl.F_GETOWN)),
        ("pipe size", lambda: fcntl.fcntl(descriptor, 1032)),
        ("seals", lambda: fcntl.fcntl(descriptor, 1034)),
        ("lease of a reader, by a writer", lambda: fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
        ("no lease", lambda: fcntl.fcntl(descriptor, fcntl.F_GETLEASE)),
    ):
        note(label, work)
    os.close(descriptor)
    os.close(folder)


def links_of_open_files(at: Place, note: Notes) -> None:
    """linkat(2) of what has no name, by its descriptor and by /proc."""
    for number, how in enumerate(("descriptor", "proc")):
        descriptor = os.open(at.top, os.O_TMPFILE | os.O_RDWR, 0o640)
        os.write(descriptor, b"content")
        if how == "proc":
            note("by /proc", link_followed, Path(f"/proc/self/fd/{descriptor}"), at / f"{number}")
        else:
            note("by the descriptor", link_descriptor, descriptor, at / f"{number}")
        note.status("linked", at / f"{number}")
        note("write", os.write, descriptor, b"more")
        note("content", (at / f"{number}").read_bytes)
        os.unlink(at / f"{number}")
        note.value("links", os.fstat(descriptor).st_nlink)
        os.close(descriptor)
    note("left", os.listdir, at.top)


def watched(at: Place, note: Notes) -> None:
    """inotify(7) tells of the same, in the same order."""
    everything, descriptor = 0xFFF, watcher()
    (at / "old").write_bytes(b"old")
    watch(descriptor, at.top, everything)
    watch(descriptor, at / "old", everything)
    for label, work in (
        ("create", lambda: os.close(os.open(at / "file", os.O_CREAT | os.O_WRONLY))),
        ("write", lambda: (at / "file").write_bytes(b"x")),
        ("read", (at / "file").read_bytes),
        ("chmod", lambda: (at / "file").chmod(0o600)),
        ("truncate", lambda: os.truncate(at / "file", 0)),
        ("utime", lambda: os.utime(at / "file", (1, 1))),
        ("xattr", lambda: os.setxattr(at / "file", "user.x", b"y")),
        ("rename", lambda: os.rename(at / "file", at / "moved")),
        ("replace", lambda: os.rename(at / "moved", at / "old")),
        ("mkdir", lambda: (at / "folder").mkdir()),
        ("symlink", lambda: os.symlink("x", at / "link")),
        ("mkfifo", lambda: os.mkfifo(at / "fifo")),
        ("list", lambda: os.listdir(at / "folder")),
        ("rmdir", lambda: (at / "folder").rmdir()),
        ("unlink", lambda: (at / "old").unlink()),
    ):
        work()
        note.value(label, tuple(_events(descriptor)))
    os.close(descriptor)


def _events(descriptor: int) -> list[tuple[int, int, bytes]]:
    try:
        raw = os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return []
    found = []
    while raw:
        number, mask, _, length = struct.unpack_from("iIII", raw)
        found.append((number, mask, raw[16 : 16 + length].rstrip(b"\0")))
        raw = raw[16 + length :]
    return found


CASES = (
    by_portions,
    from_the_start_again,
    working_directories,
    link_counts,
    limits_of_resolving,
    handles,
    told_by_statx,
    control_calls,
    links_of_open_files,
    watched,
)
