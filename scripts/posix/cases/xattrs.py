"""Extended attributes."""

import os

from scripts.posix.notes import Notes, Place


def user_attributes(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"x")
    (at / "folder").mkdir()
    for name in ("file", "folder"):
        path = at / name
        note("none", os.listxattr, path)
        note("missing", os.getxattr, path, "user.missing")
        note("set", os.setxattr, path, "user.one", b"1")
        note("get", os.getxattr, path, "user.one")
        note("create again", os.setxattr, path, "user.one", b"2", os.XATTR_CREATE)
        note("replace a missing one", os.setxattr, path, "user.two", b"2", os.XATTR_REPLACE)
        note("create", os.setxattr, path, "user.two", b"2", os.XATTR_CREATE)
        note("replace", os.setxattr, path, "user.one", b"", os.XATTR_REPLACE)
        note("empty value", os.getxattr, path, "user.one")
        note("binary", os.setxattr, path, "user.binary", bytes(range(256)))
        note("get binary", os.getxattr, path, "user.binary")
        note("unusual name", os.setxattr, path, "user.ä b=c", b"x")
        note("list", os.listxattr, path)
        note("remove", os.removexattr, path, "user.two")
        note("remove again", os.removexattr, path, "user.two")
        note("list", os.listxattr, path)


def refused(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"x")
    os.symlink("file", at / "link")
    os.mkfifo(at / "fifo")
    note("a link's own", os.setxattr, at / "link", "user.x", b"y", follow_symlinks=False)
    note("get a link's own", os.getxattr, at / "link", "user.x", follow_symlinks=False)
    note("list a link's own", os.listxattr, at / "link", follow_symlinks=False)
    note("fifo", os.setxattr, at / "fifo", "user.x", b"y")
    note("get of a fifo", os.getxattr, at / "fifo", "user.x")
    note("no namespace", os.setxattr, at / "file", "plain", b"y")
    note("unknown namespace", os.setxattr, at / "file", "other.x", b"y")
    note("get in an unknown namespace", os.getxattr, at / "file", "other.x")
    note("empty name", os.setxattr, at / "file", "", b"y")
    note("namespace only", os.setxattr, at / "file", "user.", b"y")
    note("long name", os.setxattr, at / "file", "user." + "n" * 251, b"y")
    note("longest name", os.setxattr, at / "file", "user." + "n" * 250, b"y")
    note("long value", os.setxattr, at / "file", "user.long", b"v" * 65_537)
    note("missing file", os.setxattr, at / "missing", "user.x", b"y")
    note("bad flags", os.setxattr, at / "file", "user.x", b"y", 8)


def sizes(at: Place, note: Notes) -> None:
    """By the system call: the size is asked for with no room, and too little room is told."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    file = os.fsencode(at / "file")
    (at / "file").write_bytes(b"x")
    os.setxattr(file, "user.a", b"v" * 100)

    def asked(call: object, *arguments: object) -> int:
        assert callable(call)
        result = call(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return int(result)

    buffer = ctypes.create_string_buffer(100)
    note("size", asked, libc.getxattr, file, b"user.a", None, 0)
    note("too little", asked, libc.getxattr, file, b"user.a", buffer, 50)
    note("just enough", asked, libc.getxattr, file, b"user.a", buffer, 100)
    note("size of the list", asked, libc.listxattr, file, None, 0)
    note("too little for the list", asked, libc.listxattr, file, buffer, 3)


def outlive_changes(at: Place, note: Notes) -> None:
    file = at / "file"
    file.write_bytes(b"x")
    os.setxattr(file, "user.kept", b"v")
    before = os.stat(file)
    file.write_bytes(b"y")
    os.rename(file, at / "moved")
    note("after write and rename", os.getxattr, at / "moved", "user.kept")
    os.setxattr(at / "moved", "user.other", b"v")
    note.value("mtime stays", os.stat(at / "moved").st_ino == before.st_ino)
    (at / "new").write_bytes(b"z")
    os.rename(at / "new", at / "moved")
    note("of another file", os.listxattr, at / "moved")


CASES = (user_attributes, refused, sizes, outlive_changes)
