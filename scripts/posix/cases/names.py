"""Renames with every flag, and names of every kind."""

import os
from pathlib import Path

from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2


def _made(at: Place) -> None:
    (at / "file").write_bytes(b"content of file")
    (at / "other").write_bytes(b"other")
    (at / "empty").mkdir()
    (at / "full").mkdir()
    (at / "full" / "below").write_bytes(b"x")
    os.symlink("file", at / "link")


def _tree(at: Place) -> list[str]:
    found = []
    for folder, folders, files in os.walk(at.top):
        found += [os.path.relpath(os.path.join(folder, name), at.top) for name in (*folders, *files)]
    return sorted(found)


def every_kind_over_every_kind(at: Place, note: Notes) -> None:
    """rename(2): all pairs of kinds, and a name that is not there."""
    kinds = ("file", "other", "empty", "full", "link", "missing")
    for source in kinds:
        for target in kinds:
            below = Place(at / f"{source}-{target}")
            below.top.mkdir()
            _made(below)
            note(f"{source} over {target}", os.rename, below / source, below / target)
            note.value("left", _tree(below))


def flags(at: Place, note: Notes) -> None:
    """renameat2(2)."""
    for flag in (RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE, 8, 1 << 20):
        for source, target in (
            ("file", "other"),
            ("file", "full"),
            ("full", "file"),
            ("full", "empty"),
            ("file", "missing"),
            ("missing", "file"),
            ("file", "file"),
            ("link", "file"),
        ):
            below = Place(at / f"{flag}-{source}-{target}")
            below.top.mkdir()
            _made(below)
            note(f"{flag}: {source} to {target}", renameat2, below / source, below / target, flag)
            note.value("left", _tree(below))
    note("whiteout with exchange", renameat2, at / "x", at / "y", RENAME_WHITEOUT | RENAME_EXCHANGE)


def exchange_between_directories(at: Place, note: Notes) -> None:
    for name in ("one", "two"):
        (at / name).mkdir()
        (at / name / "in").write_bytes(name.encode())
    (at / "one" / "deep").mkdir()
    note("files", renameat2, at / "one" / "in", at / "two" / "in", RENAME_EXCHANGE)
    note("content", (at / "one" / "in").read_bytes)
    note("a directory and one below it", renameat2, at / "one", at / "one" / "deep", RENAME_EXCHANGE)
    note("one below it and a directory", renameat2, at / "one" / "deep", at / "one", RENAME_EXCHANGE)
    note("directory and file", renameat2, at / "one", at / "two" / "in", RENAME_EXCHANGE)
    note.value("left", _tree(at))


def into_itself(at: Place, note: Notes) -> None:
    _made(at)
    (at / "full" / "deep").mkdir()
    note("below itself", os.rename, at / "full", at / "full" / "new")
    note("below a directory below itself", os.rename, at / "full", at / "full" / "deep" / "new")
    note("over its parent", os.rename, at / "full" / "deep", at / "full")
    note("to the same name", os.rename, at / "full", at / "full")
    note("dot", os.rename, at / "full" / ".", at / "new")
    note("dot dot", os.rename, at / "full" / "..", at / "new")
    note("to dot", os.rename, at / "empty", str(at / "full") + "/.")
    note("trailing slash of a file", os.rename, str(at / "file") + "/", at / "new")
    note("to a trailing slash", os.rename, at / "file", str(at / "new") + "/")
    note("a directory to a trailing slash", os.rename, at / "empty", str(at / "new") + "/")
    note.value("left", _tree(at))


def through_what_is_no_directory(at: Place, note: Notes) -> None:
    _made(at)
    os.symlink("circle", at / "circle")
    note("from below a file", os.rename, at / "file" / "x", at / "y")
    note("to below a file", os.rename, at / "other", at / "file" / "x")
    note("from below nothing", os.rename, at / "missing" / "x", at / "y")
    note("to below nothing", os.rename, at / "other", at / "missing" / "x")
    note("through a circle", os.rename, at / "circle" / "x", at / "y")
    note("to below a circle", os.rename, at / "other", at / "circle" / "x")
    note("a link itself", os.rename, at / "circle", at / "moved")
    note("where it leads", os.readlink, at / "moved")


def bytes_of_names(at: Place, note: Notes) -> None:
    """Whatever is no slash and no NUL may be in a name."""
    os.chdir(at.top)
    try:
        for name in (
            b"\xff\xfe",
            b"\x01\x02\x1f\x7f",
            b"new\nline",
            b"trailing dot.",
            b"trailing space ",
            b" leading",
            b'<>:"|?*\\',
            "ä".encode(),
            "a\u0308".encode(),
            b"CON",
            b"con",
            b"aux.txt",
            b"...",
            b"-rf",
            b"~",
            b"%41",
            "\u202e\u200b".encode(),
            b"n" * 255,
            b"\xff" * 255,
            "ü".encode() * 127,
            b"n" * 256,
            "ü".encode() * 128,
            b"",
            b".",
            b"..",
        ):
            note(f"write {name[:20]!r} {len(name)}", Path(os.fsdecode(name)).write_bytes, name)
            note("mkdir", os.mkdir, name + b"-d")
            note("rename", os.rename, name, name[:250] + b"-m" if len(name) < 250 else name[:-1] + b"m")
        note("all", os.listdir, b".")
        for name in os.listdir(b"."):
            note(f"exists {name[:20]!r}", os.path.exists, name)
    finally:
        os.chdir("/")


def paths_of_every_length(at: Place, note: Notes) -> None:
    descriptor = os.open(at.top, os.O_RDONLY)
    part = "p" * 250
    for depth in range(20):
        note(f"level {depth}", os.mkdir, part, dir_fd=descriptor)
        below = os.open(part, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    note(
        "a file at the end",
        lambda: os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=descriptor)),
    )
    os.close(descriptor)
    room = 4095 - len(str(at.top).encode())
    fitting = "/".join([str(at.top), *["x"] * (room // 2)])
    note("PATH_MAX", os.stat, fitting[:4095])
    note("longer than PATH_MAX", os.stat, fitting + "/x" * 10)
    note("a long name", os.stat, at / ("n" * 256))
    note("a long name in between", os.stat, at / ("n" * 256) / "x")
    note("a long name to make", os.mkdir, at / ("n" * 256))
    note("a long name as a target", os.rename, at.top, at.top.parent / ("n" * 256))
    note("a long symlink", lambda: os.symlink("t" * 4095, at / "long"))
    note("what it says", lambda: len(os.readlink(at / "long")))
    note("a longer one", lambda: os.symlink("t" * 4096, at / "longer"))
    note("an empty one", lambda: os.symlink("", at / "none"))


def keeps_identity(at: Place, note: Notes) -> None:
    """A rename moves neither inode number nor times but ctime."""
    _made(at)
    before = os.stat(at / "file")
    os.rename(at / "file", at / "full" / "moved")
    after = os.stat(at / "full" / "moved")
    note.value("inode", before.st_ino == after.st_ino)
    note.value("mtime", before.st_mtime_ns == after.st_mtime_ns)
    note.value("atime", before.st_atime_ns == after.st_atime_ns)
    note.value("ctime", before.st_ctime_ns < after.st_ctime_ns)


CASES = (
    every_kind_over_every_kind,
    flags,
    exchange_between_directories,
    into_itself,
    through_what_is_no_directory,
    bytes_of_names,
    paths_of_every_length,
    keeps_identity,
)
