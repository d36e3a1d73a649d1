"""The audit of a cache that no mount uses."""

import os
from collections.abc import Iterator
from pathlib import Path

import trio

from mountfs.daemon.running import shown
from mountfs.model.entry import EntryKind, EntryRecord
from mountfs.model.errors import CacheUnusable, StorageError
from mountfs.model.ids import Ino
from mountfs.model.ranges import RangeSet
from mountfs.storage import recovery
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.journal_database import workspace_of
from mountfs.storage.layout import CacheDirectory, CacheLayout
from mountfs.sync.damage import unsent_fault
from mountfs.sync.running_hash import digest_of


async def audit_unmounted(root: Path, *, deep: bool) -> list[str]:
    """Return what is violated in the cache, a line each; before, bring it in order as the next mount would.

    `deep`: compare its content with what is known of it. Of damaged content that the workspace has, nothing
    counts as cached any more; content that it does not have stays where it is, for the next mount to set
    aside. A crash leaves what a crash of a mount leaves. Raises CacheInUse, CacheUnusable, StorageError.
    """
    if not CacheLayout(root).journal.is_file():
        # Claiming it would make one.
        raise CacheUnusable(f"{root} is no cache of mountfs: it has no journal")
    directory = CacheDirectory.claim(root)
    try:
        return await _audit(directory.layout, deep=deep)
    finally:
        directory.release()


async def _audit(layout: CacheLayout, *, deep: bool) -> list[str]:
    workspace = workspace_of(layout.journal)
    content = await trio.to_thread.run_sync(ContentFiles, layout.content, layout.index)
    try:
        journal = SqliteJournal(layout.journal, workspace=workspace)
        await trio.to_thread.run_sync(_recover, journal, content)
        journal.start()
        try:
            return await trio.to_thread.run_sync(lambda: _findings(journal, content, deep=deep))
        finally:
            with trio.CancelScope(shield=True):
                await journal.aclose()
    finally:
        content.close()


def _recover(journal: SqliteJournal, content: ContentFiles) -> None:
    recovery.recover(journal, content)
    for orphans in recovery.orphans(journal, content):
        content.remove_all(orphans)


def _findings(journal: SqliteJournal, content: ContentFiles, *, deep: bool) -> list[str]:
    found = audit(journal, content)
    if deep and not any(fault.startswith("journal: ") for fault in found):
        found += _damage(journal, content)
    return found + [
        f"damaged content is kept as {shown(str(path))}: take from it what is good, then remove it"
        for path in content.set_aside_files()
    ]


def _damage(journal: SqliteJournal, content: ContentFiles) -> Iterator[str]:
    entries = {entry.ino: entry for entry in journal.everything()[0]}
    for stored in list(content.stored()):
        entry = entries.get(stored.ino)
        if entry is None or entry.kind is not EntryKind.FILE or entry.parent is None:
            continue
        place = shown(os.fsdecode(_path(entries, entry)))
        try:
            if entry.content_dirty:
                fault = _unsent_fault(content, entry)
                if fault is not None:
                    yield f"{place}: its content, which was not sent yet, is damaged: {fault}"
            elif not _keep_sound(content, entry):
                yield f"{place}: its content was damaged; it will be fetched again"
        except StorageError as error:
            yield f"{place}: {error.message}"


def _unsent_fault(content: ContentFiles, entry: EntryRecord) -> str | None:
    if entry.sealed is None:
        # Nothing is known of what was written to it since its last close.
        return None
    return unsent_fault(content, entry.ino, entry.size, entry.sealed)


def _keep_sound(content: ContentFiles, entry: EntryRecord) -> bool:
    """Compare content that the workspace has; return whether it is sound. What is not counts no more."""
    here, base = content.coverage(entry.ino), entry.base
    if here is None or base is None or base.version != here.version or not here.ranges:
        return True
    if base.sha256 is not None and RangeSet(here.ranges).contains(0, entry.size):
        sound = _digest(content, entry) == base.sha256
    else:
        sound = RangeSet(content.sound(entry.ino, here)) == RangeSet(here.ranges)
    if not sound:
        content.save_coverage(entry.ino, None)
    return sound


def _digest(content: ContentFiles, entry: EntryRecord) -> str:
    descriptor = content.open(entry.ino, create=False)
    try:
        return digest_of(descriptor, entry.size)
    except OSError as error:
        raise StorageError(
            f"content of inode {entry.ino}: {error.strerror}", errno=error.errno or 5
        ) from error
    finally:
        os.close(descriptor)


def _path(entries: dict[Ino, EntryRecord], entry: EntryRecord) -> bytes:
    parts = []
    while entry.parent is not None:
        parts.append(entry.name)
        entry = entries[entry.parent]
    return b"/".join(reversed(parts))
