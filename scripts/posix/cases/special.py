"""FIFOs, sockets and device nodes."""

import os
import socket
import stat

from scripts.posix.notes import Notes, Place


def fifos(at: Place, note: Notes) -> None:
    os.umask(0o022)
    note("make", os.mkfifo, at / "fifo", 0o666)
    note.status("fifo", at / "fifo")
    note("again", os.mkfifo, at / "fifo")
    note("without a reader", os.open, at / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    reader = os.open(at / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(at / "fifo", os.O_WRONLY)
    note("write", os.write, writer, b"through")
    note("read", os.read, reader, 100)
    note("seek", os.lseek, reader, 0, os.SEEK_SET)
    note("truncate", os.truncate, at / "fifo", 0)
    note("open with trunc", lambda: os.close(os.open(at / "fifo", os.O_RDWR | os.O_TRUNC)))
    os.close(reader)
    os.close(writer)
    note("rename", os.rename, at / "fifo", at / "moved")
    note.status("moved", at / "moved")
    note("unlink", os.unlink, at / "moved")


def sockets(at: Place, note: Notes) -> None:
    os.chdir(at.top)
    try:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            note("bind", server.bind, "socket")
            server.listen()
            note.status("socket", at / "socket")
            note("connect", client.connect, "socket")
            client.sendall(b"hello")
            accepted, _ = server.accept()
            note("hears", accepted.recv, 10)
            accepted.close()
            note("open", os.open, "socket", os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as again:
            note("bind over it", again.bind, "socket")
            note("connect to nobody", again.connect, "socket")
        note("unlink", os.unlink, "socket")
    finally:
        os.chdir("/")


def devices(at: Place, note: Notes) -> None:
    for name, kind, number in (
        ("null", stat.S_IFCHR, os.makedev(1, 3)),
        ("high", stat.S_IFCHR, os.makedev(300, 70_000)),
        ("block", stat.S_IFBLK, os.makedev(7, 0)),
    ):
        note(f"make {name}", os.mknod, at / name, kind | 0o640, number)
        note.status(name, at / name)
    note("socket", os.mknod, at / "socket", stat.S_IFSOCK | 0o600)
    note.status("socket", at / "socket")
    note("fifo", os.mknod, at / "fifo", stat.S_IFIFO | 0o600)
    note("file", os.mknod, at / "file", stat.S_IFREG | 0o600)
    note.status("file", at / "file")
    note("without a kind", os.mknod, at / "plain", 0o600)
    note.status("plain", at / "plain")
    note("a directory", os.mknod, at / "dir", stat.S_IFDIR | 0o700)
    note("a symlink", os.mknod, at / "lnk", stat.S_IFLNK | 0o700)


CASES = (fifos, sockets, devices)
