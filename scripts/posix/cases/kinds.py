"""Every operation on every kind of entry, and every kind over every other."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import (
    AT_SYMLINK_NOFOLLOW,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    chmod_at,
    renameat2,
    utimensat,
)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(path.parent)
        bound.bind(path.name)
        os.chdir("/")


MAKERS: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(b"content"),
    "empty directory": lambda path: path.mkdir(),
    "full directory": lambda path: (path / "below").mkdir(parents=True),
    "link to a file": lambda path: os.symlink("/etc/passwd", path),
    "link to a directory": lambda path: os.symlink("/", path),
    "dangling link": lambda path: os.symlink("nowhere", path),
    "circular link": lambda path: os.symlink(path.name, path),
    "fifo": lambda path: os.mkfifo(path),
    "socket": _socket,
    "character device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "block device": lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 200)),
}


def _opened(path: Path, flags: int) -> None:
    os.close(os.open(path, flags, 0o600))


def _own_attributes(path: Path) -> None:
    utimensat(path, (7, 8), (9, 10), AT_SYMLINK_NOFOLLOW)


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "lchown": lambda path: os.lchown(path, 11, 12),
    "chmod of itself": lambda path: chmod_at(path, 0o640, AT_SYMLINK_NOFOLLOW),
    "utimensat of itself": _own_attributes,
    "lsetxattr": lambda path: os.setxattr(path, "user.x", b"y", follow_symlinks=False),
    "lgetxattr": lambda path: os.getxattr(path, "user.x", follow_symlinks=False),
    "llistxattr": lambda path: os.listxattr(path, follow_symlinks=False),
    "lremovexattr": lambda path: os.removexattr(path, "user.x", follow_symlinks=False),
    "readlink": os.readlink,
    "mkdir": os.mkdir,
    "symlink": lambda path: os.symlink("x", path),
    "mkfifo": os.mkfifo,
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o600),
    "creat exclusively": lambda path: _opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
    "open for nothing": lambda path: _opened(path, os.O_PATH | os.O_NOFOLLOW),
    "open for nothing, as a directory": lambda path: _opened(path, os.O_PATH | os.O_DIRECTORY),
    "open without following": lambda path: _opened(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK),
    "open as a directory": lambda path: _opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW),
    "unlink of a directory": lambda path: os.rmdir(path),
}
"""None of them follows a symlink, as what these lead to differs from place to place."""

NOT_FOLLOWED = ("link to a file", "link to a directory")


def every_operation(at: Place, note: Notes) -> None:
    for kind, make in MAKERS.items():
        path = at / kind.replace(" ", "-")
        for name, operation in OPERATIONS.items():
            if not os.path.lexists(path):
                make(path)
            if kind.endswith("device") and name == "open without following":
                continue  # a mount refuses to open devices unless it is asked not to
            note(f"{name}: {kind}", operation, path)
            note.status(f"{name}: {kind} after it", path)


ALIKE = ("link to a directory", "circular link", "socket", "block device")
"""What a rename cannot tell from another kind."""


def every_kind_over_every_kind(at: Place, note: Notes) -> None:
    """rename(2) and renameat2(2)."""
    kinds = [kind for kind in MAKERS if kind not in ALIKE]
    for flag in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        for source in kinds:
            for target in kinds:
                top = at / f"{flag}-{source}-{target}".replace(" ", "_")
                top.mkdir()
                MAKERS[source](top / "a")
                MAKERS[target](top / "b")
                note(f"{flag}: {source} over {target}", renameat2, top / "a", top / "b", flag)
                for name in ("a", "b"):
                    note.status(name, top / name)


def removing(at: Place, note: Notes) -> None:
    for kind, make in MAKERS.items():
        for name, operation in (("unlink", os.unlink), ("rmdir", os.rmdir)):
            path = at / f"{kind}-{name}".replace(" ", "-")
            make(path)
            note(f"{name}: {kind}", operation, path)
            note(f"{name}: {kind} again", operation, path)
    note("left", os.listdir, at.top)


def opening(at: Place, note: Notes) -> None:
    """open(2) with every flag that matters; devices are left out, as a mount may refuse them all."""
    flags = (
        os.O_RDONLY,
        os.O_WRONLY,
        os.O_RDWR,
        os.O_WRONLY | os.O_TRUNC,
        os.O_RDONLY | os.O_TRUNC,
        os.O_WRONLY | os.O_APPEND,
        os.O_WRONLY | os.O_CREAT,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_RDONLY | os.O_DIRECTORY,
        os.O_RDWR | os.O_DIRECTORY,
        os.O_RDONLY | os.O_NOFOLLOW,
        os.O_RDONLY | os.O_NOATIME,
        os.O_RDWR | os.O_SYNC,
        os.O_RDWR | os.O_DSYNC,
        3,
    )
    for kind, make in MAKERS.items():
        if kind.endswith("device") or kind in NOT_FOLLOWED:
            continue
        for flag in flags:
            path = at / f"{kind}-{flag:o}".replace(" ", "-")
            make(path)
            note(f"{flag:o}: {kind}", _opened, path, flag | os.O_NONBLOCK)
            note.status("after it", path)


CASES = (every_operation, every_kind_over_every_kind, removing, opening)
