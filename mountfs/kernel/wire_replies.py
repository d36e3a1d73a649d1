"""The bodies of answers as the kernel reads them (linux/fuse.h), for requests answered past libfuse."""

from functools import cache
from struct import Struct
from typing import Final

from mountfs.kernel import translate
from mountfs.kernel.requests import Found, Opened, OpenedListing
from mountfs.model.filesystem import Attributes

NS_PER_S: Final = 1_000_000_000

_DIRECT_IO: Final = 1 << 0
_KEEP_CACHE: Final = 1 << 1
_NONSEEKABLE: Final = 1 << 2
_PASSTHROUGH: Final = 1 << 7

_ATTRIBUTES: Final = "QQQqqqIIIIIIIIII"
"""ino, size, blocks, the three times in seconds, their nanoseconds, mode, nlink, uid, gid, rdev, block size,
flags."""

_ATTRIBUTES_REPLY: Final = Struct(f"=QII{_ATTRIBUTES}")
_ENTRY_REPLY: Final = Struct(f"=QQQQII{_ATTRIBUTES}")
_OPEN_REPLY: Final = Struct("=QIi")
_WRITE_REPLY: Final = Struct("=II")
_NO_ATTRIBUTES: Final = (0,) * len(_ATTRIBUTES)


def attributes(found: Found) -> bytes:
    known = found.attributes
    assert known is not None
    seconds, ns = _span(0.0 if known.volatile else found.times.attributes_s)
    return _ATTRIBUTES_REPLY.pack(seconds, ns, 0, *_values(known))


def entry(found: Found) -> bytes:
    known, times = found
    if known is None:
        seconds, ns = _span(times.missing_s)
        return _ENTRY_REPLY.pack(0, 0, seconds, 0, ns, 0, *_NO_ATTRIBUTES)
    entry_s, entry_ns = _span(times.entry_s)
    attributes_s, attributes_ns = _span(0.0 if known.volatile else times.attributes_s)
    return _ENTRY_REPLY.pack(known.ino, 0, entry_s, attributes_s, entry_ns, attributes_ns, *_values(known))


def opened(what: Opened) -> bytes:
    file, reply = what
    flags, backing_id = reply or (0, 0)
    # The kernel keeps no pages of a file in passthrough, and fails an open that asks for both.
    if file.keep_cache and backing_id <= 0:
        flags |= _KEEP_CACHE
    if file.uncached:
        flags |= _DIRECT_IO
    if file.stream:
        flags |= _NONSEEKABLE
    return _OPEN_REPLY.pack(file.handle, flags | (_PASSTHROUGH if backing_id > 0 else 0), backing_id)


def opened_directory(what: OpenedListing) -> bytes:
    flags, backing_id = what.reply or (0, 0)
    return _OPEN_REPLY.pack(what.handle, flags, backing_id)


def created(what: tuple[Opened, Found]) -> bytes:
    file, found = what
    return entry(found) + opened(file)


def written(count: int) -> bytes:
    return _WRITE_REPLY.pack(count, 0)


@cache
def _span(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * NS_PER_S)


def _values(known: Attributes) -> tuple[int, ...]:
    ino, mode, nlink, uid, gid, rdev, size, atime, mtime, ctime, blocks, _ = known
    (atime_s, atime_ns), (mtime_s, mtime_ns) = divmod(atime, NS_PER_S), divmod(mtime, NS_PER_S)
    ctime_s, ctime_ns = divmod(ctime, NS_PER_S)
    return (
        *(ino, size, blocks, atime_s, mtime_s, ctime_s, atime_ns, mtime_ns, ctime_ns),
        *(mode, nlink, uid, gid, rdev & 0xFFFF_FFFF, translate.IO_BYTES, 0),
    )
