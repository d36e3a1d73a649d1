"""`mountfs doctor --deep` finds, repairs and tells of what the disk spoilt, with the real program."""

import os
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server

pytestmark = pytest.mark.kernel

CONTENT = b"content" * 10_000


def _spoil(cache: Path) -> None:
    (cached,) = (path for path in (cache / "content").rglob("*") if path.is_file() and path.stat().st_size)
    with cached.open("r+b") as file:
        file.seek(1000)
        file.write(b"spoilt")


@pytest.mark.long
def test_deep_doctor_tells_of_damage_and_repairs_it(machine: Machine, server: Server) -> None:
    place, cache = machine.mountpoint(), machine.folder / "cache"
    machine.mount(server, place, "--cache", cache).succeeded()
    (place / "file").write_bytes(CONTENT)
    machine.run("sync", place).succeeded()
    assert "nobody has open" in machine.run("doctor", "--deep", place).succeeded().stdout
    machine.run("umount", place).succeeded()
    _spoil(cache)
    machine.mount(server, place, "--cache", cache).succeeded()
    machine.run("doctor", place).succeeded()
    told = machine.run("doctor", "--deep", place)
    assert told.code == ExitCode.FINDINGS
    assert "file: its content was damaged" in told.stdout
    assert (place / "file").read_bytes() == CONTENT
    machine.run("doctor", "--deep", place).succeeded()
    machine.run("umount", place).succeeded()


@pytest.mark.long
def test_cache_that_is_not_mounted_is_compared_as_well(machine: Machine, server: Server) -> None:
    place, cache = machine.mountpoint(), machine.folder / "cache"
    machine.mount(server, place, "--cache", cache).succeeded()
    (place / "file").write_bytes(CONTENT)
    machine.run("sync", place).succeeded()
    in_use = machine.run("doctor", "--deep", "--cache", cache)
    assert in_use.code == ExitCode.FINDINGS
    assert "is in use by another mount" in in_use.stdout
    machine.run("umount", place).succeeded()
    assert "are sound" in machine.run("doctor", "--deep", "--cache", cache).succeeded().stdout
    _spoil(cache)
    machine.run("doctor", "--cache", cache).succeeded()
    told = machine.run("doctor", "--deep", "--cache", cache)
    assert told.code == ExitCode.FINDINGS
    assert "file: its content was damaged; it will be fetched again" in told.stdout
    machine.run("doctor", "--deep", "--cache", cache).succeeded()
    machine.mount(server, place, "--cache", cache).succeeded()
    assert (place / "file").read_bytes() == CONTENT
    machine.run("umount", place).succeeded()


def test_damage_of_what_was_not_sent_is_told_and_left_to_the_next_mount(
    machine: Machine, server: Server
) -> None:
    place, cache = machine.mountpoint(), machine.folder / "cache"
    machine.mount(server, place, "--cache", cache).succeeded()
    (place / "file").write_bytes(b"old")
    machine.run("sync", place).succeeded()
    server.stop()
    (place / "file").write_bytes(CONTENT)
    machine.run("umount", "--no-wait", place).refused(ExitCode.DATA_LEFT, "left in the journal")
    (cached,) = (path for path in (cache / "content").rglob("*") if path.is_file() and path.stat().st_size)
    os.truncate(cached, 100)
    told = machine.run("doctor", "--deep", "--cache", cache)
    assert told.code == ExitCode.FINDINGS
    assert f"not sent yet, is damaged: it has 100 bytes, {len(CONTENT)} were closed" in told.stdout
    assert cached.stat().st_size == 100
    assert not (cache / "damaged").exists()


def test_folder_that_is_no_cache_is_left_alone(machine: Machine) -> None:
    folder = machine.folder / "no-cache"
    folder.mkdir()
    told = machine.run("doctor", "--cache", folder)
    assert told.code == ExitCode.FINDINGS
    assert "is no cache of mountfs" in told.stdout
    assert not list(folder.iterdir())
