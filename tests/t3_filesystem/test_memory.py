"""What is known of many files takes a bounded part of memory, and sharing changes nothing that is told."""

import gc
import tracemalloc
from pathlib import Path

import trio

from mountfs.model.entry import Base, EntryKind, EntryRecord
from mountfs.model.ids import ROOT_INO, ROOT_NODE, Ino, NodeId, VersionId
from mountfs.storage.journal import SqliteJournal
from mountfs.tree.inode import Inode
from mountfs.tree.tree import MOST_RESIDENT, Tree
from mountfs.tree.unloading import make_room

FILES = 5000
LIMIT_BYTES = 1060
"""For one file with a name of 14 bytes; its strings alone take 400."""


KNOWN, FOLDER_FILES = 10_000, 250
KNOWN_LIMIT_BYTES = 40 * 2**20 // 100_000
"""For each of the files that were visited, a tenth of 100,000 with a tenth of a mount's limit."""


def _node(ino: int) -> NodeId:
    return NodeId(f"2{ino:029}")


def _folder(tree: Tree, ino: Ino) -> EntryRecord:
    record = tree.new_record(ino, ROOT_INO, b"%d" % ino, EntryKind.DIRECTORY, 0o40755)
    return record._replace(base=Base(_node(ino), ROOT_NODE, f"{ino}"))


def _record(tree: Tree, ino: int, parent: Ino = ROOT_INO) -> EntryRecord:
    """Return a clean file with identifiers as long as real ones; `parent` is the root or a folder of ours."""
    name = f"file{ino:06}.txt"
    record = tree.new_record(Ino(ino), parent, name.encode(), EntryKind.FILE, 0o100644)
    parent_node = ROOT_NODE if parent == ROOT_INO else _node(parent)
    base = Base(_node(ino), parent_node, name, VersionId(f"3{ino:029}"), f"{ino:064x}", 1_000_000)
    return record._replace(base=base, size=1_000_000)


async def test_memory_of_a_folder_that_the_journal_knows(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", workspace="4")
    tree = Tree(journal, uid=1000, gid=1000)
    root = tree.new_record(ROOT_INO, None, b"", EntryKind.DIRECTORY, 0o40755)
    root = root._replace(base=Base(ROOT_NODE, ROOT_NODE, ""))
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


async def test_memory_of_many_folders_that_were_visited(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", workspace="4")
    tree = Tree(journal, uid=1000, gid=1000, most_resident=MOST_RESIDENT // 10)
    root = tree.new_record(ROOT_INO, None, b"", EntryKind.DIRECTORY, 0o40755)
    root = root._replace(base=Base(ROOT_NODE, ROOT_NODE, ""))
    folders = [Ino(number) for number in range(2, 2 + KNOWN // FOLDER_FILES)]
    records = [_folder(tree, ino) for ino in folders]
    for folder in folders:
        begin = folder * FOLDER_FILES
        records += [_record(tree, ino, folder) for ino in range(begin, begin + FOLDER_FILES)]
    journal.repair([root, *records])
    del records
    journal.start()
    try:
        await tree.load([])
        await tree.ensure_loaded(tree.inodes[ROOT_INO])
        gc.collect()
        tracemalloc.start()
        try:
            for folder in folders:
                await tree.ensure_loaded(tree.inodes[folder])
                if len(tree.inodes) > tree.crowded_at:
                    make_room(tree)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    finally:
        await journal.aclose()
    assert peak / KNOWN < KNOWN_LIMIT_BYTES


def test_sharing_keeps_what_differs() -> None:
    directory = _bare(EntryKind.DIRECTORY)
    record = directory._replace(kind=EntryKind.FILE, atime_ns=1, mtime_ns=2**40, ctime_ns=2**40, size=7)
    record = record._replace(base=Base(NodeId("2a"), NodeId("2b"), "other", size=8))
    inode = Inode(record, None)
    assert inode.record() == record._replace(parent=None)
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
