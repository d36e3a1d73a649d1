"""A journal and content files in a directory of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    """A new journal that is not started; whoever starts it closes it."""
    made = SqliteJournal(tmp_path / "journal.db", workspace="4")
    yield made
    made._reader.close()


@pytest.fixture
def content(tmp_path: Path) -> Iterator[ContentFiles]:
    (tmp_path / "content").mkdir()
    made = ContentFiles(tmp_path / "content", tmp_path / "index")
    yield made
    made.close()
