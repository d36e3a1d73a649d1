"""Processes by identity, the runtime directory, and the log: what the life cycle rests on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mountfs.daemon import runtime_dir
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.processes import ProcessIdentity, users_of
from mountfs.daemon.runtime_dir import MountRecord


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        yield process
        process.kill()


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountRecord:
    """Return a record of this process, in a runtime directory of its own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    process = ProcessIdentity.of(os.getpid())
    assert process is not None
    mountpoint = Path(os.fsdecode(b"/mnt/na\xffme"))
    return MountRecord(
        process=process, mountpoint=mountpoint, cache_dir=tmp_path, url="u", workspace="w", drain_timeout_s=1
    )


def test_identity_is_of_one_process_and_ends_with_it(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity is not None
    assert identity.is_alive()
    assert not identity.wait_gone(0.01)
    identity.send(signal.SIGKILL)
    assert identity.wait_gone(20)
    assert not identity.is_alive()
    assert identity.wait_gone(0)


def test_other_process_with_the_same_pid_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity is not None
    for other in (replace(identity, start_ticks=1), replace(identity, boot_id="earlier")):
        other.send(signal.SIGKILL)
        assert other.wait_gone(0)
    assert sleeper.poll() is None


def test_users_of_a_directory_are_named(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert (sleeper.pid, "sleep") in users_of(tmp_path)
    assert (sleeper.pid, "sleep") not in users_of(tmp_path.with_name(tmp_path.name[:-1]))
    (tmp_path / "below").mkdir()
    with (tmp_path / "below" / "file").open("w"):
        assert os.getpid() in [pid for pid, _ in users_of(tmp_path / "below")]


def test_record_is_found_as_written_and_forgotten(record: MountRecord) -> None:
    runtime_dir.write_record(record)
    assert runtime_dir.find_record(record.mountpoint) == (record, runtime_dir.socket_path(record.mountpoint))
    runtime_dir.write_record(replace(record, left_in_journal=3))
    found = runtime_dir.find_record(record.mountpoint)
    assert found is not None
    assert found[0].left_in_journal == 3
    runtime_dir.forget_record(record.mountpoint)
    assert runtime_dir.find_record(record.mountpoint) is None


def test_the_record_of_who_serves_there_by_now_stays(
    record: MountRecord, sleeper: subprocess.Popen[bytes]
) -> None:
    serving = ProcessIdentity.of(sleeper.pid)
    assert serving is not None
    runtime_dir.write_record(replace(record, process=serving))
    runtime_dir.note_end(replace(record, left_in_journal=3))
    found = runtime_dir.find_record(record.mountpoint)
    assert found is not None
    assert found[0].process == serving


def test_record_that_is_damaged_is_no_record(record: MountRecord) -> None:
    runtime_dir.write_record(record)
    (path,) = runtime_dir.own_dir().glob("*.json")
    for content in ("", "{", "[]", '{"process": {}}', '{"process": 1}'):
        path.write_text(content)
        assert runtime_dir.find_record(record.mountpoint) is None


@pytest.mark.parametrize("kind", ["link", "file", "open to others"])
def test_runtime_directory_that_is_not_ours_alone_is_refused(record: MountRecord, kind: str) -> None:
    runtime_dir.write_record(record)
    folder = record.cache_dir / "mountfs"
    if kind == "open to others":
        folder.chmod(0o750)
    else:
        elsewhere = folder.rename(record.cache_dir / "elsewhere")
        folder.symlink_to(elsewhere) if kind == "link" else folder.touch(0o600)
    with pytest.raises(ConfigurationRefused, match="runtime directory"):
        runtime_dir.write_record(record)
    assert runtime_dir.find_record(record.mountpoint) is None


_LOGGING = """
import logging, os, sys
from pathlib import Path
from mountfs.daemon import log_setup
from mountfs.daemon.settings import MountSettings, Secret
log_setup._MAX_BYTES = 2000
folder = Path(sys.argv[1])
log_setup.log_to_file(
    MountSettings(url="", workspace="w", mountpoint=folder, cache_dir=folder, token=Secret("tok-123"))
)
for number in range(100):
    logging.getLogger("x").info("line %d with tok-123", number)
try:
    raise ValueError("tok-123")
except ValueError:
    logging.getLogger("x").exception("failed")
os.write(2, b"from native code")
"""


def test_log_is_bounded_private_and_without_the_token(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _LOGGING, tmp_path], check=True, timeout=60)
    logs = list(tmp_path.glob("daemon.log*"))
    assert sum(path.stat().st_size for path in logs) < 4 * 2000
    assert (tmp_path / "daemon.log").stat().st_mode & 0o777 == 0o600
    text = "".join(path.read_text() for path in logs)
    assert "tok-123" not in text
    assert "line 99 with ***" in text
    assert "ValueError: ***" in text
    assert "from native code" in (tmp_path / "daemon.log").read_text()
