"""Modes, owners, times and link counts, as root sees them."""

import os
import stat
import time

from scripts.posix.clock import let_a_step_pass
from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT, utimensat

RECENT_S = 100


def modes(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"")
    (at / "folder").mkdir()
    os.symlink("file", at / "link")
    os.mkfifo(at / "fifo")
    for mode in (0, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o644):
        for name in ("file", "folder", "fifo", "link"):
            note(f"{mode:o} {name}", os.chmod, at / name, mode)
            note.status(name, at / name)
    note("missing", os.chmod, at / "missing", 0o600)
    note("below a file", os.chmod, at / "file" / "x", 0o600)


def modes_of_new_files(at: Place, note: Notes) -> None:
    for umask in (0, 0o022, 0o077, 0o777):
        os.umask(umask)
        for mode in (0, 0o600, 0o666, 0o7777):
            name = f"{umask:o}-{mode:o}"
            os.close(os.open(at / name, os.O_CREAT | os.O_WRONLY, mode))
            note.status(f"open {name}", at / name)
            os.mkdir(at / f"{name}-d", mode)
            note.status(f"mkdir {name}", at / f"{name}-d")
            os.mknod(at / f"{name}-n", stat.S_IFREG | mode)
            note.status(f"mknod {name}", at / f"{name}-n")
    os.umask(0o022)


def owners(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"")
    (at / "folder").mkdir()
    os.symlink("file", at / "link")
    for uid, gid in ((1, 2), (-1, 3), (4, -1), (-1, -1), (0xFFFFFFFE, 0xFFFFFFFE), (0, 0)):
        note(f"file {uid} {gid}", os.chown, at / "file", uid, gid)
        note.status("file", at / "file")
        note(f"folder {uid} {gid}", os.chown, at / "folder", uid, gid)
        note.status("folder", at / "folder")
        note(f"link {uid} {gid}", os.lchown, at / "link", uid, gid)
        note.status("link", at / "link")


def group_of_a_set_group_id_directory(at: Place, note: Notes) -> None:
    os.mkdir(at / "shared")
    os.chown(at / "shared", 0, 777)
    os.chmod(at / "shared", 0o2777)
    (at / "shared" / "file").write_bytes(b"")
    (at / "shared" / "folder").mkdir()
    os.symlink("x", at / "shared" / "link")
    os.mkfifo(at / "shared" / "fifo")
    for name in ("file", "folder", "link", "fifo"):
        note.status(name, at / "shared" / name)

    def make(own: Notes) -> None:
        (at / "shared" / "file2").write_bytes(b"")
        os.mkdir(at / "shared" / "folder2", 0o777)
        fd = os.open(at / "shared" / "setgid", os.O_CREAT | os.O_WRONLY, 0o2777)
        os.close(fd)
        for name in ("file2", "folder2", "setgid"):
            own.status(name, at / "shared" / name)

    note.by_user(1234, make)


def set_id_bits_at_a_change_of_owner(at: Place, note: Notes) -> None:
    for mode in (0o6777, 0o6755, 0o6666, 0o2764, 0o4711):
        for name, make in (("file", lambda path: path.write_bytes(b"x")), ("folder", os.mkdir)):
            path = at / f"{name}-{mode:o}"
            make(path)
            os.chmod(path, mode)
            note("chown to the same", os.chown, path, 0, 0)
            note.status(path.name, path)
            os.chmod(path, mode)
            note("chown of nothing", os.chown, path, -1, -1)
            note.status(path.name, path)
            os.chmod(path, mode)
            note("chown", os.chown, path, 5, 5)
            note.status(path.name, path)


def set_id_bits_at_a_write(at: Place, note: Notes) -> None:
    def change(own: Notes) -> None:
        for mode in (0o6777, 0o6766, 0o2777, 0o2767):
            for how in ("write", "truncate", "shrink", "map"):
                path = at / f"{mode:o}-{how}"
                descriptor = os.open(path, os.O_RDWR)
                if how == "write":
                    own("write", os.write, descriptor, b"y")
                elif how == "truncate":
                    own("ftruncate", os.ftruncate, descriptor, 50)
                elif how == "shrink":
                    own("truncate", os.truncate, path, 0)
                os.close(descriptor)
                own.status(path.name, path)

    for mode in (0o6777, 0o6766, 0o2777, 0o2767):
        for how in ("write", "truncate", "shrink", "map"):
            path = at / f"{mode:o}-{how}"
            path.write_bytes(b"x" * 10)
            os.chown(path, 1000, 1000)
            os.chmod(path, mode)
    note.by_user(1234, change)
    path = at / "by-root"
    path.write_bytes(b"x")
    os.chmod(path, 0o6777)
    with path.open("r+b") as stream:
        stream.write(b"y")
    note.status("by root", path)


def times(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"")
    (at / "folder").mkdir()
    os.symlink("file", at / "link")

    def told(name: str) -> list[int]:
        found = os.lstat(at / name)
        return [
            -1 if abs(ns / 1e9 - time.time()) < RECENT_S else ns
            for ns in (found.st_atime_ns, found.st_mtime_ns)
        ]

    for name in ("file", "folder", "link"):
        path, flag = at / name, AT_SYMLINK_NOFOLLOW
        for label, atime, mtime in (
            ("both", (1, 2), (3, 4)),
            ("nanoseconds", (1_700_000_000, 999_999_999), (1_700_000_001, 1)),
            ("atime only", (5, 6), (0, UTIME_OMIT)),
            ("mtime only", (0, UTIME_OMIT), (7, 8)),
            ("neither", (0, UTIME_OMIT), (0, UTIME_OMIT)),
            ("now and omit", (0, UTIME_NOW), (0, UTIME_OMIT)),
            ("omit and now", (0, UTIME_OMIT), (0, UTIME_NOW)),
            ("now", (0, UTIME_NOW), (0, UTIME_NOW)),
            ("before the epoch", (-5, 0), (-1_000_000, 500)),
            ("after 2038", (2**31 + 10, 0), (2**32 + 10, 7)),
            ("too many nanoseconds", (1, 1_000_000_000), (1, 1)),
            ("negative nanoseconds", (1, 1), (1, -5)),
        ):
            note(f"{label} {name}", utimensat, path, atime, mtime, flag)
            note.value("now", told(name))
    note("by a link", utimensat, at / "link", (11, 12), (13, 14))
    note.value("file", told("file"))
    note("missing", utimensat, at / "missing", (1, 1), (1, 1))
    before = os.stat(at / "file").st_ctime_ns
    os.utime(at / "file", (1, 1))
    note.value("ctime moves", os.stat(at / "file").st_ctime_ns > before)


def ctime(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"x")
    os.symlink("x", at / "link")
    os.mkfifo(at / "fifo")
    (at / "folder").mkdir()

    def moves(label: str, name: str, change: object) -> None:
        before = os.lstat(at / name).st_ctime_ns
        let_a_step_pass()
        assert callable(change)
        change(at / name)
        note.value(label, os.lstat(at / name).st_ctime_ns > before)

    for name in ("file", "fifo", "folder"):
        moves(f"chmod {name}", name, lambda path: os.chmod(path, 0o700))
        moves(f"chown {name}", name, lambda path: os.chown(path, 1, 1))
    moves("lchown", "link", lambda path: os.lchown(path, 1, 1))
    moves("setxattr", "file", lambda path: os.setxattr(path, "user.x", b"y"))
    moves("removexattr", "file", lambda path: os.removexattr(path, "user.x"))
    moves("chmod that fails", "file", lambda path: note("chmod", os.chmod, path / "x", 0))
    with (at / "file").open("rb") as stream:
        before = os.fstat(stream.fileno()).st_ctime_ns
        let_a_step_pass()
        os.unlink(at / "file")
        note.value("unlink", os.fstat(stream.fileno()).st_ctime_ns > before)


def symlinks(at: Place, note: Notes) -> None:
    for target in ("file", "/absolute/path", "../up", "with space", "\udcff", "a//b/./c", "t" * 1000):
        name = f"to-{target[:5].replace('/', '_')}"
        note(f"to {target[:10]}", os.symlink, target, at / name)
        note("reads", os.readlink, at / name)
        note.status(name, at / name)
    note("there", os.symlink, "x", at / "to-file")
    note("below nothing", os.symlink, "x", at / "missing" / "x")
    note("readlink of a directory", os.readlink, at.top)
    (at / "real").write_bytes(b"x")
    note("readlink of a file", os.readlink, at / "real")
    note("stat", os.stat, at / "to-file")
    note("stat with a slash", os.stat, str(at / "to-file") + "/")


def status_of_the_file_system(at: Place, note: Notes) -> None:
    found = os.statvfs(at.top)
    note.value("name length", found.f_namemax)
    note.value("sane", found.f_blocks >= found.f_bfree >= found.f_bavail > 0 and found.f_files > 0)
    note.value("of a file", os.statvfs(at.top).f_frsize > 0)
    note("path length", os.pathconf, at.top, "PC_PATH_MAX")
    note("name length by pathconf", os.pathconf, at.top, "PC_NAME_MAX")


def hard_links(at: Place, note: Notes) -> None:
    """Refused by EPERM, as by a file system without them (vfat); see documented differences."""
    (at / "file").write_bytes(b"x")
    (at / "folder").mkdir()
    note("of a directory", os.link, at / "folder", at / "hard")
    note("of nothing", os.link, at / "missing", at / "hard")
    note("over a name", os.link, at / "file", at / "folder")
    note("below a file", os.link, at / "file", at / "file" / "x")


CASES = (
    modes,
    modes_of_new_files,
    owners,
    group_of_a_set_group_id_directory,
    set_id_bits_at_a_change_of_owner,
    set_id_bits_at_a_write,
    times,
    ctime,
    symlinks,
    status_of_the_file_system,
    hard_links,
)
