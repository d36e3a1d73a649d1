"""An entry of the tree: one file, directory or symlink, as it is here and as the remote confirmed it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from mountfs.model.effect import Identity
from mountfs.model.ids import Ino, NodeId, UploadId, VersionId


class EntryKind(IntEnum):
    """The numbers are on disk: never change one."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    SPECIAL = 4
    """FIFO, socket or device node: never leaves this mount."""


@dataclass(frozen=True, slots=True)
class Base:
    """What the remote last confirmed of an entry: its identity, place, content and free text there.

    `modified_ns` is when it was last changed there, by the remote's clock; 0 where that was not told.
    """

    node: NodeId
    parent: NodeId
    name: str
    version: VersionId | None = None
    sha256: str | None = None
    size: int = 0
    text: str = ""
    modified_ns: int = 0


class ContentStamp(NamedTuple):
    """The state of a cache file, by which a change of it is noticed."""

    mtime_ns: int
    size: int


SEALED: Final = ""
"""In place of a hash: closed, with the size that the entry has."""


class EntryRecord(NamedTuple):
    """One entry as the journal keeps it. A tuple, since several are made for each file that a program writes.

    `parent` is None for an entry that has no name here any more (unlinked); it is kept as long as the
    remote has something to learn of it. `mode` includes the file type. `generation` counts the states of
    the content, `content_dirty` says that the remote lacks this one. `pending` orders the entries that the
    remote has something to learn of, None when there is nothing; `failure` says why that cannot succeed.
    `xattrs` are the names and values that programs set, in no order.
    `foreign` says of a symlink that its target comes from the remote.
    `listed` says of a directory that all its children are known. `exposed` is the state in which the content
    was last known while programs may write to it without the daemon (FUSE passthrough), None otherwise.
    `sealed` is known of content that the remote lacks and nobody has begun to change since it was closed: its
    SHA-256, or SEALED where that is not known yet; None of all other content.
    `author` is the program that changed a pending entry last, None where that is not known.
    """

    ino: Ino
    parent: Ino | None
    name: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    target: bytes
    base: Base | None
    generation: int
    content_dirty: bool
    pending: int | None
    failure: str | None
    listed: bool
    exposed: ContentStamp | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    foreign: bool = False
    sealed: str | None = None
    author: Identity | None = None


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload under way: enough to go on with it after a crash, or to know its result for ours.

    It belongs to one generation of the content: any later write makes it worthless. `upload` is empty and
    `chunk_bytes` 0 where it goes in one call; `place` is where that call creates a new file.
    """

    ino: Ino
    generation: int
    upload: UploadId
    chunk_bytes: int
    size: int
    sha256: str
    place: tuple[NodeId, str] | None = None
