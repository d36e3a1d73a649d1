"""Requests that are answered in the moment they are read. Needs the C extension.

Most calls of the file system end without having waited for anything. They are made here, past pyfuse3 and its
event loop, whose way costs more than the call. One that has to wait is handed over as it is to pyfuse3's
handler of the same request, which is called next, in the same task, and awaits the rest of it.
"""

from collections.abc import Callable, Coroutine, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, TypeVar

from mountfs.kernel import _extras, wire_replies
from mountfs.kernel.begun_requests import BegunRequest
from mountfs.kernel.operations import Operations
from mountfs.model.filesystem import Caller, FilePart, Filesystem, Handle, LockOwner
from mountfs.model.ids import Ino

_R = TypeVar("_R")

_Answer = bytes | FilePart | int | None
"""The body of an answer or where it is, an errno (0: success), or None: begun, and left to pyfuse3."""

_SUCCESS = 0


class Opcode(IntEnum):
    """The kinds of requests (linux/fuse.h)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    UNLINK = 10
    OPEN = 14
    READ = 15
    WRITE = 16
    RELEASE = 18
    FLUSH = 25
    OPENDIR = 27
    RELEASEDIR = 29
    CREATE = 35
    BATCH_FORGET = 42


class ImmediateRequests:
    """Make it before `pyfuse3.init`."""

    def __init__(self, filesystem: Filesystem, operations: Operations) -> None:
        self._filesystem = filesystem
        self._operations = operations
        self._requests = operations.requests
        _extras.install_immediate(
            {
                Opcode.LOOKUP: self._lookup,
                Opcode.FORGET: self._forget,
                Opcode.GETATTR: self._getattr,
                Opcode.UNLINK: self._unlink,
                Opcode.OPEN: self._open,
                Opcode.READ: self._read,
                Opcode.WRITE: self._write,
                Opcode.RELEASE: self._release,
                Opcode.FLUSH: self._flush,
                Opcode.OPENDIR: self._opendir,
                Opcode.RELEASEDIR: self._releasedir,
                Opcode.CREATE: self._create,
                Opcode.BATCH_FORGET: self._forget,
            }
        )

    def _begin(
        self,
        name: str,
        argument: object,
        work: Coroutine[Any, Any, _R],
        reply: Callable[[_R], bytes | FilePart | int],
        translate: Callable[[_R], object],
    ) -> _Answer:
        """Do the work as far as it goes without waiting; `name` and `argument`, the first one, are those of
        pyfuse3's handler."""
        began = self._requests.begin(name)
        answer: bytes | FilePart | int
        try:
            trap = work.send(None)
        except StopIteration as end:
            answer = reply(end.value)
        except Exception as error:
            answer = self._requests.failed(name, error)
        else:
            self._operations.begun = BegunRequest(began, work, trap, translate)
            return None
        self._requests.end(name, began, argument)
        return answer

    def _lookup(self, parent: int, name: bytes) -> _Answer:
        work = self._requests.lookup(Ino(parent), name)
        return self._begin("lookup", parent, work, wire_replies.entry, self._operations.entry)

    def _getattr(self, ino: int) -> _Answer:
        work = self._requests.attributes(Ino(ino))
        return self._begin("getattr", ino, work, wire_replies.attributes, self._operations.entry)

    def _unlink(self, parent: int, name: bytes) -> _Answer:
        work = self._filesystem.unlink(Ino(parent), name)
        return self._begin("unlink", parent, work, _succeeded, _nothing)

    def _create(
        self, parent: int, name: bytes, mode: int, flags: int, caller: tuple[int, int, int]
    ) -> _Answer:
        work = self._requests.create(Ino(parent), name, mode, flags, Caller(*caller))
        return self._begin("create", parent, work, wire_replies.created, self._operations.created)

    def _open(self, ino: int, flags: int) -> _Answer:
        work = self._requests.open(Ino(ino), flags)
        return self._begin("open", ino, work, wire_replies.opened, self._operations.opened)

    def _read(self, handle: int, offset: int, size: int) -> _Answer:
        work = self._filesystem.locate(Handle(handle), offset, size)
        request, _ = _extras.served_request()
        return self._begin("read", handle, work, _as_it_is, partial(_body, request))

    def _write(self, handle: int, offset: int, content: bytes) -> _Answer:
        work = self._filesystem.write(Handle(handle), offset, content)
        return self._begin("write", handle, work, wire_replies.written, _as_it_is)

    def _flush(self, ino: int, handle: int, owner: int) -> _Answer:
        self._filesystem.drop_records(Ino(ino), LockOwner(owner))
        return self._begin("flush", handle, self._filesystem.flush(Handle(handle)), _succeeded, _nothing)

    def _release(self, ino: int, handle: int, flock_owner: int) -> _Answer:
        if flock_owner:
            self._filesystem.drop_flock(Ino(ino), LockOwner(flock_owner))
        self._filesystem.drop_records_of_handle(Ino(ino), Handle(handle))
        return self._begin("release", handle, self._requests.release(Handle(handle)), _succeeded, _nothing)

    def _opendir(self, ino: int, flags: int) -> _Answer:
        work = self._requests.open_directory(Ino(ino))
        return self._begin(
            "opendir", ino, work, wire_replies.opened_directory, self._operations.opened_directory
        )

    def _releasedir(self, ino: int, handle: int, flock_owner: int) -> _Answer:
        """Locks of directories never come here: the kernel has them to itself."""
        work = self._requests.release_directory(Handle(handle))
        return self._begin("releasedir", handle, work, _succeeded, _nothing)

    def _forget(self, references: Sequence[tuple[int, int]]) -> int:
        """The kernel waits for no answer to it."""
        self._requests.forget(references)
        return _SUCCESS


def _succeeded(result: None) -> int:
    return _SUCCESS


def _nothing(result: None) -> None:
    return None


def _body(request: int, content: bytes | FilePart) -> bytes:
    """Return what pyfuse3 is to answer the request with, in the same step."""
    if isinstance(content, bytes):
        return content
    _extras.set_read_reply(request, content)
    return b""


def _as_it_is(result: _R) -> _R:
    return result
