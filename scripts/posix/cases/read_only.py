"""What may not be changed because the file system is read only. Compared with one in memory that is so."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from scripts.posix.notes import Notes, Place

EXISTING = ("file", "folder", "full", "full/below", "to-file", "to-folder", "dangling")
MISSING = ("missing", "file/below", "missing/below", "folder/new", "dangling/x", "n" * 256)


def prepare(top: Path) -> None:
    """Make what the case works on; it takes no more than what travels to other mounts."""
    top.mkdir()
    (top / "file").write_bytes(b"content")
    (top / "folder").mkdir()
    (top / "full").mkdir()
    (top / "full" / "below").write_bytes(b"below")
    os.symlink("file", top / "to-file")
    os.symlink("folder", top / "to-folder")
    os.symlink("nowhere", top / "dangling")


def _opened(flags: int) -> Callable[[Path], object]:
    return lambda path: os.close(os.open(path, flags, 0o600))


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "open": _opened(os.O_RDONLY),
    "open for writing": _opened(os.O_WRONLY),
    "open for both": _opened(os.O_RDWR),
    "open with trunc": _opened(os.O_RDONLY | os.O_TRUNC),
    "open for writing with trunc": _opened(os.O_WRONLY | os.O_TRUNC),
    "open with creat": _opened(os.O_RDONLY | os.O_CREAT),
    "open for writing with creat": _opened(os.O_WRONLY | os.O_CREAT),
    "open with excl": _opened(os.O_RDONLY | os.O_CREAT | os.O_EXCL),
    "open without a name": _opened(os.O_TMPFILE | os.O_RDWR),
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "symlink": lambda path: os.symlink("x", path),
    "mkfifo": os.mkfifo,
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o600),
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, 0, 0),
    "lchown": lambda path: os.lchown(path, 1, 1),
    "chown of nothing": lambda path: os.chown(path, -1, -1),
    "truncate": lambda path: os.truncate(path, 3),
    "utime": os.utime,
    "setxattr": lambda path: os.setxattr(path, "user.x", b"y"),
    "removexattr": lambda path: os.removexattr(path, "user.x"),
    "getxattr": lambda path: os.getxattr(path, "user.x"),
    "rename away": lambda path: os.rename(path, path.parent / "renamed"),
    "rename to itself": lambda path: os.rename(path, path),
    "rename over it": lambda path: os.rename(path.parent / "folder", path),
    "read": lambda path: path.read_bytes(),
    "list": lambda path: sorted(os.listdir(path)),
    "may be written": lambda path: os.access(path, os.W_OK),
    "may be read": lambda path: os.access(path, os.R_OK),
    "may be written, it is asked": lambda path: os.access(path, os.W_OK, effective_ids=True),
}


def every_change(at: Place, note: Notes) -> None:
    """By root, and by somebody who might not do it anyway."""

    def tried(own: Notes) -> None:
        for name, operation in OPERATIONS.items():
            for path in (*EXISTING, *MISSING):
                own(f"{name}: {path}", operation, at / path)

    tried(note)
    note.by_user(1234, tried)
    with (at / "file").open("rb") as stream:
        for label, work in (
            ("fchmod", lambda: os.fchmod(stream.fileno(), 0o600)),
            ("fchown", lambda: os.fchown(stream.fileno(), 0, 0)),
            ("futimens", lambda: os.utime(stream.fileno())),
            ("fsync", lambda: os.fsync(stream.fileno())),
            ("reopen for writing", lambda: os.close(os.open(f"/proc/self/fd/{stream.fileno()}", os.O_RDWR))),
        ):
            note(label, work)
    note("flags of the file system", lambda: bool(os.statvfs(at.top).f_flag & os.ST_RDONLY))
    note("left", os.listdir, at.top)
