"""Who may do what: every operation as somebody else than the owner. Needs root to begin with."""

import os
import stat
from pathlib import Path

from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import UTIME_NOW, UTIME_OMIT, utimensat

OWNER, OTHER, GROUP = 1001, 1002, 2001


def _owned(path: Path, mode: int, *, content: bytes = b"x", folder: bool = False) -> Path:
    path.mkdir() if folder else path.write_bytes(content)
    os.chown(path, OWNER, GROUP)
    os.chmod(path, mode)
    return path


def opening(at: Place, note: Notes) -> None:
    at.top.chmod(0o777)
    files = [_owned(at / f"{mode:o}", mode) for mode in (0, 0o400, 0o200, 0o600, 0o060, 0o006, 0o644, 0o755)]

    def tried(own: Notes) -> None:
        for file in files:
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
                own(
                    f"open {file.name} {flags}", lambda file=file, flags=flags: os.close(os.open(file, flags))
                )
            own("truncate", os.truncate, file, 1)
            own("access", lambda file=file: [os.access(file, way) for way in (os.R_OK, os.W_OK, os.X_OK)])

    note.by_user(OWNER, tried)
    note.by_user(OTHER, tried)
    note.by_user(OTHER, tried, group=GROUP)


def in_directories(at: Place, note: Notes) -> None:
    """Creating, removing and renaming need write and search permission of the directory."""
    for mode in (0o777, 0o555, 0o333, 0o444, 0o222, 0o111, 0o700, 0o070):
        folder = _owned(at / f"{mode:o}", 0o777, folder=True)
        for name in ("a", "b", "c", "d"):
            (folder / name).write_bytes(b"x")
            os.chmod(folder / name, 0o666)
        (folder / "sub").mkdir()
        os.chmod(folder / "sub", 0o777)
        folder.chmod(mode)
        target = _owned(at / f"target-{mode:o}", 0o777, folder=True)

        def tried(own: Notes, folder: Path = folder, target: Path = target) -> None:
            own("list", os.listdir, folder)
            own("stat below", lambda: os.stat(folder / "a").st_size)
            own("read below", (folder / "a").read_bytes)
            own("create", lambda: os.close(os.open(folder / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
            own("mkdir", os.mkdir, folder / "newdir")
            own("symlink", os.symlink, "x", folder / "newlink")
            own("mkfifo", os.mkfifo, folder / "newfifo")
            own("rename within", os.rename, folder / "a", folder / "a2")
            own("rename out", os.rename, folder / "b", target / "b")
            own("rename in", os.rename, target / "b", folder / "b2")
            own("rename out a directory", os.rename, folder / "sub", target / "sub")
            own("unlink", os.unlink, folder / "c")
            own("rmdir", os.rmdir, folder / "newdir")

        note.by_user(OTHER, tried)
        note.by_user(OWNER, tried)


def changing_attributes(at: Place, note: Notes) -> None:
    at.top.chmod(0o777)
    files = [_owned(at / name, 0o666) for name in ("one", "two")] + [
        _owned(at / "folder", 0o777, folder=True)
    ]

    def tried(own: Notes) -> None:
        for file in files:
            own("chmod", os.chmod, file, 0o6777)
            own.status("after", file)
            own("chown to another", os.chown, file, OTHER, -1)
            own("chown to oneself", os.chown, file, os.getuid(), -1)
            own("chgrp to an own group", os.chown, file, -1, os.getgid())
            own.status("after", file)
            own("chgrp to a foreign group", os.chown, file, -1, 3333)
            own("chown to the same", os.chown, file, OWNER, GROUP)
            own("chown to nothing", os.chown, file, -1, -1)
            own.status("after", file)
            own("utime", os.utime, file, (1, 1))
            own("touch", os.utime, file)
            own("now and omit", utimensat, file, (0, UTIME_NOW), (0, UTIME_OMIT))
            own("neither", utimensat, file, (0, UTIME_OMIT), (0, UTIME_OMIT))
            own("xattr", os.setxattr, file, "user.x", b"y")
            own("get xattr", os.getxattr, file, "user.x")
            own("remove xattr", os.removexattr, file, "user.x")

    note.by_user(OTHER, tried)
    note.by_user(OTHER, tried, group=GROUP)
    note.by_user(OWNER, tried, group=GROUP)
    for file in files:
        file.chmod(0o400)
    note.by_user(OTHER, lambda own: own("touch without write permission", os.utime, files[0]))
    note.by_user(
        OWNER, lambda own: own("xattr without write permission", os.setxattr, files[0], "user.x", b"y")
    )


def set_group_id_by_a_stranger(at: Place, note: Notes) -> None:
    """chmod drops the bit when the caller is not in the group."""
    file = _owned(at / "file", 0o644)

    def tried(own: Notes) -> None:
        own("chmod", os.chmod, file, 0o2755)
        own.status("after", file)

    note.by_user(OWNER, tried, group=4444)
    note.by_user(OWNER, tried, group=GROUP)


def sticky_directories(at: Place, note: Notes) -> None:
    folder = at / "sticky"
    folder.mkdir()
    os.chmod(folder, 0o1777)
    at.top.chmod(0o777)
    for name in ("file", "over", "dir", "exchange"):
        _owned(folder / name, 0o666, folder=name == "dir")

    def tried(own: Notes) -> None:
        (folder / "mine").write_bytes(b"mine")
        own("unlink", os.unlink, folder / "file")
        own("rmdir", os.rmdir, folder / "dir")
        own("rename", os.rename, folder / "file", folder / "renamed")
        own("rename out", os.rename, folder / "file", at / f"out-{os.getuid()}")
        own("rename over", os.rename, folder / "mine", folder / "over")
        own("own one", os.rename, folder / "mine", folder / "mine2")
        own("remove own", os.unlink, folder / "mine2")

    note.by_user(OTHER, tried)
    note.by_user(OWNER, tried)


def walking(at: Place, note: Notes) -> None:
    """Without search permission nothing below can be reached, by any operation."""
    folder = _owned(at / "closed", 0o777, folder=True)
    (folder / "file").write_bytes(b"x")
    (folder / "sub").mkdir()
    folder.chmod(0o600)

    def tried(own: Notes) -> None:
        file = folder / "file"
        for label, operation in (
            ("stat", lambda: os.stat(file)),
            ("lstat", lambda: os.lstat(file)),
            ("open", lambda: os.open(file, os.O_RDONLY)),
            ("create", lambda: os.open(folder / "new", os.O_CREAT | os.O_WRONLY)),
            ("mkdir", lambda: os.mkdir(folder / "new")),
            ("rmdir", lambda: os.rmdir(folder / "sub")),
            ("unlink", lambda: os.unlink(file)),
            ("rename from", lambda: os.rename(file, at / "x")),
            ("rename to", lambda: os.rename(at / "closed", folder / "x")),
            ("chmod", lambda: os.chmod(file, 0o777)),
            ("chown", lambda: os.chown(file, OTHER, OTHER)),
            ("truncate", lambda: os.truncate(file, 0)),
            ("utime", lambda: os.utime(file)),
            ("symlink", lambda: os.symlink("x", folder / "link")),
            ("readlink", lambda: os.readlink(folder / "link")),
            ("mkfifo", lambda: os.mkfifo(folder / "fifo")),
            ("link", lambda: os.link(file, folder / "hard")),
            ("xattr", lambda: os.getxattr(file, "user.x")),
            ("statvfs", lambda: os.statvfs(file)),
        ):
            own(label, operation)

    note.by_user(OTHER, tried)
    note.by_user(OWNER, tried)


def devices_by_others(at: Place, note: Notes) -> None:
    at.top.chmod(0o777)

    def tried(own: Notes) -> None:
        own("character device", os.mknod, at / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        own("block device", os.mknod, at / "block", stat.S_IFBLK | 0o666, os.makedev(7, 0))
        own("fifo", os.mknod, at / "fifo", stat.S_IFIFO | 0o666)
        own("file", os.mknod, at / "file", stat.S_IFREG | 0o666)
        own("socket", os.mknod, at / "socket", stat.S_IFSOCK | 0o666)

    note.by_user(OTHER, tried)


CASES = (
    opening,
    in_directories,
    changing_attributes,
    set_group_id_by_a_stranger,
    sticky_directories,
    walking,
    devices_by_others,
)
