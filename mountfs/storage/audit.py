"""Checks every invariant of the cache: for `mountfs doctor`, and for the end of tests."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from mountfs.model.entry import EntryKind, EntryRecord, OpenUpload
from mountfs.model.errors import CacheUnusable, StorageError
from mountfs.model.ids import ROOT_INO, Ino, NodeId
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal

Entries = Mapping[Ino, EntryRecord]


def audit(journal: SqliteJournal, content: ContentFiles, *, in_use: Collection[Ino] = ()) -> list[str]:
    """Return one line for each violated invariant; none for a cache that is sound. Changes nothing. Blocks.

    `in_use` are the inodes that a running mount has open: an open file's content may be ahead of its row,
    and outlives it when the file is deleted. What is recorded but not committed is not seen.
    """
    faults = [f"journal: {fault}" for fault in journal.integrity_faults()]
    if faults:
        return faults
    try:
        # Content first: what is removed meanwhile lost its row before, and so is no orphan.
        stored = {one.ino for one in content.stored()}
        records, uploads = journal.everything()
    except (CacheUnusable, StorageError, OSError) as error:
        return [f"cache: {error}"]
    entries = {entry.ino: entry for entry in records}
    return [
        *_places(entries),
        *_cycles(entries),
        *_shared_names(records),
        *_shared_nodes(records),
        *_uploads(entries, uploads),
        *_orphans(entries, content, stored - set(in_use)),
        *_contents(content, [entry for entry in records if entry.ino not in in_use]),
    ]


def is_linked(entry: EntryRecord) -> bool:
    return entry.parent is not None or entry.ino == ROOT_INO


def _shown(entry: EntryRecord) -> str:
    return f"inode {entry.ino} {os.fsdecode(entry.name)!r}"


def _places(entries: Entries) -> Iterator[str]:
    for entry in entries.values():
        if entry.parent is None:
            continue
        parent = entries.get(entry.parent)
        if parent is None:
            yield f"{_shown(entry)}: its folder, inode {entry.parent}, does not exist"
        elif parent.kind is not EntryKind.DIRECTORY:
            yield f"{_shown(entry)}: lies in {_shown(parent)}, which is no folder"
        elif not is_linked(parent):
            yield f"{_shown(entry)}: lies in {_shown(parent)}, which was deleted"


def _cycles(entries: Entries) -> Iterator[str]:
    """Yield a line for each cycle, by the lowest inode number on it."""
    settled: set[Ino] = set()
    for entry in entries.values():
        way: list[Ino] = []
        ino: Ino | None = entry.ino
        while ino is not None and ino in entries and ino not in settled:
            settled.add(ino)
            way.append(ino)
            ino = entries[ino].parent
        if ino is not None and ino in way:
            cycle = way[way.index(ino) :]
            yield f"{_shown(entries[min(cycle)])}: lies in itself, {len(cycle)} folders up"


def _shared_names(records: Iterable[EntryRecord]) -> Iterator[str]:
    places: dict[tuple[Ino, bytes], list[Ino]] = defaultdict(list)
    for entry in records:
        if entry.parent is not None:
            places[entry.parent, entry.name].append(entry.ino)
    for (parent, name), inos in places.items():
        if len(inos) > 1:
            yield f"folder {parent}: {_listed(inos)} all have the name {os.fsdecode(name)!r}"


def _shared_nodes(records: Iterable[EntryRecord]) -> Iterator[str]:
    nodes: dict[NodeId, list[Ino]] = defaultdict(list)
    for entry in records:
        if entry.base is not None:
            nodes[entry.base.node].append(entry.ino)
    for node, inos in nodes.items():
        if len(inos) > 1:
            yield f"node {node}: {_listed(inos)} all claim to be it"


def _listed(inos: Iterable[Ino]) -> str:
    return "inodes " + ", ".join(str(ino) for ino in sorted(inos))


def _uploads(entries: Entries, uploads: Iterable[OpenUpload]) -> Iterator[str]:
    """An upload of an earlier generation may wait to be given up, until the content is sent again. A session
    of a file that is gone is given back within half a minute, and what was sent without one is remembered
    until nothing is pending."""
    something_pending = any(entry.pending is not None for entry in entries.values())
    for upload in uploads:
        entry = entries.get(upload.ino)
        if entry is None and (upload.upload or something_pending):
            continue
        if entry is None:
            yield f"what was sent of inode {upload.ino}, which does not exist, is still remembered"
        elif upload.generation > entry.generation or (
            upload.generation != entry.generation and not entry.content_dirty
        ):
            yield (
                f"{_shown(entry)}: upload {upload.upload} is of generation {upload.generation},"
                f" the content of {entry.generation}"
            )


def _orphans(entries: Entries, content: ContentFiles, stored: Iterable[Ino]) -> Iterator[str]:
    for ino in sorted(stored):
        if ino not in entries:
            yield f"content file {content.path(ino)}: no entry has this inode number"


def _contents(content: ContentFiles, records: Iterable[EntryRecord]) -> Iterator[str]:
    for entry in records:
        if entry.kind is not EntryKind.FILE or not is_linked(entry):
            continue
        try:
            yield from _dirty(content, entry) if entry.content_dirty else _clean(content, entry)
        except StorageError as error:
            yield f"{_shown(entry)}: {error}"


def _dirty(content: ContentFiles, entry: EntryRecord) -> Iterator[str]:
    """Dirty content is the only copy: it must be here as a whole, and queued."""
    size = content.size(entry.ino)
    if size is None:
        yield f"{_shown(entry)}: the remote lacks its content, and the cache does not have it"
    elif size < entry.size:
        yield f"{_shown(entry)}: only {size} of {entry.size} bytes that the remote lacks are in the cache"
    if entry.pending is None:
        yield f"{_shown(entry)}: the remote lacks its content, but it is not queued"


def _clean(content: ContentFiles, entry: EntryRecord) -> Iterator[str]:
    """What the index says of a version other than the base's counts nothing."""
    coverage = content.coverage(entry.ino)
    if coverage is None or entry.base is None or coverage.version != entry.base.version:
        return
    end = max((end for _, end in coverage.ranges), default=0)
    if end > entry.size:
        yield f"{_shown(entry)}: the index tells of bytes up to {end}, the file ends at {entry.size}"
