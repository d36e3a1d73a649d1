"""Whatever is found on our own disk: it is read as what it is, or told to be damaged, and nothing else."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mountfs.cli.log import as_line, is_shown
from mountfs.daemon import runtime_dir
from mountfs.daemon.config.file import MountKeys, examine
from mountfs.daemon.config.layers import layered, parsed
from mountfs.daemon.control.messages import ANSWER, REQUEST
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.model.errors import CredentialStoreUnusable, StorageError
from mountfs.model.ids import Ino
from mountfs.storage import effect_log, logins, redo_log, schema
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
_TOO_DEEP = "[" * 100_000
_TEXTS = _VALUES.map(json.dumps) | st.text(max_size=40) | st.just(_TOO_DEEP)
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
    with suppress(ValueError, TypeError):
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


_AUDIT_KEYS = ("at", "effect", "path", "name", "node", "who", "certain", "source")
_ROWS = st.dictionaries(st.sampled_from(_AUDIT_KEYS), _VALUES | st.text(max_size=10), max_size=8)


@_FUZZED
@given(rows=st.lists(_ROWS.map(json.dumps) | _TEXTS, max_size=4))
def test_rows_of_the_audit_log_are_shown_or_left_out(tmp_path: Path, rows: list[str]) -> None:
    (tmp_path / effect_log.LOG_NAME).write_bytes(b"".join(row.encode() + b"\n" for row in rows))
    found = filter(is_shown, effect_log.Reader(tmp_path).new_rows())
    for row in sorted(found, key=lambda row: row["at"]):
        assert as_line({**row, "source": "mount"}, as_json=False)


_LOGIN_KEYS = (
    *("url", "access_token", "refresh_token", "issued_at_s", "expires_at_s", "client_id", "scopes"),
    "account",
)
_LOGINS = st.fixed_dictionaries(dict.fromkeys(_LOGIN_KEYS, _VALUES | st.just(10**400)))


@_FUZZED
@given(content=_LOGINS.map(json.dumps) | _TEXTS)
def test_logins_are_read_or_refused(tmp_path: Path, content: str) -> None:
    login = logins.StoredLogin(tmp_path, "https://a", in_keyring=False)
    login._path.write_bytes(content.encode("utf-8", "surrogatepass"))
    login._path.chmod(0o600)
    with suppress(CredentialStoreUnusable):
        login.load()
    with suppress(CredentialStoreUnusable):
        logins.stored_urls(tmp_path)


_LINES = st.tuples(
    st.sampled_from([*MountKeys.model_fields, "mounts", "mounts.x.cache", "hooks.on", "token", '"a b"']),
    _VALUES.map(json.dumps)
    | st.sampled_from(['"10 GiB"', '"127.0.0.1:1"', "1979-05-27", "inf", "[[", '"\\u0000"']),
).map(" = ".join)
_HEADS = st.sampled_from(
    ["", "[mounts.x]", "[mounts.'']", "[[hooks]]", "[[mounts.x.hooks]]", "[", "[mounts.x.y]"]
)


@_FUZZED
@given(lines=st.lists(_LINES | _HEADS, max_size=8))
def test_configuration_is_taken_or_refused_with_its_place(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "found.toml"
    path.write_text("\n".join(lines))
    faults, file = examine(path)
    assert bool(faults) == (file is None)
    for fault in faults:
        assert fault.startswith(str(path))
        assert fault.splitlines() == [fault]
    for name in file.names() if file is not None else ():
        assert file is not None
        layered({}, {}, file.mount(name))


@_FUZZED
@given(key=st.sampled_from(list(MountKeys.model_fields)), text=_TEXTS)
def test_a_value_of_the_environment_is_taken_or_refused_with_its_name(key: str, text: str) -> None:
    refused = None
    try:
        parsed(key, text, "MOUNTFS_X")
    except ConfigurationRefused as error:
        refused = error.message
    assert refused is None or re.fullmatch("MOUNTFS_X: .+", refused)


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
