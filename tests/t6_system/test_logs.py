"""How the log looks where, and that the token is in none of it."""

import json
import logging
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from mountfs.daemon import log_formats, log_setup
from mountfs.daemon.log_formats import JournalHandler, JsonFormatter, RecordFields, is_journal
from mountfs.daemon.settings import LogFormat, Secret

TOKEN = 'to"k\\en'


def _record(message: str, *, failed: bool = False) -> logging.LogRecord:
    try:
        raise ValueError(TOKEN)
    except ValueError:
        caught = sys.exc_info() if failed else None
    return logging.LogRecord("mountfs.x", logging.WARNING, "/src/x.py", 7, message, ("a",), caught)


def test_json_line_is_one_object_without_the_token() -> None:
    formatter = JsonFormatter(Secret(TOKEN), {"mountpoint": "/mnt/w"})
    line = formatter.format(_record(f"%s\nwith {TOKEN}", failed=True))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["mountpoint"]) == ("warning", "mountfs.x", "/mnt/w")
    assert told["message"] == "a\nwith ***"
    assert told["exception"].endswith("ValueError: ***")
    assert told["time"].endswith("Z")


def _fields(datagram: bytes) -> dict[str, str]:
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        (length,) = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8 : 8 + length].decode()
        datagram = rest[9 + length :]
    return found


def test_journal_gets_fields_and_a_missing_journal_is_no_error(tmp_path: Path) -> None:
    fields = RecordFields(Secret(TOKEN), {"mountpoint": "/mnt/w", "workspace": "main"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        handler = JournalHandler(fields, tmp_path / "socket")
        handler.emit(_record("%s\nsecond " + "x" * 100_000, failed=True))
        told = _fields(journal.recv(1 << 20))
    assert told["MESSAGE"].startswith("a\nsecond xx")
    assert (told["PRIORITY"], told["SYSLOG_IDENTIFIER"]) == ("4", "mountfs")
    assert (told["MOUNTFS_MOUNTPOINT"], told["MOUNTFS_WORKSPACE"]) == ("/mnt/w", "main")
    assert (told["CODE_FILE"], told["CODE_LINE"]) == ("/src/x.py", "7")
    assert TOKEN not in told["EXCEPTION"]
    (tmp_path / "socket").unlink()
    handler.emit(_record("%s"))
    handler.close()


def test_journal_is_known_by_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    found = os.fstat(write)
    assert not is_journal(write)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert is_journal(write)
    assert not is_journal(0)
    monkeypatch.setenv("JOURNAL_STREAM", "nonsense")
    assert not is_journal(write)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("wanted", "journal", "terminal", "chosen"),
    [
        ("auto", True, False, "journal"),
        ("auto", False, True, "text"),
        ("auto", False, False, "json"),
        ("text", True, False, "text"),
        ("json", False, True, "json"),
    ],
)
def test_format_goes_by_where_the_log_leads(
    monkeypatch: pytest.MonkeyPatch, wanted: LogFormat, journal: bool, terminal: bool, chosen: str
) -> None:
    monkeypatch.setattr(log_setup, "is_journal", lambda descriptor: journal)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert log_setup._chosen(wanted) == chosen


def test_every_level_of_python_has_a_priority() -> None:
    assert set(log_formats._PRIORITIES) == {10, 20, 30, 40, 50}
