"""The ways by which a notice goes to the kernel. Each call returns when the kernel is done with the notice,
which may take as long as a program's request, and raises OSError where it refuses; ENOENT: it has nothing of
that."""

import logging
import os
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final, Protocol

import pyfuse3

from mountfs.kernel import extension
from mountfs.model.ids import Ino

if extension.AVAILABLE:
    from mountfs.kernel import _extras

_log = logging.getLogger(__name__)

_HEADER: Final = Struct("=IiQ")  # fuse_out_header: length, code, 0 for a notice
_INODE: Final = Struct("=Qqq")  # fuse_notify_inval_inode_out: inode, offset (-1: attributes alone), length
_ENTRY: Final = Struct("=QII")  # fuse_notify_inval_entry_out: directory, length of the name, flags
_INVALIDATE_INODE: Final = 2
_INVALIDATE_ENTRY: Final = 3
_INC_EPOCH: Final = 8


class NoticeChannel(Protocol):
    """What the kernel can be told; on one thread at a time."""

    def attributes_changed(self, ino: Ino) -> None: ...

    def content_changed(self, ino: Ino) -> None: ...

    def entry_changed(self, parent: Ino, name: bytes) -> None: ...

    def everything_changed(self) -> None:
        """Let every name expire (Linux 6.16 or newer); this alone never waits for a program."""

    def close(self) -> None: ...


def opened(device: int | None) -> NoticeChannel:
    """Return the best way there is. `device`: that of the session, None where it is not known."""
    if device is None:
        return _Libfuse()
    try:
        _extras.open_notices(device)
    except OSError as error:
        _log.info("notices may hold up the end of a killed daemon: no thread of their own (%s)", error)
        return _Wire(partial(os.write, device), close=lambda: None)
    return _Wire(_extras.send_notice, close=_extras.close_notices)


class _Libfuse:
    """Through pyfuse3, without the C extension."""

    def attributes_changed(self, ino: Ino) -> None:
        pyfuse3.invalidate_inode(ino, attr_only=True)

    def content_changed(self, ino: Ino) -> None:
        pyfuse3.invalidate_inode(ino, attr_only=False)

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        pyfuse3.invalidate_entry(parent, name)

    def everything_changed(self) -> None:
        raise NotImplementedError("libfuse has no such notice")

    def close(self) -> None:
        pass


class _Wire:
    """In the kernel's format."""

    def __init__(self, write: Callable[[bytes], object], *, close: Callable[[], None]) -> None:
        self._write = write
        self.close = close

    def attributes_changed(self, ino: Ino) -> None:
        self._send(_INVALIDATE_INODE, _INODE.pack(ino, -1, 0))

    def content_changed(self, ino: Ino) -> None:
        self._send(_INVALIDATE_INODE, _INODE.pack(ino, 0, 0))

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        self._send(_INVALIDATE_ENTRY, _ENTRY.pack(parent, len(name), 0) + name + b"\0")

    def everything_changed(self) -> None:
        self._send(_INC_EPOCH, b"")

    def _send(self, code: int, body: bytes) -> None:
        self._write(_HEADER.pack(_HEADER.size + len(body), code, 0) + body)
