"""The control directory through the kernel, by the programs that people use."""

import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t5_kernel.mounted import PATIENCE_S, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel


def _line(stream: subprocess.Popen[bytes]) -> dict[str, object]:
    assert stream.stdout is not None
    found: dict[str, object] = json.loads(stream.stdout.readline())
    return found


def _next(stream: subprocess.Popen[bytes], event: str) -> dict[str, object]:
    while (line := _line(stream))["event"] != event:
        pass
    return line


def test_control_files_are_read_by_ordinary_programs(world: World) -> None:
    mount = world.mount("first")
    top = mount / ".mountfs"
    assert os.listdir(mount.place) == []
    names = ["audit.jsonl", "events", "locks", "status.json", "uploads", "versions"]
    assert sorted(os.listdir(top)) == names
    status = json.loads(world.run("cat", top / "status.json"))
    assert (status["answers"], status["mountpoint"]) == (True, str(mount.place))
    assert status.keys() == mount.status().keys()
    (mount / "a").write_bytes(b"12345")
    mount.sync()
    assert world.run("cat", top / "uploads") == ""
    wait_until(lambda: (top / "audit.jsonl").read_text() != "")
    (effect,) = world.run("cat", top / "audit.jsonl").splitlines()
    assert (json.loads(effect)["effect"], json.loads(effect)["path"]) == ("create file", "a")
    with (mount / "a").open("rb") as file, (mount / "a").open("rb"):
        subprocess.run(["flock", "--exclusive", str(file.fileno())], pass_fds=[file.fileno()], check=True)
        held = world.run("cat", top / "locks")
    assert held.split("\t")[:3] == ["exclusive", "1", "0"]
    assert held.endswith("\ta\n")
    world.run("cp", top / "status.json", world.machine.folder / "copy")
    assert json.loads((world.machine.folder / "copy").read_text())["pid"] == status["pid"]
    for attempt in (lambda: (top / "x").mkdir(), lambda: (top / "uploads").write_text(""), top.rmdir):
        with pytest.raises(OSError, match="Read-only") as refused:
            attempt()
        assert refused.value.errno == errno.EROFS
    mount.audit()
    mount.umount()


@pytest.mark.long
def test_events_tell_of_both_hosts_end_by_signals_and_at_the_end(world: World) -> None:
    first, second = world.mount("first"), world.mount("second")
    (first / "folder").mkdir()
    first.sync()
    wait_until(lambda: os.path.exists(second / "folder"))
    os.listdir(second / "folder")
    stream = world.start("cat", second / ".mountfs" / "events", stdout=subprocess.PIPE)
    assert _line(stream)["event"] == "listening"
    (first / "folder" / "theirs").write_bytes(b"123")
    assert _next(stream, "created")["path"] == "folder/theirs"
    (second / "mine").write_bytes(b"12345")
    confirmed = _next(stream, "confirmed")
    assert (confirmed["path"], confirmed["size_bytes"]) == ("mine", 5)
    began = time.monotonic()
    stream.send_signal(signal.SIGTERM)
    assert stream.wait(PATIENCE_S) == -signal.SIGTERM
    assert time.monotonic() - began < PATIENCE_S / 2
    stream = world.start("cat", second / ".mountfs" / "events", stdout=subprocess.PIPE)
    assert _line(stream)["event"] == "listening"
    refused = world.machine.run("umount", second.place)
    refused.refused(ExitCode.BUSY, "in use", "cat")
    second.signal(signal.SIGTERM)
    assert stream.wait(PATIENCE_S) == 0


def test_other_name_or_none(world: World) -> None:
    named = world.mount("named", control_dir=".control", list_control_dir=True)
    assert os.listdir(named.place) == [".control"]
    (named / ".mountfs").mkdir()
    assert (named / ".control" / "status.json").read_text().startswith("{")
    none = world.mount("none", control_dir="")
    named.sync()
    wait_until(lambda: os.listdir(none.place) == [".mountfs"])
    assert os.listdir(none / ".mountfs") == []


def test_hidden_entry_of_the_workspace_is_told(world: World) -> None:
    plain = world.mount("plain", control_dir="")
    Path(plain / ".mountfs").mkdir()
    plain.sync()
    first = world.mount("first")
    os.listdir(first.place)
    (feature,) = [each for each in first.status()["features"] if each["name"] == "control directory"]
    assert feature["on"]
    assert "control_dir" in feature["reason"]
