"""Whenever the process dies, the journal has what was acknowledged, and of the rest whole transactions."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountfs.model.entry import EntryRecord
from mountfs.model.ids import Ino
from mountfs.storage.journal import SqliteJournal
from tests.t1_storage.records import dirty, entry
from tests.t1_storage.test_journal import on_disk

Entries = dict[int, EntryRecord]

inos = st.integers(2, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("change"), inos, st.integers(0, 3)),
        st.tuples(st.just("clean"), inos, st.integers(0, 3)),
        st.tuples(st.just("erase"), inos, st.just(0)),
        st.tuples(
            st.sampled_from(["turn", "turn", "committed", "synced", "crash", "stop"]), st.just(0), st.just(0)
        ),
    ),
    max_size=40,
)


class JournalUnderTest:
    """`possible`: the states that the disk may show, of which the first was acknowledged last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = 0
        self._present: Entries = {}
        self._possible: list[Entries] = [{}]
        self._start(folder / "0")

    def _start(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._path = folder / "journal.db"
        self._journal = SqliteJournal(self._path, workspace="4")
        self._journal.start()

    async def perform(self, kind: str, ino: int, number: int) -> None:
        match kind:
            case "change" | "clean":
                make = dirty if kind == "change" else entry
                record = make(ino, b"%d" % number, size=number)
                self._journal.record(record)
                self._present = {**self._present, ino: record}
            case "erase":
                self._journal.erase(Ino(ino))
                self._present = {known: record for known, record in self._present.items() if known != ino}
            case "turn":
                await trio.lowlevel.checkpoint()
                self._possible.append(self._present)
            case "committed":
                await self._journal.committed()
                self._possible = [self._present]
            case "synced":
                await self._journal.synced()
                self._possible = [self._present]
            case "crash":
                await self._crash()
            case "stop":
                await self._journal.aclose()
                self._possible = [self._present]
                self._start(self._path.parent)
        if kind not in ("change", "clean", "erase"):
            self._check(on_disk(self._path))

    def _check(self, found: Entries) -> None:
        assert found in self._possible

    async def _crash(self) -> None:
        """Go on with what the disk has at this moment."""
        self._starts += 1
        left, folder = self._path, self._folder / str(self._starts)
        folder.mkdir()
        shutil.copy(f"{left}-redo", folder / "journal.db-redo")
        with (
            closing(sqlite3.connect(left)) as source,
            closing(sqlite3.connect(folder / "journal.db")) as copy,
        ):
            source.backup(copy)
        await self._journal.aclose()
        self._start(folder)
        records, _ = await trio.to_thread.run_sync(self._journal.everything)
        found: Entries = {record.ino: record for record in records}
        self._check(found)
        self._present, self._possible = found, [found]

    async def aclose(self) -> None:
        await self._journal.aclose()
        assert on_disk(self._path) == self._present


async def run(folder: Path, planned: list[tuple[str, int, int]]) -> None:
    journal = JournalUnderTest(folder)
    for step in planned:
        await journal.perform(*step)
    await journal.aclose()


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(planned=steps)
def test_what_was_acknowledged_is_there_after_any_death(planned: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trio.run(partial(run, Path(folder), planned))
