"""Builders of what the journal keeps."""

import stat
from typing import Any

from mountfs.model.entry import Base, EntryKind, EntryRecord, OpenUpload
from mountfs.model.ids import ROOT_INO, ROOT_NODE, Ino, NodeId, UploadId, VersionId

TYPE_BITS = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.DIRECTORY: stat.S_IFDIR,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.SPECIAL: stat.S_IFIFO,
}


def entry(ino: int, name: bytes = b"file", parent: int | None = ROOT_INO, **changes: Any) -> EntryRecord:
    """Return a clean file that the remote does not know; `changes` replace fields."""
    kind = changes.get("kind", EntryKind.FILE)
    fields: dict[str, Any] = {
        "ino": Ino(ino),
        "parent": None if parent is None else Ino(parent),
        "name": name,
        "kind": kind,
        "mode": TYPE_BITS[kind] | 0o644,
        "uid": 1000,
        "gid": 100,
        "rdev": 0,
        "size": 0,
        "atime_ns": 1,
        "mtime_ns": 2,
        "ctime_ns": 3,
        "target": b"",
        "base": None,
        "generation": 0,
        "content_dirty": False,
        "pending": None,
        "failure": None,
        "listed": False,
    }
    return EntryRecord(**(fields | changes))


def folder(ino: int, name: bytes = b"folder", parent: int | None = ROOT_INO, **changes: Any) -> EntryRecord:
    return entry(ino, name, parent, kind=EntryKind.DIRECTORY, **changes)


def root() -> EntryRecord:
    return folder(ROOT_INO, b"", None, base=Base(ROOT_NODE, ROOT_NODE, ""))


def dirty(ino: int, name: bytes = b"file", parent: int | None = ROOT_INO, **changes: Any) -> EntryRecord:
    return entry(ino, name, parent, **({"content_dirty": True, "pending": ino, "generation": 1} | changes))


def base(node: str = "2node", version: str | None = "3version", **changes: Any) -> Base:
    version_id = None if version is None else VersionId(version)
    return Base(NodeId(node), ROOT_NODE, "file", version_id, **changes)


def upload(ino: int, generation: int = 1) -> OpenUpload:
    return OpenUpload(Ino(ino), generation, UploadId(f"5upload{ino}"), 1 << 20, 3 << 20, "0" * 64)
