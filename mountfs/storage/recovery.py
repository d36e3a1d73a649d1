"""Brings content files and journal together after the last mount ended, in whatever way."""

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from mountfs.model.entry import EntryKind, EntryRecord
from mountfs.storage.audit import is_linked
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal

log = logging.getLogger(__name__)

CONTENT_LOST: Final = (
    "the content is lost: its file is missing from the cache, and there is nothing to upload"
)


def recover(journal: SqliteJournal, content: ContentFiles) -> None:
    """Repair what a crash may leave; to be run before the journal is started. Blocks. May be repeated.

    Afterwards only linked entries have content files, and each file whose content the remote lacks has the
    size that a local disk would show. Content that is lost is reported as the failure of its entry. Raises
    StorageError, CacheUnusable.
    """
    records, _ = journal.everything()
    _remove_unneeded(content, {entry.ino: entry for entry in records})
    exposed = [entry for entry in records if entry.exposed is not None]
    last_pending = max((entry.pending or 0 for entry in records), default=0)
    journal.repair(_looked_at(content, entry, last_pending + 1) for entry in exposed)
    if exposed:
        records, _ = journal.everything()
    journal.repair(_repaired(content, records))


def _remove_unneeded(content: ContentFiles, entries: dict[int, EntryRecord]) -> None:
    for ino in [stored.ino for stored in content.stored()]:
        entry = entries.get(ino)
        if entry is None:
            log.warning("recovery: removed the content of inode %d, which no entry has", ino)
            content.remove(ino)
        elif not is_linked(entry):
            log.info("recovery: removed the content of inode %d, which was deleted", ino)
            content.remove(ino)


def _looked_at(content: ContentFiles, entry: EntryRecord, pending: int) -> EntryRecord:
    """Programs could write to this content without the daemon: find out whether they did."""
    stamp = content.stamp(entry.ino)
    if stamp in (None, entry.exposed) or entry.content_dirty or not is_linked(entry):
        return replace(entry, exposed=None)
    assert stamp is not None
    log.info("recovery: inode %d %r was written to before the last mount ended", entry.ino, entry.name)
    return replace(
        entry,
        exposed=None,
        size=stamp.size,
        mtime_ns=stamp.mtime_ns,
        ctime_ns=stamp.mtime_ns,
        content_dirty=True,
        generation=entry.generation + 1,
        pending=entry.pending or pending,
        failure=None,
    )


def _repaired(content: ContentFiles, records: Iterable[EntryRecord]) -> list[EntryRecord]:
    """Return the entries that have to be changed, and create the content of empty files."""
    dirty = [entry for entry in records if entry.content_dirty and is_linked(entry)]
    files = [entry for entry in dirty if entry.kind is EntryKind.FILE]
    return [new for old in files if (new := _repair(content, old)) != old]


def _repair(content: ContentFiles, entry: EntryRecord) -> EntryRecord:
    size = content.size(entry.ino)
    if size is None and entry.size == 0:
        log.info("recovery: created the empty content of inode %d %r", entry.ino, entry.name)
        _create_empty(content, entry)
        return entry
    if size is None or (size == 0 and entry.failure == CONTENT_LOST):
        # An empty file may have come from somebody who only looked; a program's writing clears the failure.
        log.error("recovery: inode %d %r: %s", entry.ino, entry.name, CONTENT_LOST)
        return replace(entry, failure=CONTENT_LOST)
    if size == entry.size:
        return entry
    log.info("recovery: inode %d %r has %d bytes, not %d", entry.ino, entry.name, size, entry.size)
    return replace(entry, size=size)


def _create_empty(content: ContentFiles, entry: EntryRecord) -> None:
    descriptor = content.open(entry.ino, create=True)
    try:
        content.sync(entry.ino, descriptor)
    finally:
        os.close(descriptor)
