"""`mountfs conflicts`, `retry` and `discard` on real mounts."""

import json
import os
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server, wait_until

pytestmark = pytest.mark.kernel

REFUSED = "bad.name"


@pytest.mark.long
def test_conflict_is_listed_extracted_and_resolved(machine: Machine, server: Server) -> None:
    here, there = machine.mountpoint("here"), machine.mountpoint("there")
    slow = machine.configure("upload_delay_s = 60")
    machine.mount(server, here, "--config", slow, "--cache", machine.folder / "a").succeeded()
    machine.mount(server, there, "--cache", machine.folder / "b").succeeded()
    (there / "a.txt").write_text("base\n")
    machine.run("sync", there).succeeded()
    wait_until(lambda: (here / "a.txt").exists())
    assert (here / "a.txt").read_text() == "base\n"
    (here / "a.txt").write_text("ours\n")
    (there / "a.txt").write_text("theirs\n")
    machine.run("sync", there).succeeded()
    machine.run("sync", here).succeeded()
    (conflict,) = json.loads(machine.run("conflicts", "--json", here).succeeded().stdout)["conflicts"]
    assert (conflict["kind"], conflict["arose_at"]) == ("edit/edit", "a.txt")
    assert machine.status(here)["conflicts"] == 1
    assert "a.txt: edit/edit" in machine.run("conflicts", here).succeeded().stdout
    machine.run("conflicts", "extract", here / "a.txt", machine.folder / "merge").succeeded()
    sides = {path.name: path.read_text() for path in (machine.folder / "merge").iterdir()}
    assert sides == {"a.txt.base": "base\n", "a.txt.ours": "ours\n", "a.txt.theirs": "theirs\n"}
    machine.run("conflicts", "resolve", "--keep", "ours", here / conflict["ours"]).succeeded()
    assert os.listdir(here) == ["a.txt"]
    assert (here / "a.txt").read_text() == "ours\n"
    assert machine.run("conflicts", here).succeeded().stdout == "no conflicts\n"
    machine.run("sync", here).succeeded()
    wait_until(lambda: (there / "a.txt").read_text() == "ours\n")
    for place in (here, there):
        machine.run("umount", place).succeeded()


@pytest.mark.long
def test_refused_upload_is_retried_and_discarded(machine: Machine) -> None:
    server, place = machine.serve("--refuse-extension", "name"), machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "sound").write_text("x")
    machine.run("conflicts", "resolve", "--keep", "both", place / "sound").refused(
        ExitCode.USAGE, "no conflict"
    )
    machine.run("discard", "--yes", place / "sound").refused(ExitCode.USAGE, "has not failed")
    machine.run("discard", "--yes", place / "absent").refused(ExitCode.USAGE, "not in the mount")
    (place / "sound").unlink()
    (place / REFUSED).write_text("precious")
    wait_until(lambda: bool(machine.status(place)["uploads"]["failed"]))
    machine.run("retry", place).refused(ExitCode.DATA_LEFT, "extension")
    machine.run("discard", place / REFUSED).refused(ExitCode.USAGE, "--yes")
    with (place / REFUSED).open():
        machine.run("discard", "--yes", place / REFUSED).refused(ExitCode.BUSY, "open")
    done = machine.run("discard", "--yes", "--to", machine.folder / "copies", place / REFUSED).succeeded()
    assert "a copy is saved" in done.stdout
    (copy,) = (machine.folder / "copies").iterdir()
    assert Path(copy).read_text() == "precious"
    assert os.listdir(place) == []
    machine.run("retry", place).succeeded()
    machine.run("umount", place).succeeded()
