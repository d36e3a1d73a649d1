"""`mountfs doctor --deep` finds, repairs and tells of what the disk spoilt, with the real program."""

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
