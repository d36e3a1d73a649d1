"""What is known of many files takes a bounded part of memory, and sharing changes nothing that is told."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import trio

from mountfs.model.entry import Base, EntryKind, EntryRecord
from mountfs.model.ids import ROOT_INO, ROOT_NODE, Ino, NodeId, VersionId
from mountfs.storage.journal import SqliteJournal
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

FILES = 5000
LIMIT_BYTES = 960
"""For one file with a name of 14 bytes; its strings alone take 400."""


def _record(tree: Tree, ino: int) -> EntryRecord:
    """Return a clean file with identifiers as long as real ones."""
    name = f"file{ino:06}.txt"
    record = tree.new_record(Ino(ino), ROOT_INO, name.encode(), EntryKind.FILE, 0o100644)
    base = Base(NodeId(f"2{ino:029}"), ROOT_NODE, name, VersionId(f"3{ino:029}"), f"{ino:064x}", 1_000_000)
    return replace(record, base=base, size=1_000_000)


async def test_memory_of_a_folder_that_the_journal_knows(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", workspace="4")
    tree = Tree(journal, uid=1000, gid=1000)
    root = tree.new_record(ROOT_INO, None, b"", EntryKind.DIRECTORY, 0o40755)
    root = replace(root, base=Base(ROOT_NODE, ROOT_NODE, ""))
    records = {ino: _record(tree, ino) for ino in range(2, FILES + 2)}
    journal.repair([root, *records.values()])
    journal.start()
    try:
        await tree.load([])
        top = tree.inodes[ROOT_INO]
        gc.collect()
        tracemalloc.start()
        try:
            await tree.ensure_loaded(top)
            await trio.lowlevel.checkpoint()  # trio keeps what it sent to a task until it runs the next one
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert {child.ino: child.record() for child in top.children.values()} == records
    finally:
        await journal.aclose()
    assert taken / FILES < LIMIT_BYTES


def test_sharing_keeps_what_differs() -> None:
    directory = _bare(EntryKind.DIRECTORY)
    record = replace(directory, kind=EntryKind.FILE, atime_ns=1, mtime_ns=2**40, ctime_ns=2**40, size=7)
    record = replace(record, base=Base(NodeId("2a"), NodeId("2b"), "other", size=8))
    inode = Inode(record, None)
    assert inode.record() == replace(record, parent=None)
    first, second = Inode(directory, None), Inode(directory, None)
    first.children[b"name"] = inode
    assert not second.children
    assert not inode.children


def _bare(kind: EntryKind) -> EntryRecord:
    return EntryRecord(
        ino=Ino(2),
        parent=None,
        name=b"n",
        kind=kind,
        mode=0o755,
        uid=5000,
        gid=6000,
        rdev=0,
        size=0,
        atime_ns=0,
        mtime_ns=0,
        ctime_ns=0,
        target=b"",
        base=None,
        generation=0,
        content_dirty=False,
        pending=None,
        failure=None,
        listed=False,
    )
