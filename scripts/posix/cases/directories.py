"""Directories: making, removing, listing, and their times."""

import os

from scripts.posix.clock import let_a_step_pass
from scripts.posix.notes import Notes, Place


def making(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"")
    os.symlink("missing", at / "dangling")
    os.umask(0o022)
    note("new", os.mkdir, at / "new", 0o777)
    note.status("new", at / "new")
    note("sticky", os.mkdir, at / "sticky", 0o1777)
    note.status("sticky", at / "sticky")
    note("there", os.mkdir, at / "new")
    note("over a file", os.mkdir, at / "file")
    note("over a dangling link", os.mkdir, at / "dangling")
    note("below a file", os.mkdir, at / "file" / "x")
    note("below nothing", os.mkdir, at / "missing" / "x")
    note("with a slash", os.mkdir, str(at / "slashed") + "/")
    note("dot", os.mkdir, str(at / "new") + "/.")


def removing(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"")
    (at / "full").mkdir()
    (at / "full" / "x").write_bytes(b"")
    (at / "empty").mkdir()
    os.symlink("empty", at / "link")
    note("full", os.rmdir, at / "full")
    note("file", os.rmdir, at / "file")
    note("link", os.rmdir, at / "link")
    note("missing", os.rmdir, at / "missing")
    note("below a file", os.rmdir, at / "file" / "x")
    note("dot", os.rmdir, str(at / "empty") + "/.")
    note("dot dot", os.rmdir, str(at / "full") + "/..")
    note("unlink of a directory", os.unlink, at / "empty")
    note("unlink of a link to one", os.unlink, at / "link")
    note("unlink of a file with a slash", os.unlink, str(at / "file") + "/")
    note("empty with a slash", os.rmdir, str(at / "empty") + "/")
    note("again", os.rmdir, at / "empty")
    note("left", os.listdir, at.top)


def removed_while_open(at: Place, note: Notes) -> None:
    (at / "gone").mkdir()
    descriptor = os.open(at / "gone", os.O_RDONLY)
    os.rmdir(at / "gone")
    note("create in it", os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
    note("mkdir in it", os.mkdir, "x", dir_fd=descriptor)
    note("symlink in it", os.symlink, "y", "x", dir_fd=descriptor)
    note("look into it", os.stat, "x", dir_fd=descriptor)
    note("list it", os.listdir, descriptor)
    note("stat", lambda: oct(os.fstat(descriptor).st_mode))
    note("chmod", os.fchmod, descriptor, 0o700)
    note("fsync", os.fsync, descriptor)
    (at / "gone").mkdir()
    note.value("another one", os.stat(at / "gone").st_ino != os.fstat(descriptor).st_ino)
    (at / "target").write_bytes(b"")
    note("rename into it", lambda: os.rename(at / "target", "x", dst_dir_fd=descriptor))
    os.close(descriptor)


def listing_while_it_changes(at: Place, note: Notes) -> None:
    """What is there all the time is listed once, whatever comes and goes."""
    count = 300
    for number in range(count):
        (at / f"stays-{number:04}").write_bytes(b"")
        (at / f"goes-{number:04}").write_bytes(b"")
    seen: list[str] = []
    with os.scandir(at.top) as entries:
        for position, entry in enumerate(entries):
            seen.append(entry.name)
            if position % 3 == 0 and position // 3 < count:
                (at / f"goes-{position // 3:04}").unlink()
                (at / f"comes-{position // 3:04}").write_bytes(b"")
    stayed = [name for name in seen if name.startswith("stays")]
    note.value("stayed", len(stayed))
    note.value("twice", len(stayed) - len(set(stayed)))


def removing_while_listing(at: Place, note: Notes) -> None:
    for number in range(500):
        (at / f"{number}").write_bytes(b"")
    with os.scandir(at.top) as entries:
        for entry in entries:
            os.unlink(entry.path)
    note("left", os.listdir, at.top)


def seeking_in_a_listing(at: Place, note: Notes) -> None:
    import ctypes

    for number in range(300):
        (at / f"{number}").write_bytes(b"")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = libc.telldir.restype = ctypes.c_long
    for function in (libc.readdir, libc.rewinddir, libc.closedir):
        function.argtypes = [ctypes.c_long]
    libc.telldir.argtypes = [ctypes.c_long]
    libc.seekdir.argtypes = [ctypes.c_long, ctypes.c_long]
    libc.readdir.restype = ctypes.c_long

    def names(limit: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < limit and (entry := libc.readdir(stream)):
            found.append(ctypes.string_at(entry + 19))
        return found

    stream = libc.opendir(os.fsencode(at.top))
    before = names(100)
    place = libc.telldir(stream)
    behind = names(1000)
    libc.seekdir(stream, place)
    note.value("the same again", names(1000) == behind)
    libc.rewinddir(stream)
    note.value("from the start", names(1000) == before + behind)
    note.value("all", len(before + behind))
    libc.closedir(stream)


def kinds_in_a_listing(at: Place, note: Notes) -> None:
    (at / "file").write_bytes(b"")
    (at / "folder").mkdir()
    os.symlink("file", at / "link")
    os.mkfifo(at / "fifo")
    with os.scandir(at.top) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            kinds = (
                entry.is_file(follow_symlinks=False),
                entry.is_dir(follow_symlinks=False),
                entry.is_symlink(),
            )
            note.value(entry.name, (kinds, entry.inode() == os.lstat(entry.path).st_ino))


def times_of_a_directory(at: Place, note: Notes) -> None:
    """mtime and ctime move with each change of the names, and with nothing else."""
    (at / "folder").mkdir()
    folder = at / "folder"

    def moves(label: str, change: object) -> None:
        before = os.stat(folder)
        let_a_step_pass()
        assert callable(change)
        change()
        after = os.stat(folder)
        note.value(label, (after.st_mtime_ns > before.st_mtime_ns, after.st_ctime_ns > before.st_ctime_ns))

    moves("create", lambda: (folder / "file").write_bytes(b""))
    moves("write", lambda: (folder / "file").write_bytes(b"x"))
    moves("chmod of a child", lambda: (folder / "file").chmod(0o600))
    moves("rename within", lambda: os.rename(folder / "file", folder / "moved"))
    moves("rename out", lambda: os.rename(folder / "moved", at / "out"))
    moves("rename in", lambda: os.rename(at / "out", folder / "in"))
    moves("mkdir", lambda: (folder / "below").mkdir())
    moves("create below", lambda: (folder / "below" / "x").write_bytes(b""))
    moves("symlink", lambda: os.symlink("x", folder / "link"))
    moves("mkfifo", lambda: os.mkfifo(folder / "fifo"))
    moves("unlink", lambda: (folder / "in").unlink())
    moves("rmdir that fails", lambda: note("rmdir", os.rmdir, folder / "below"))
    moves("listing", lambda: os.listdir(folder))


CASES = (
    making,
    removing,
    removed_while_open,
    listing_while_it_changes,
    removing_while_listing,
    seeking_in_a_listing,
    kinds_in_a_listing,
    times_of_a_directory,
)
