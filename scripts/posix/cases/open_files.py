"""What is open lives on: unlinked, replaced, moved, and without a name from the start."""

import os

from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import fallocate, link_descriptor


def unlinked(at: Place, note: Notes) -> None:
    with (at / "file").open("w+b", buffering=0) as stream:
        descriptor = stream.fileno()
        stream.write(b"content")
        os.unlink(at / "file")
        note("links", lambda: os.fstat(descriptor).st_nlink)
        note("write", os.pwrite, descriptor, b"more", 7)
        note("read", os.pread, descriptor, 100, 0)
        note("truncate", os.ftruncate, descriptor, 3)
        note("chmod", os.fchmod, descriptor, 0o600)
        note("chown", os.fchown, descriptor, 1, 1)
        note("utime", os.utime, descriptor, (5, 5))
        note("fallocate", fallocate, descriptor, 0, 0, 50)
        note("xattr", os.setxattr, descriptor, "user.a", b"b")
        note("xattr is there", os.getxattr, descriptor, "user.a")
        note("fsync", os.fsync, descriptor)
        note.status("status", descriptor)
        (at / "file").write_bytes(b"another")
        note("read again", os.pread, descriptor, 100, 0)
        note("by /proc", lambda: os.stat(f"/proc/self/fd/{descriptor}").st_size)
    note("the other one", (at / "file").read_bytes)


def replaced(at: Place, note: Notes) -> None:
    (at / "old").write_bytes(b"old")
    (at / "new").write_bytes(b"new")
    with (at / "old").open("r+b", buffering=0) as old, (at / "new").open("r+b", buffering=0) as new:
        note("rename", os.rename, at / "new", at / "old")
        note("links of the old", lambda: os.fstat(old.fileno()).st_nlink)
        note("old", os.pread, old.fileno(), 10, 0)
        note("write to the new", os.pwrite, new.fileno(), b"NEW!", 0)
        note("write to the old", os.pwrite, old.fileno(), b"OLD!", 0)
        note("links of the new", lambda: os.fstat(new.fileno()).st_nlink)
    note("content", (at / "old").read_bytes)
    note("names", os.listdir, at.top)


def moved(at: Place, note: Notes) -> None:
    (at / "folder").mkdir()
    with (at / "file").open("w+b", buffering=0) as stream:
        stream.write(b"one")
        os.rename(at / "file", at / "folder" / "moved")
        stream.write(b"two")
        note("by its new name", (at / "folder" / "moved").read_bytes)
        os.rename(at / "folder", at / "other")
        stream.write(b"three")
        note("by another new name", (at / "other" / "moved").read_bytes)


def without_a_name(at: Place, note: Notes) -> None:
    """O_TMPFILE; it may be refused, by the one errno that programs go by."""
    try:
        descriptor = os.open(at.top, os.O_TMPFILE | os.O_RDWR, 0o640)
    except OSError as error:
        note.value("refused", error.errno == 95)
        return
    note("write", os.write, descriptor, b"content")
    note("read", os.pread, descriptor, 10, 0)
    note.status("status", descriptor)
    note("names", os.listdir, at.top)
    note("link", link_descriptor, descriptor, at / "named")
    note.status("linked", descriptor)
    note("names", os.listdir, at.top)
    note("write", os.write, descriptor, b", more")
    note("content", (at / "named").read_bytes)
    os.close(descriptor)
    note("content", (at / "named").read_bytes)
    descriptor = os.open(at.top, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o640)
    note("link of an exclusive one", link_descriptor, descriptor, at / "never")
    os.close(descriptor)
    descriptor = os.open(at.top, os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.close(descriptor)
    note("names", os.listdir, at.top)
    note("read only", os.open, at.top, os.O_TMPFILE | os.O_RDONLY)
    note("in a file", os.open, at / "named", os.O_TMPFILE | os.O_RDWR)
    note("over a name", lambda: _linked_over(at))


def _linked_over(at: Place) -> None:
    descriptor = os.open(at.top, os.O_TMPFILE | os.O_RDWR, 0o640)
    try:
        link_descriptor(descriptor, at / "named")
    finally:
        os.close(descriptor)


def executed(at: Place, note: Notes) -> None:
    """A program that runs cannot be written to."""
    import shutil
    import subprocess

    shutil.copy("/bin/sleep", at / "program")
    with subprocess.Popen([at / "program", "100"]) as running:
        note("open for writing", os.open, at / "program", os.O_WRONLY)
        note("truncate", os.truncate, at / "program", 0)
        note("unlink", os.unlink, at / "program")
        running.kill()
    shutil.copy("/bin/true", at / "program")
    writer = os.open(at / "program", os.O_WRONLY)
    note("execute while open for writing", lambda: subprocess.run([at / "program"], check=False).returncode)
    os.close(writer)
    note("execute", lambda: subprocess.run([at / "program"], check=False).returncode)
    os.chmod(at / "program", 0o644)
    note("without the bit", lambda: subprocess.run([at / "program"], check=False).returncode)
    (at / "script").write_text("#!/bin/sh\nexit 7\n")
    os.chmod(at / "script", 0o755)
    note("script", lambda: subprocess.run([at / "script"], check=False).returncode)


CASES = (unlinked, replaced, moved, without_a_name, executed)
