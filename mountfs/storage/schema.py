"""The journal's tables and the translation between rows and records.

This is the canonical description of what is on disk. A change of it needs a new FORMAT and a migration.
"""

import json
import sqlite3
from base64 import b64decode, b64encode
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final

from mountfs.model.conflict import Conflict, ConflictKind
from mountfs.model.effect import Identity
from mountfs.model.entry import Base, ContentStamp, EntryKind, EntryRecord, OpenUpload
from mountfs.model.ids import Ino, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.remote import KnownLease
from mountfs.storage import untrusted_json

FORMAT: Final = 7

TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (
    name  TEXT PRIMARY KEY,  -- 'format', 'workspace', 'ino_ceiling', 'boot';
                             -- with JSON: 'conflict INO', 'lease INO', 'pin INO', 'request NODE'
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS entries (
    ino           INTEGER PRIMARY KEY,
    parent        INTEGER,           -- NULL: has no name here any more
    name          BLOB NOT NULL,     -- bytes as the program gave them
    kind          INTEGER NOT NULL,  -- EntryKind
    mode          INTEGER NOT NULL,  -- st_mode with the file type
    uid           INTEGER NOT NULL,
    gid           INTEGER NOT NULL,
    rdev          INTEGER NOT NULL,
    size          INTEGER NOT NULL,  -- bytes, as it is here
    atime_ns      INTEGER NOT NULL,
    mtime_ns      INTEGER NOT NULL,
    ctime_ns      INTEGER NOT NULL,
    target        BLOB NOT NULL,     -- of a symlink, else empty
    node          TEXT,              -- NULL: the remote does not know it
    base_parent   TEXT,              -- the confirmed place, content and version on the remote
    base_name     TEXT,
    base_version  TEXT,
    base_sha256   TEXT,
    base_size     INTEGER,
    generation    INTEGER NOT NULL,  -- counts the states of the content
    content_dirty INTEGER NOT NULL,  -- 1: the remote lacks this content
    pending       INTEGER,           -- order of what the remote must learn; NULL: nothing
    failure       TEXT,              -- why that cannot succeed
    listed        INTEGER NOT NULL,  -- 1: all children of this directory are known
    exposed_mtime_ns INTEGER,        -- while programs may write past the daemon: the content as last known
    exposed_size  INTEGER,
    xattrs        TEXT,              -- NULL: none; else JSON, each name (latin-1) with its value (base64)
    base_text     TEXT,              -- the confirmed free text on the remote; NULL: none
    base_modified_ns INTEGER,        -- when it was changed there, by its clock; NULL: not known
    is_foreign    INTEGER,           -- 1: a symlink whose target comes from the remote
    sealed        TEXT,              -- of content that the remote lacks: its SHA-256 since the last close,
                                     -- '': closed, not hashed yet; NULL: it may be changing
    author        TEXT               -- of what is pending, JSON: the program that changed it last
);
CREATE TABLE IF NOT EXISTS uploads (
    ino         INTEGER PRIMARY KEY,
    generation  INTEGER NOT NULL,
    upload      TEXT NOT NULL,
    chunk_bytes INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    sha256      TEXT NOT NULL,
    place_parent TEXT,               -- where one call creates a new file, else NULL
    place_name  TEXT
);
"""

INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS entries_by_parent ON entries (parent)",
    "CREATE INDEX IF NOT EXISTS entries_by_node ON entries (node) WHERE node IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS entries_pending ON entries (pending) WHERE pending IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS entries_exposed ON entries (exposed_size) WHERE exposed_size IS NOT NULL",
)
"""Made after the migrations, whose columns they may name."""

MIGRATIONS: Final = {
    1: (
        "ALTER TABLE entries ADD COLUMN exposed_mtime_ns INTEGER",
        "ALTER TABLE entries ADD COLUMN exposed_size INTEGER",
    ),
    2: ("ALTER TABLE entries ADD COLUMN xattrs TEXT",),
    3: ("ALTER TABLE entries ADD COLUMN base_text TEXT",),
    4: (
        "ALTER TABLE entries ADD COLUMN base_modified_ns INTEGER",
        "ALTER TABLE entries ADD COLUMN is_foreign INTEGER",
    ),
    5: ("ALTER TABLE entries ADD COLUMN sealed TEXT",),
    6: ("ALTER TABLE entries ADD COLUMN author TEXT",),
}
"""What leads from a format to the next."""

ENTRY_COLUMNS: Final = (
    "ino, parent, name, kind, mode, uid, gid, rdev, size, atime_ns, mtime_ns, ctime_ns, target,"
    " node, base_parent, base_name, base_version, base_sha256, base_size,"
    " generation, content_dirty, pending, failure, listed, exposed_mtime_ns, exposed_size,"
    " xattrs, base_text, base_modified_ns, is_foreign, sealed, author"
)
ENTRY_VALUES: Final = ENTRY_COLUMNS.count(",") + 1
PUT_ENTRY: Final = (
    f"INSERT OR REPLACE INTO entries ({ENTRY_COLUMNS}) VALUES ({', '.join('?' * ENTRY_VALUES)})"  # noqa: S608 - constants only
)
PUT_UPLOAD: Final = "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SELECT_ENTRY: Final = f"SELECT {ENTRY_COLUMNS} FROM entries"  # noqa: S608 - constants only
SELECT_PENDING: Final = f"{SELECT_ENTRY} WHERE pending IS NOT NULL ORDER BY pending"
SELECT_EXPOSED: Final = f"{SELECT_ENTRY} WHERE exposed_size IS NOT NULL"
SELECT_UNLINKED: Final = "SELECT ino FROM entries WHERE parent IS NULL AND ino <> ?"

_FILES_BELOW: Final = f"""
WITH RECURSIVE below(ino, kind, size) AS (
    SELECT ino, kind, size FROM entries WHERE ino IN (TOPS)
    UNION SELECT entries.ino, entries.kind, entries.size FROM entries JOIN below ON entries.parent = below.ino
)
SELECT ino, size FROM below WHERE kind = {int(EntryKind.FILE)}
"""  # noqa: S608 - constants only

OLDEST_NS: Final = -(2**63)
NEWEST_NS: Final = 2**63 - 1

Row = tuple[int | str | bytes | None, ...]


def select_known(count: int) -> str:
    """Return the query for which of `count` inode numbers have an entry."""
    return f"SELECT ino FROM entries WHERE ino IN ({', '.join('?' * count)})"  # noqa: S608 - constants only


def select_by_node(count: int) -> str:
    """Return the query for the entries of `count` nodes."""
    return f"{SELECT_ENTRY} WHERE node IN ({', '.join('?' * count)})"


def select_files_below(count: int) -> str:
    """Return the query for number and size of the files that are, or lie below, one of `count` entries."""
    return _FILES_BELOW.replace("TOPS", ", ".join("?" * count))


def entry_row(entry: EntryRecord) -> Row:
    base = entry.base
    remote: Row = (None,) * 6
    if base is not None:
        remote = (base.node, base.parent, base.name, base.version, base.sha256, base.size)
    return (
        entry.ino,
        entry.parent,
        entry.name,
        int(entry.kind),
        entry.mode,
        entry.uid,
        entry.gid,
        entry.rdev,
        entry.size,
        _storable(entry.atime_ns),
        _storable(entry.mtime_ns),
        _storable(entry.ctime_ns),
        entry.target,
        *remote,
        entry.generation,
        int(entry.content_dirty),
        entry.pending,
        entry.failure,
        int(entry.listed),
        *(entry.exposed or (None, None)),
        _xattrs_text(entry.xattrs),
        (base.text or None) if base is not None else None,
        (base.modified_ns or None) if base is not None else None,
        1 if entry.foreign else None,
        entry.sealed,
        entry.author and _author_text(entry.author),
    )


def completed(row: Row) -> Row:
    """Return the row of an entry, which an older format may have written, with all values of this one."""
    return (*row, *(None,) * (ENTRY_VALUES - len(row)))


def _xattrs_text(xattrs: tuple[tuple[bytes, bytes], ...]) -> str | None:
    if not xattrs:
        return None
    return json.dumps({name.decode("latin-1"): b64encode(value).decode() for name, value in xattrs})


def _xattrs(text: str | None) -> tuple[tuple[bytes, bytes], ...]:
    if text is None:
        return ()
    told = untrusted_json.loads(text)
    return tuple((name.encode("latin-1"), b64decode(value)) for name, value in told.items())


@lru_cache(maxsize=256)
def _author_text(author: Identity) -> str:
    return json.dumps(astuple(author))


def _author(text: str | None) -> Identity | None:
    """Return None for what is damaged: nothing but the audit log needs it."""
    if text is None:
        return None
    try:
        pid, uid, *names = untrusted_json.loads(text)
        author = Identity(pid, uid, *names)
    except (ValueError, TypeError):
        return None
    is_whole = (
        type(pid) is int and isinstance(uid, int | None) and all(isinstance(name, str) for name in names)
    )
    return author if is_whole else None


def _storable(time_ns: int) -> int:
    """Return the nearest time that SQLite can hold: 64 bits of nanoseconds reach the year 2262."""
    return time_ns if OLDEST_NS <= time_ns <= NEWEST_NS else max(OLDEST_NS, min(time_ns, NEWEST_NS))


def entry_record(row: sqlite3.Row) -> EntryRecord:
    base = None
    if row["node"] is not None:
        base = Base(
            node=NodeId(row["node"]),
            parent=NodeId(row["base_parent"]),
            name=row["base_name"],
            version=None if row["base_version"] is None else VersionId(row["base_version"]),
            sha256=row["base_sha256"],
            size=row["base_size"],
            text=row["base_text"] or "",
            modified_ns=row["base_modified_ns"] or 0,
        )
    return EntryRecord(
        ino=Ino(row["ino"]),
        parent=None if row["parent"] is None else Ino(row["parent"]),
        name=row["name"],
        kind=EntryKind(row["kind"]),
        mode=row["mode"],
        uid=row["uid"],
        gid=row["gid"],
        rdev=row["rdev"],
        size=row["size"],
        atime_ns=row["atime_ns"],
        mtime_ns=row["mtime_ns"],
        ctime_ns=row["ctime_ns"],
        target=row["target"],
        base=base,
        generation=row["generation"],
        content_dirty=bool(row["content_dirty"]),
        pending=row["pending"],
        failure=row["failure"],
        listed=bool(row["listed"]),
        exposed=_stamp(row),
        xattrs=_xattrs(row["xattrs"]),
        foreign=bool(row["is_foreign"]),
        sealed=row["sealed"],
        author=_author(row["author"]),
    )


def _stamp(row: sqlite3.Row) -> ContentStamp | None:
    if row["exposed_size"] is None:
        return None
    return ContentStamp(row["exposed_mtime_ns"], row["exposed_size"])


def upload_row(upload: OpenUpload) -> Row:
    place = upload.place or (None, None)
    return (
        upload.ino,
        upload.generation,
        upload.upload,
        upload.chunk_bytes,
        upload.size,
        upload.sha256,
        *place,
    )


def upload_record(row: sqlite3.Row) -> OpenUpload:
    return OpenUpload(
        ino=Ino(row["ino"]),
        generation=row["generation"],
        upload=UploadId(row["upload"]),
        chunk_bytes=row["chunk_bytes"],
        size=row["size"],
        sha256=row["sha256"],
        place=None if row["place_parent"] is None else (NodeId(row["place_parent"]), row["place_name"]),
    )


CONFLICT_FACT: Final = "conflict "
SELECT_CONFLICTS: Final = "SELECT name, value FROM facts WHERE name GLOB 'conflict *'"


def conflict_fact(ino: Ino) -> str:
    return f"{CONFLICT_FACT}{ino}"


def conflict_value(conflict: Conflict) -> str:
    return json.dumps(
        {
            "kind": conflict.kind.value,
            "path": conflict.path.decode("latin-1"),
            "noticed_ns": conflict.noticed_ns,
            "theirs": _base_values(conflict.theirs),
            "base": _base_values(conflict.base),
        }
    )


def conflict_record(name: str, value: str) -> Conflict:
    """Raises ValueError, KeyError or TypeError where it is damaged."""
    told: dict[str, Any] = untrusted_json.loads(value)
    return Conflict(
        ino=Ino(int(name.removeprefix(CONFLICT_FACT))),
        kind=ConflictKind(told["kind"]),
        path=_path(told["path"]),
        noticed_ns=told["noticed_ns"],
        theirs=told["theirs"] and Base(*told["theirs"]),
        base=told["base"] and Base(*told["base"]),
    )


def _path(told: object) -> bytes:
    """Raises ValueError or TypeError for what is no path."""
    if not isinstance(told, str):
        raise TypeError(f"a path is no {type(told).__name__}")
    return told.encode("latin-1")


LEASE_FACT: Final = "lease "
SELECT_LEASES: Final = "SELECT name, value FROM facts WHERE name GLOB 'lease *'"


def lease_fact(ino: Ino) -> str:
    return f"{LEASE_FACT}{ino}"


def lease_value(lease: KnownLease) -> str:
    return json.dumps([lease.node, lease.token])


def lease_record(name: str, value: str) -> KnownLease:
    """Raises ValueError or TypeError where it is damaged."""
    node, token = untrusted_json.loads(value)
    return KnownLease(Ino(int(name.removeprefix(LEASE_FACT))), NodeId(node), LeaseToken(token))


PIN_FACT: Final = "pin "
SELECT_PINS: Final = "SELECT name, value FROM facts WHERE name GLOB 'pin *'"


def pin_fact(ino: Ino) -> str:
    return f"{PIN_FACT}{ino}"


def pin_value(path: bytes) -> str:
    return json.dumps(path.decode("latin-1"))


def pin_record(name: str, value: str) -> tuple[Ino, bytes]:
    """Raises ValueError or TypeError where it is damaged."""
    return Ino(int(name.removeprefix(PIN_FACT))), _path(untrusted_json.loads(value))


REQUEST_FACT: Final = "request "
SELECT_REQUESTS: Final = "SELECT name, value FROM facts WHERE name GLOB 'request *'"


def request_fact(node: NodeId) -> str:
    return f"{REQUEST_FACT}{node}"


def request_record(name: str, value: str) -> tuple[NodeId, tuple[NodeId, str]]:
    """Raises ValueError where it is damaged."""
    parent, place_name = untrusted_json.loads(value)
    return NodeId(name.removeprefix(REQUEST_FACT)), (NodeId(parent), place_name)


def _base_values(base: Base | None) -> list[str | int | None] | None:
    if base is None:
        return None
    return [base.node, base.parent, base.name, base.version, base.sha256, base.size]
