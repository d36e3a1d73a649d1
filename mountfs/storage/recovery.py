"""Brings content files and journal together after the last mount ended, in whatever way."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

from mountfs.model.disk import DiskStep
from mountfs.model.entry import EntryKind, EntryRecord
from mountfs.model.ids import Ino
from mountfs.storage.content import ContentFiles
from mountfs.storage.detachment import detach
from mountfs.storage.journal import SqliteJournal

log = logging.getLogger(__name__)

CONTENT_LOST: Final = (
    "the content is lost: its file is missing from the cache, and there is nothing to upload"
)


ORPHANS_CHUNK: Final = 500
"""So many content files are looked up in the journal at once."""


def recover(journal: SqliteJournal, content: ContentFiles, *, kept: Collection[Ino] = ()) -> None:
    """Repair what a crash may leave; to be run before the journal is started. Blocks. May be repeated.

    Afterwards no deleted entry has a content file, and each file whose content the remote lacks has the size
    that a local disk would show, unless it was closed: then it keeps the size of that, and what is there is
    compared with it at its first use. Where the host lost its power nothing is compared, as what was not
    synced may be in any state and what was synced may have been written to since. Content that is lost is
    reported as the failure of its entry. What programs of an earlier mount may still write to
    gets a file of its own, which takes as long as a copy. Else it takes time by what was pending or deleted,
    not by what is known; `orphans` finds the rest. What is `kept` stays as it is: programs have it open,
    and its state is known. Raises StorageError, CacheUnusable.
    """
    _remove_deleted(content, (ino for ino in journal.unlinked_inos() if ino not in kept))
    exposed = [entry for entry in journal.exposed_entries() if entry.ino not in kept]
    # Of what was not closed the journal may not tell that programs can write to it.
    unclosed = (entry for entry in journal.pending_entries() if entry.content_dirty and entry.sealed is None)
    for entry in (*exposed, *unclosed):
        if entry.ino not in kept:
            detach(content, entry.ino)
    last_pending = max((entry.pending or 0 for entry in journal.pending_entries()), default=0)
    journal.repair(_looked_at(content, entry, last_pending + 1) for entry in exposed)
    trust_seals = not journal.lost_power
    if not trust_seals:
        log.warning("recovery: the host lost its power or was reset: content is taken as the disk has it")
    pending = (entry for entry in journal.pending_entries() if entry.ino not in kept)
    journal.repair(_repaired(content, pending, trust_seals=trust_seals))
    journal.begin_use()


def orphans(journal: SqliteJournal, content: ContentFiles) -> Iterator[list[Ino]]:
    """Yield the content files that no entry has, chunk by chunk of those looked at. Blocks.

    May run beside the mount. Only numbers from before this start count: as none is given twice, such a one
    without a row never gets a row again. An open file that is being deleted may be among them. Raises
    StorageError, CacheUnusable.
    """
    before = journal.first_new_ino
    old = (stored.ino for stored in content.stored() if stored.ino < before)
    while chunk := list(islice(old, ORPHANS_CHUNK)):
        known = journal.known_inos(chunk)
        yield [ino for ino in chunk if ino not in known]


def _remove_deleted(content: ContentFiles, inos: Iterable[Ino]) -> None:
    for ino in inos:
        if content.size(ino) is not None:
            log.info("recovery: removed the content of inode %d, which was deleted", ino)
            content.remove(ino, step=DiskStep.RECOVER_REMOVE)


def _looked_at(content: ContentFiles, entry: EntryRecord, pending: int) -> EntryRecord:
    """Programs could write to this content without the daemon: find out whether they did."""
    stamp = content.stamp(entry.ino)
    if stamp in (None, entry.exposed) or entry.content_dirty or entry.parent is None:
        # A page that was dirty already is written to without a trace.
        return entry._replace(exposed=None, sealed=None)
    assert stamp is not None
    log.info("recovery: inode %d %r was written to before the last mount ended", entry.ino, entry.name)
    return entry._replace(
        exposed=None,
        size=stamp.size,
        mtime_ns=stamp.mtime_ns,
        ctime_ns=stamp.mtime_ns,
        content_dirty=True,
        generation=entry.generation + 1,
        pending=entry.pending or pending,
        failure=None,
    )


def _repaired(
    content: ContentFiles, pending: Iterable[EntryRecord], *, trust_seals: bool
) -> list[EntryRecord]:
    """Return the entries that have to be changed, and create the content of empty files."""
    dirty = [entry for entry in pending if entry.content_dirty and entry.parent is not None]
    files = [entry for entry in dirty if entry.kind is EntryKind.FILE]
    return [new for old in files if (new := _repair(content, old, trust_seals=trust_seals)) != old]


def _repair(content: ContentFiles, entry: EntryRecord, *, trust_seals: bool) -> EntryRecord:
    size = content.size(entry.ino)
    if size is None and entry.size == 0:
        log.info("recovery: created the empty content of inode %d %r", entry.ino, entry.name)
        _create_empty(content, entry)
        return entry
    if size is None and entry.base is not None and entry.sealed is not None and trust_seals:
        # Its first use finds it missing, and what the remote has in its place.
        return entry
    if size is None or (size == 0 and entry.failure == CONTENT_LOST):
        # An empty file may have come from somebody who only looked; a program's writing clears the failure.
        log.error("recovery: inode %d %r: %s", entry.ino, entry.name, CONTENT_LOST)
        return entry._replace(failure=CONTENT_LOST)
    if not trust_seals:
        entry = entry._replace(sealed=None)
    if size == entry.size or entry.sealed is not None:
        # What is not as it was closed is damaged: found at its first use.
        return entry
    log.info("recovery: inode %d %r has %d bytes, not %d", entry.ino, entry.name, size, entry.size)
    return entry._replace(size=size)


def _create_empty(content: ContentFiles, entry: EntryRecord) -> None:
    descriptor = content.open(entry.ino, create=True, step=DiskStep.RECOVER_EMPTY)
    try:
        content.sync(entry.ino, descriptor)
    finally:
        os.close(descriptor)
