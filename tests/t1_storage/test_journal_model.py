"""Whenever the process dies, the journal has what was acknowledged, and of the rest whole transactions.

The log may also lose its end, or be damaged, and the disk may refuse: a thorough run is
MOUNTFS_FUZZ_EXAMPLES=2000.
"""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mountfs.model.disk import DiskStep
from mountfs.model.entry import EntryRecord, OpenUpload
from mountfs.model.errors import CacheUnusable, StorageError
from mountfs.model.ids import Ino, NodeId
from mountfs.storage import journal as journal_module
from mountfs.storage.journal import SqliteJournal
from tests.loop_thread import LoopThread
from tests.t1_storage.faulty_disk import FaultyDisk
from tests.t1_storage.records import dirty, entry, upload
from tests.t1_storage.test_journal import on_disk

IS_THOROUGH: Final = "MOUNTFS_FUZZ_EXAMPLES" in os.environ
EXAMPLES: Final = int(os.environ.get("MOUNTFS_FUZZ_EXAMPLES", "40"))

inos = st.integers(2, 5)
numbers = st.integers(0, 3)
changes = st.lists(
    st.tuples(
        st.sampled_from(
            ["change", "clean", "erase", "upload", "forget upload", "pin", "unpin", "ask", "answered"]
        ),
        inos,
        numbers,
    ),
    min_size=1,
    max_size=4,
)
Change = tuple[str, int, int]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Known:
    """What a journal has, by key."""

    entries: dict[int, EntryRecord] = field(default_factory=dict)
    uploads: dict[int, OpenUpload] = field(default_factory=dict)
    pins: dict[int, bytes] = field(default_factory=dict)
    requests: dict[NodeId, tuple[NodeId, str]] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log be emptied, and large batches be left to the database, within few steps; and what nobody
    waits for be in the log alone."""
    monkeypatch.setattr(journal_module, "RETRY_S", 0.005)
    monkeypatch.setattr(journal_module, "GATHER_S", 60.0)
    monkeypatch.setattr(journal_module, "CLEAR_BYTES", 1500)
    monkeypatch.setattr(journal_module, "LOGGED_ROWS", 7)


has_changed = precondition(lambda machine: machine._attempts >= 3)
"""An end with little to lose shows little, and most runs would be short."""


class Deaths(RuleBasedStateMachine):
    """`acknowledged` and what came after it are what the disk may show where only the process dies;
    `durable` and what came after it, where the end of the log is lost as well."""

    def __init__(self) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory()
        self._folder = Path(self._temporary.name)
        self._starts = 0
        self._attempts = 0
        """To change something since the last start, whatever the disk said."""
        self._loop = LoopThread()
        self._disk = FaultyDisk()
        self._disk.observer = self._note_step
        self._last_step: DiskStep | None = None
        """Of those that bring the database to the disk."""
        self._history: list[Known] = [Known()]
        self._acknowledged = self._durable = 0
        self._path = self._next_path()
        self._journal = self._loop.call(self._opened)

    @property
    def _present(self) -> Known:
        return self._history[-1]

    def _next_path(self) -> Path:
        self._starts += 1
        folder = self._folder / str(self._starts)
        folder.mkdir()
        return folder / "journal.db"

    def _opened(self) -> SqliteJournal:
        journal = SqliteJournal(self._path, workspace="4", disk=self._disk)
        journal.start()
        return journal

    # What the daemon does.

    @rule(planned=changes, waits_for=st.sampled_from(["nothing", "committed", "committed", "synced"]))
    def change(self, planned: Sequence[Change], waits_for: str) -> None:
        """All in one stretch of the loop, and so in one transaction."""
        self._attempts += 1
        with suppress(StorageError):
            self._loop.call(self._change, planned)
        if waits_for == "committed":
            self.committed()
        elif waits_for == "synced":
            self.synced()

    def _change(self, planned: Sequence[Change]) -> None:
        self._journal.check_writable()
        after = self._present
        for each in planned:
            after = self._one_change(after, *each)
        self._history.append(after)

    def _one_change(self, known: Known, kind: str, ino: int, number: int) -> Known:
        journal = self._journal
        match kind:
            case "change" | "clean":
                record = (dirty if kind == "change" else entry)(ino, b"%d" % number, size=number)
                journal.record(record)
                return replace(known, entries={**known.entries, ino: record})
            case "erase":
                journal.erase(Ino(ino))
                return replace(known, entries=_without(known.entries, ino))
            case "upload":
                journal.record_upload(upload(ino, number))
                return replace(known, uploads={**known.uploads, ino: upload(ino, number)})
            case "forget upload":
                journal.erase_upload(Ino(ino))
                return replace(known, uploads=_without(known.uploads, ino))
            case "pin":
                journal.record_pin(Ino(ino), b"%d" % number)
                return replace(known, pins={**known.pins, ino: b"%d" % number})
            case "unpin":
                journal.erase_pin(Ino(ino))
                return replace(known, pins=_without(known.pins, ino))
            case "ask":
                node, place = NodeId(f"2n{ino}"), (NodeId("2folder"), str(number))
                journal.record_request(node, place)
                return replace(known, requests={**known.requests, node: place})
            case _:
                node = NodeId(f"2n{ino}")
                journal.erase_request(node)
                return replace(known, requests=_without(known.requests, node))

    def committed(self) -> None:
        with suppress(StorageError):
            self._loop.run(self._journal.committed)
            self._acknowledged = len(self._history) - 1

    def synced(self) -> None:
        with suppress(StorageError):
            self._loop.run(self._journal.synced)
            assert self._last_step is DiskStep.SYNC_JOURNAL, "no loss of power was tried, so this has to tell"
            self._acknowledged = self._durable = len(self._history) - 1

    def _note_step(self, step: DiskStep) -> None:
        if step in (DiskStep.COMMIT_JOURNAL, DiskStep.SYNC_JOURNAL):
            self._last_step = step

    # What the disk does.

    @rule(
        step=st.sampled_from(
            [DiskStep.APPEND_LOG, DiskStep.CUT_LOG, DiskStep.COMMIT_JOURNAL, DiskStep.SYNC_JOURNAL]
        ),
        number=st.sampled_from([errno.EIO, errno.ENOSPC]),
        times=st.sampled_from([1, 2, None]),
    )
    def refuse(self, step: DiskStep, number: int, times: int | None) -> None:
        self._disk.fail(step, errno=number, times=times)

    @rule(times=st.sampled_from([1, 2]))
    def shorten(self, times: int) -> None:
        self._disk.shorten(DiskStep.APPEND_LOG, times=times)

    @rule()
    def heal(self) -> None:
        self._disk.heal()

    # How it ends, and begins again.

    @has_changed
    @rule(is_refused=st.booleans())
    def stop(self, is_refused: bool) -> None:
        self._disk.heal()
        if is_refused:
            self._disk.fail(DiskStep.COMMIT_JOURNAL, errno=errno.EIO)
        self._loop.run(self._journal.aclose)
        self._disk.heal()
        if not is_refused:
            self._acknowledged = self._durable = len(self._history) - 1
        self._go_on()

    @has_changed
    @rule(
        refused=st.sampled_from(
            [None, DiskStep.BEGIN_LOG, DiskStep.BEGIN_LOG, DiskStep.RECOVER_LOG, DiskStep.OPEN_JOURNAL]
        )
    )
    def die(self, refused: DiskStep | None) -> None:
        """Go on with what the disk has at this moment, maybe after a start that the disk refuses."""
        self._leave()
        if refused is not None:
            self._disk.fail(refused, errno=errno.EIO)
            with pytest.raises(CacheUnusable):
                self._loop.call(self._opened)
            self._disk.heal()
        self._go_on()

    @has_changed
    @rule(percent=st.integers(0, 100), is_cut=st.booleans())
    def die_with_the_log_damaged(self, percent: int, is_cut: bool) -> None:
        """From a place in it on it is gone, or a bit there has another value."""
        self._leave()
        log = self._path.with_name("journal.db-redo")
        content = bytearray(log.read_bytes())
        place = min(len(content) * percent // 100, len(content) - 1)
        content[place] ^= 4
        log.write_bytes(content[:place] if is_cut else content)
        self._acknowledged = self._durable
        self._go_on()

    def _leave(self) -> None:
        before, self._path = self._path, self._next_path()
        self._loop.call(_copy, before, self._path)
        self._disk.heal()
        self._loop.run(self._journal.aclose)

    def _go_on(self) -> None:
        self._journal = self._loop.call(self._opened)
        found = self._loop.run(self._found)
        assert found in self._history[self._acknowledged :]
        self._history = [found]
        self._attempts = 0
        self._acknowledged = self._durable = 0

    async def _found(self) -> Known:
        records, uploads = self._journal.everything()
        return Known(
            {record.ino: record for record in records},
            {each.ino: each for each in uploads},
            dict(await self._journal.pins()),
            dict(await self._journal.requests()),
        )

    @invariant()
    def disk_has_what_was_acknowledged(self) -> None:
        found = self._loop.call(on_disk, self._path)
        assert found in [known.entries for known in self._history[self._acknowledged :]]

    def teardown(self) -> None:
        self._disk.heal()
        self._loop.run(self._journal.aclose)
        self._loop.close()
        try:
            assert on_disk(self._path) == self._present.entries
        finally:
            self._temporary.cleanup()


def _without(known: dict[K, V], key: K) -> dict[K, V]:
    return {other: value for other, value in known.items() if other != key}


def _copy(source: Path, target: Path) -> None:
    shutil.copy(f"{source}-redo", f"{target}-redo")
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(target)) as copy:
        database.backup(copy)


Deaths.TestCase.settings = settings(
    max_examples=EXAMPLES,
    derandomize=not IS_THOROUGH,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestWhatWasAcknowledgedIsThereAfterAnyDeath = Deaths.TestCase
