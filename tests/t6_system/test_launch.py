"""Starting in the background: ready, refused, dead or silent, and what the daemon inherits."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from mountfs.cli import exit_codes
from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon.errors import ReportedError, StartFailed, StartTimedOut
from mountfs.daemon.launch import launching, start_in_background
from mountfs.daemon.processes import ProcessIdentity
from mountfs.daemon.settings import MountSettings, Secret

_PREAMBLE = "import json, os, sys, time; settings = json.load(sys.stdin); "


@pytest.fixture
def settings(tmp_path: Path) -> MountSettings:
    return MountSettings(
        url="https://x", workspace="w", mountpoint=tmp_path / "m", cache_dir=tmp_path, token=Secret("tok-123")
    )


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> str:
    (folder / "stand_in_daemon.py").write_text(_PREAMBLE + code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "stand_in_daemon"


def _pid_of(folder: Path) -> int:
    return int((folder / "pid").read_text())


def test_ready_daemon_outlives_its_launcher_and_holds_no_token_where_others_look(
    tmp_path: Path, settings: MountSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOUNTFS_TOKEN", "tok-123")
    ready = "print(json.dumps({'ready': True}), flush=True)"
    code = f"assert settings['token'] == 'tok-123'; {ready}; time.sleep(60)"
    pid = start_in_background(settings, module=_module(tmp_path, monkeypatch, code))
    process = ProcessIdentity.of(pid)
    assert process is not None
    try:
        assert os.getsid(pid) == pid
        for name in ("environ", "cmdline"):
            assert b"tok-123" not in Path(f"/proc/{pid}/{name}").read_bytes()
    finally:
        process.send(signal.SIGKILL)
        os.waitpid(pid, 0)


def test_refusal_comes_with_its_reason_and_code(
    tmp_path: Path, settings: MountSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"message": "no such token", "hint": "get one", "types": ["CredentialRefused", "RemoteError"]}
    code = f"print({json.dumps(json.dumps(told))})"
    with pytest.raises(ReportedError, match="no such token") as caught:
        start_in_background(settings, module=_module(tmp_path, monkeypatch, code))
    assert exit_codes.for_error(caught.value) is ExitCode.CREDENTIAL_REFUSED


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), 9)", r"signal 9"),
        ("sys.exit('no such library')", r"exit code 1\): no such library"),
        ("raise ImportError('libfuse3.so.3')", r"exit code 1\): ImportError: libfuse3.so.3"),
        ("sys.stderr.write('x' * 1000000 + '\\nlast'); sys.exit(3)", r"exit code 3\): last"),
    ],
)
def test_daemon_that_dies_is_told_with_its_last_words(
    tmp_path: Path, settings: MountSettings, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    with pytest.raises(StartFailed, match=words):
        start_in_background(settings, module=_module(tmp_path, monkeypatch, code))


@pytest.mark.parametrize("stubborn", [False, True])
def test_daemon_that_is_not_ready_in_time_is_ended(
    tmp_path: Path, settings: MountSettings, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    code = f"{ignore}open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr("mountfs.daemon.launch._GRACE_S", 0.5)
    with pytest.raises(StartTimedOut, match="within 2 s"):
        start_in_background(settings, timeout_s=2, module=_module(tmp_path, monkeypatch, code))
    assert ProcessIdentity.of(_pid_of(tmp_path)) is None


def test_settings_larger_than_a_pipe_are_handed_over(
    tmp_path: Path, settings: MountSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = MountSettings(
        url="https://" + "x" * 300_000,
        workspace="w",
        mountpoint=tmp_path,
        cache_dir=tmp_path,
        token=Secret("t"),
    )
    code = "print(json.dumps({'ready': True}) if len(settings['url']) == 300008 else 'no')"
    pid = start_in_background(big, module=_module(tmp_path, monkeypatch, code))
    os.waitpid(pid, 0)


def test_this_interpreter_runs_the_daemon(
    tmp_path: Path, settings: MountSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "{'message': sys.executable, 'hint': '', 'types': []}"
    with pytest.raises(ReportedError) as caught:
        start_in_background(settings, module=_module(tmp_path, monkeypatch, f"print(json.dumps({told}))"))
    assert caught.value.message == sys.executable


def test_daemon_begins_while_its_settings_are_made_and_ends_where_it_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, pid = tmp_path / "begun", tmp_path / "pid"
    os.mkfifo(begun)
    module = _module(tmp_path, monkeypatch, "")
    note = f"import os; open({str(pid)!r}, 'w').write(str(os.getpid())); open({str(begun)!r}, 'w').close()\n"
    code = (tmp_path / f"{module}.py").read_text()
    (tmp_path / f"{module}.py").write_text(note + code)
    with launching(module):
        begun.read_bytes()  # ends when the daemon has begun
    assert ProcessIdentity.of(_pid_of(tmp_path)) is None
