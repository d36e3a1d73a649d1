"""Each system call with each kind of bad path: the walk that conformance suites make."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from scripts.posix.notes import Notes, Place

Operation = Callable[[str | Path], object]


def _opened(flags: int) -> Operation:
    return lambda path: os.close(os.open(path, flags, 0o600))


OPERATIONS: dict[str, Operation] = {
    "open": _opened(os.O_RDONLY),
    "create": _opened(os.O_CREAT | os.O_WRONLY),
    "create exclusively": _opened(os.O_CREAT | os.O_EXCL | os.O_WRONLY),
    "stat": lambda path: oct(os.stat(path).st_mode),
    "lstat": lambda path: oct(os.lstat(path).st_mode),
    "unlink": os.unlink,
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "chmod": lambda path: os.chmod(path, 0o700),
    "chown": lambda path: os.chown(path, 0, 0),
    "lchown": lambda path: os.lchown(path, 0, 0),
    "truncate": lambda path: os.truncate(path, 10),
    "utimensat": lambda path: os.utime(path, (1, 1)),
    "symlink": lambda path: os.symlink("x", path),
    "readlink": os.readlink,
    "mkfifo": os.mkfifo,
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o600),
    "listdir": os.listdir,
    "chdir": os.chdir,
    "getxattr": lambda path: os.getxattr(path, "user.x"),
    "setxattr": lambda path: os.setxattr(path, "user.x", b"x"),
    "statvfs": lambda path: os.statvfs(path).f_namemax,
    "access": lambda path: os.access(path, os.R_OK),
}


def _prepared(top: Path) -> dict[str, str]:
    """Make one of each, and return the paths to try, relative to it."""
    (top / "file").write_bytes(b"x")
    (top / "folder").mkdir()
    (top / "full").mkdir()
    (top / "full" / "x").write_bytes(b"")
    os.symlink("file", top / "to-file")
    os.symlink("folder", top / "to-folder")
    os.symlink("missing", top / "dangling")
    os.symlink("circle", top / "circle")
    os.mkfifo(top / "fifo-not-opened")
    return {
        "a file": "file",
        "a directory": "folder",
        "a full directory": "full",
        "a link to a file": "to-file",
        "a link to a directory": "to-folder",
        "a dangling link": "dangling",
        "a circle": "circle",
        "nothing": "missing",
        "empty": "",
        "a file with a slash": "file/",
        "a directory with a slash": "folder/",
        "a link to a file with a slash": "to-file/",
        "a link to a directory with a slash": "to-folder/",
        "nothing with a slash": "missing/",
        "dot": ".",
        "dot dot": "folder/..",
        "dot of a directory": "folder/.",
        "below a file": "file/x",
        "below a link to a file": "to-file/x",
        "below nothing": "missing/x",
        "below a dangling link": "dangling/x",
        "below a circle": "circle/x",
        "a name of 255": "n" * 255,
        "a name of 256": "n" * 256,
        "below a name of 256": "n" * 256 + "/x",
        "a path too long": "x/" * 2100,
    }


def every_call_with_every_path(at: Place, note: Notes) -> None:
    for name, operation in OPERATIONS.items():
        top = at / name.replace(" ", "_")
        top.mkdir()
        for label, path in _prepared(top).items():
            note(f"{name}: {label}", operation, f"{top}/{path}" if path else "")
        os.chdir("/")
        note(f"{name}: names", os.listdir, top)


PATH_BYTES = 4095
"""PATH_MAX counts the NUL behind a path."""

NAME_BYTES = 255

AT_THE_LIMIT: dict[str, Operation] = {
    "nothing": lambda path: None,
    "a file": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o640)),
    "a directory": os.mkdir,
}


def every_call_at_the_limits(at: Place, note: Notes) -> None:
    """The longest name and the longest path serve as any other, one byte more is refused."""
    os.chdir(at.top)
    folder = "/".join(["d" * 127] * 31)
    os.makedirs(folder)
    for limit, path in (
        ("name", "n" * NAME_BYTES),
        ("path", f"{folder}/{'n' * (PATH_BYTES - len(folder) - 1)}"),
    ):
        for name, operation in OPERATIONS.items():
            for kind, make in AT_THE_LIMIT.items():
                make(path)
                note(f"{name}: the longest {limit} of {kind}", operation, path)
                os.chdir(at.top)
                note("left", _taken_away, path)
            note(f"{name}: a longer {limit}", operation, path + "n")
        os.mkdir("short")
        for label, source, target in (
            ("to", "short", path),
            ("from", path, "short"),
            ("too long", "short", path + "n"),
            ("from what is too long", path + "n", "short"),
        ):
            note(f"rename: {limit}: {label}", os.rename, source, target)
        os.rmdir("short")
    os.chdir("/")


def _taken_away(path: str) -> str | None:
    """Return the mode of what was there."""
    if not os.path.lexists(path):
        return None
    mode = os.lstat(path).st_mode
    os.rmdir(path) if stat.S_ISDIR(mode) else os.unlink(path)
    return oct(mode)


CASES = (every_call_with_every_path, every_call_at_the_limits)
