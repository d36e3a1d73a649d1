"""A process that writes a journal until it is killed: `journal_child MODE PATH`; a line for each promise."""

import resource
import sqlite3
import sys
from pathlib import Path

import trio

from mountfs.model.errors import StorageError
from mountfs.model.ids import Ino
from mountfs.storage.journal import SqliteJournal
from tests.t1_storage.records import dirty, entry, upload

ROWS = 20
FILLING = 2000


def say(*words: object) -> None:
    print(*words, flush=True)


async def keep_committing(journal: SqliteJournal) -> None:
    """Give all rows the same generation in one stretch, and say it once it is committed."""
    generation = 0
    while True:
        generation += 1
        for ino in range(2, 2 + ROWS):
            journal.record(dirty(ino, b"%d" % ino, generation=generation))
        await journal.committed()
        say(generation)


async def keep_recording(journal: SqliteJournal) -> None:
    """The same without ever waiting for the journal."""
    generation = 0
    while True:
        generation += 1
        for ino in range(2, 2 + ROWS):
            journal.record(dirty(ino, b"%d" % ino, generation=generation))
        if generation == 1:
            await journal.committed()
        await trio.lowlevel.checkpoint()
        if generation % 50 == 0:
            say(generation)


async def number_inodes(journal: SqliteJournal) -> None:
    while True:
        inos = [journal.new_ino() for _ in range(3001)]
        await journal.committed()
        say(max(inos))


async def number_one_inode(journal: SqliteJournal) -> None:
    blocker = sqlite3.connect(journal._path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    say(journal.new_ino())
    sys.stdin.read()


async def commit_beside_a_blocked_database(journal: SqliteJournal) -> None:
    await journal.synced()
    blocker = sqlite3.connect(journal._path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    journal.record(dirty(2, b"old"), entry(3))
    journal.record_upload(upload(2))
    await journal.committed()
    journal.record(dirty(2, b"\xff"), entry(4))
    await trio.lowlevel.checkpoint()
    journal.erase(Ino(3))
    await journal.committed()
    say("committed")
    sys.stdin.read()


async def fill_the_disk(journal: SqliteJournal) -> None:
    """Go over a limit of the file size, which the kernel enforces, then have it lifted."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    for ino in range(2, 2 + FILLING):
        journal.record(dirty(ino, b"%d" % ino))
    try:
        await journal.committed()
    except StorageError as error:
        say("refused", error.errno)
    journal.record(dirty(1_000_000, b"later"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with trio.fail_after(30):
        await until_accepted(journal)
    say("accepted")
    await trio.sleep_forever()


async def until_accepted(journal: SqliteJournal) -> None:
    """Wait through any number of refusals."""
    while True:
        try:
            await journal.committed()
        except StorageError:
            await journal._waiting.park()
        else:
            return


MODES = {
    "keep_committing": keep_committing,
    "keep_recording": keep_recording,
    "number_inodes": number_inodes,
    "number_one_inode": number_one_inode,
    "commit_beside_a_blocked_database": commit_beside_a_blocked_database,
    "fill_the_disk": fill_the_disk,
}


async def run(mode: str, path: str) -> None:
    journal = SqliteJournal(Path(path), workspace="4")
    journal.start()
    await MODES[mode](journal)


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2])
