"""The C extension: what pyfuse3 lacks. All of it is called on the thread of pyfuse3's event loop, but for
notices, which one thread sends, and `make_unnamed_files`."""

from collections.abc import Callable

def install_locks(
    on_flock: Callable[[int, int, int, int, int], None],
    on_test: Callable[[int, int, int, int, int, int, int], None],
    on_set: Callable[[int, int, int, int, int, int, int, int, int], None],
    on_flush: Callable[[int, int, int], None],
    on_release: Callable[[int, int, int], None],
    /,
) -> None:
    """Have lock requests told, to be answered by `reply`:

    `on_flock(request, ino, handle, owner, operation)`; for record locks
    `on_set(request, ino, handle, owner, type, start, length, pid, wait)` and, to be answered by `reply_lock`,
    `on_test(request, ino, owner, type, start, length, pid)`. The type is F_RDLCK, F_WRLCK or F_UNLCK; length
    0 is "to the end".

    Before they are handled, each close of a descriptor is told as `on_flush(ino, handle, record_lock_owner)`,
    and the end of an open file description as `on_release(ino, handle, flock_owner)`, with 0 where it never
    tried to flock.

    Takes effect at the next `pyfuse3.init`.
    """

def install_ranges(
    on_allocate: Callable[[int, int, int, int, int, int, tuple[int, int, int]], None],
    on_seek: Callable[[int, int, int, int], None],
    on_copy: Callable[[int, int, int, int, int, int, int, tuple[int, int, int]], None],
    /,
) -> None:
    """Have requests about ranges of bytes told; the caller is given as uid, gid and pid:

    `on_allocate(request, ino, handle, mode, offset, length, caller)`, to be answered by `reply`;
    `on_seek(request, handle, offset, whence)`, for SEEK_DATA and SEEK_HOLE only, by `reply_position`;
    `on_copy(request, from_handle, from_offset, to_ino, to_handle, to_offset, length, caller)`, by
    `reply_count`.

    Takes effect at the next `pyfuse3.init`.
    """

def install_set_id(on_clear: Callable[[int, int, int, int], None], /) -> None:
    """Have told that set-id bits of a file are to be cleared, before the request that says so is handled:
    `on_clear(ino, uid, gid, pid)`; see `take_device`. Takes effect at the next `pyfuse3.init`.
    """

FilePart = tuple[int, int, int]
"""The descriptor of a file, how many bytes of it, and from where on."""

def install_immediate(handlers: dict[int, Callable[..., bytes | FilePart | int | None]], /) -> None:
    """Have requests told, in the moment they are read, to the handler of their kind (FUSE's opcode):

    LOOKUP and UNLINK as `(parent, name)`, GETATTR as `(ino)`, OPEN and OPENDIR as `(ino, flags)`,
    CREATE as `(parent, name, mode, flags, (uid, gid, pid))`, READ as `(handle, offset, size)`, WRITE as
    `(handle, offset, content)`, FLUSH as `(ino, handle, record_lock_owner)`, RELEASE and RELEASEDIR as
    `(ino, handle, flock_owner)`, FORGET and BATCH_FORGET as `([(ino, count), ...])`.

    A handler returns the body of the answer, the part of a file that is the body, or an errno, 0 for success;
    anything else is EIO, as is an errno that the kernel takes for none. None: the request has begun, and goes
    on in pyfuse3's handler; what `install_locks` tells of its kind is not told then. Takes effect at once,
    until `session_ended`. Raises ValueError for another kind.
    """

def set_pace(look_ns: int, burst: int, /) -> None:
    """Set how long pyfuse3's read of a request looks for one at most (less long where nothing comes), and how
    many are answered until `take_count` is called."""

def take_count() -> tuple[int, bool]:
    """How many requests were read since the last call, and whether the last look found none."""

def interrupt_event() -> int:
    """An event descriptor that becomes readable when a waiting request was interrupted."""

def reply(request: int, errno: int, /) -> bool:
    """Answer a request, 0 for success. False: the kernel no longer wanted to know.

    Raises ValueError for a request that is not, or no longer, waiting.
    """

def reply_lock(request: int, kind: int, start: int, length: int, pid: int, /) -> bool:
    """Like `reply`: this lock stands against the one that was asked about; of kind F_UNLCK: none does."""

def reply_position(request: int, position: int, /) -> bool:
    """Like `reply`, to a seek: this is where data, or a hole, begins."""

def reply_count(request: int, count: int, /) -> bool:
    """Like `reply`, to a copy: so many bytes were copied."""

def interrupted() -> list[int]:
    """The waiting requests that were interrupted since the last call."""

def served_request() -> tuple[int, int]:
    """The request that a handler of pyfuse3 serves which has just begun, and the thread that waits for it (0
    where that is of another namespace). Only true before the handler's first checkpoint."""

def interrupted_served() -> list[int]:
    """The requests, by the numbers of `served_request`, that were interrupted since the last call;
    `interrupt_event` tells of them as well."""

def set_read_reply(request: int, part: FilePart, /) -> None:
    """Have the answer to this request (a number of `served_request`), which comes next and is empty, carry
    that part of a file."""

def take_device(passthrough: bool, clears_set_id: bool, /) -> None:
    """Read and write the session's device from here on, before its first request is read; with `passthrough`,
    ask the kernel for that. With `clears_set_id` the kernel leaves set-id bits to the file system.

    Raises OSError where libfuse refuses, and ValueError without a session.
    """

def negotiation() -> tuple[bytes, bytes]:
    """The request by which the kernel opened the connection, and the answer without its header; empty before,
    or where they are longer than what is known of them."""

def may_resend() -> bool:
    """Whether the kernel can be asked to send requests again that were read and not answered."""

def renegotiate(request: bytes, /) -> bytes:
    """Make the session of a connection that is open already go on where that stands, by the request that
    opened it; return what it would have answered, which the kernel does not get. After `take_device`, before
    the first request is read.

    Raises OSError where libfuse refuses, and ValueError without a session.
    """

def leave_unanswered() -> None:
    """From here on the kernel gets no answer to any request, whoever gives one; notices still go to it."""

def passthrough_agreed() -> bool | None:
    """Whether kernel and mount agreed on passthrough; None before the connection is opened."""

def open_backing(descriptor: int, /) -> int:
    """Give the kernel a file to serve opens from, and return its id. The descriptor may be closed afterwards.

    Raises OSError: EPERM without the capability or the agreement, ELOOP on a stacked file system.
    """

def close_backing(backing_id: int, /) -> None:
    """Take an id back; opens that use it are not disturbed. Raises OSError for an unknown id."""

def set_open_reply(handle: int, flags: int, backing_id: int, /) -> None:
    """Add FOPEN_ flags, and with `backing_id` above 0 passthrough, to the answer of the open, create or
    opendir that returns `handle`. To be called right before the handler returns; used once."""

def session_fd() -> int:
    """The FUSE device of the session. Raises ValueError when there is none."""

def open_notices(device: int, /) -> None:
    """Prepare to send notices by another descriptor of the device's connection, which counts as open until
    `close_notices`, or until the process ends. A notice that the kernel holds up then keeps a killed process
    only until it has closed `device`.

    Raises OSError where the kernel refuses, and ValueError where notices are open already.
    """

def send_notice(message: bytes, /) -> None:
    """Send a notice, in the wire format, and return when the kernel is done with it.

    Raises OSError: ENOENT where the kernel has nothing of it; and ValueError where notices are not open.
    """

def close_notices() -> None:
    """Give the descriptor of `open_notices` back. Nothing happens where there is none, or where a notice is
    being sent."""

def session_ended() -> None:
    """Forget the session and what still waits in it; call it before `pyfuse3.close`."""

def make_unnamed_files(folder: str, count: int, /) -> list[int]:
    """Return descriptors of so many new, empty files without a name (O_TMPFILE) in the file system of this
    folder, or of fewer; up to 256. Leaves the GIL; on any thread. Raises OSError where none can be made.
    """

def libfuse_version() -> str: ...
