"""Whatever is found on our own disk: it is read as what it is, or told to be damaged, and nothing else."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mountfs.daemon import runtime_dir
from mountfs.daemon.config.file import examine
from mountfs.daemon.control.messages import ANSWER, REQUEST
from mountfs.model.errors import StorageError
from mountfs.model.ids import Ino
from mountfs.storage import redo_log, schema
from mountfs.storage.content import ContentFiles

EXAMPLES: Final = int(os.environ.get("MOUNTFS_FUZZ_EXAMPLES", "40"))
"""A thorough run: MOUNTFS_FUZZ_EXAMPLES=5000."""

_KEYS: Final = (
    *(
        "kind",
        "path",
        "noticed_ns",
        "theirs",
        "base",
        "version",
        "ranges",
        "process",
        "mountpoint",
        "cache_dir",
    ),
    *("ask", "answer", "timeout_s", "url", "hooks", "mounts", "on", "cache_size"),
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS | st.sampled_from(["edit/edit", "status", "result", "/x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=6,
)
_TEXTS = _VALUES.map(json.dumps) | st.text(max_size=40)
_FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_FUZZED
@given(name=st.sampled_from(["conflict 7", "conflict x", "lease 7", "pin 7", "pin "]), value=_TEXTS)
def test_facts_are_read_or_damaged(name: str, value: str) -> None:
    with suppress(ValueError, KeyError, TypeError):
        schema.conflict_record(name, value)
    with suppress(ValueError, TypeError):
        schema.lease_record(name, value)
    with suppress(ValueError, AttributeError):
        schema.pin_record(name, value)


@_FUZZED
@given(content=st.binary(max_size=60) | _TEXTS.map(str.encode))
def test_files_of_ours_are_read_or_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "found"
    path.write_bytes(content)
    redo_log.read(path, run=1, applied=0)
    runtime_dir._read(path)
    faults, file = examine(path)
    assert bool(faults) == (file is None)


@_FUZZED
@given(line=st.binary(max_size=60) | _TEXTS.map(str.encode))
def test_lines_of_the_control_socket_are_understood_or_refused(line: bytes) -> None:
    for words in (REQUEST, ANSWER):
        with suppress(ValidationError):
            words.validate_json(line)


@_FUZZED
@given(entry=_VALUES)
def test_entries_of_the_index_are_read_or_told(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "content").mkdir(exist_ok=True)
    files = ContentFiles(tmp_path / "content", tmp_path / "index")
    files.path(Ino(7)).touch()
    with suppress(StorageError):
        files.save_fact("x", entry)
        files.fact("x")
        files._index.set("content:7", entry)
        files.coverage(Ino(7))
    files.close()
