"""A real mount whose cache disk is full: programs get ENOSPC, and nothing that was closed is lost."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.small_disk import small_disk_at
from tests.t5_kernel.mounted import PATIENCE_S, Mount, World, local_files, sha256
from tests.t6_system.machine import wait_until

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.long,
    pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: a small disk is mounted by root only"),
]

MEBIBYTE = 1024 * 1024
DISK_MIB = 48
GIVEN_BACK_MIB = 26
"""What the journal keeps for itself is taken again when there is three times as much; before that nothing is
written."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        with made.bounded():
            yield made
    finally:
        made.print_logs()
        made.clean_up()


@pytest.fixture(params=[True, False], ids=["passthrough", "ordinary"])
def mount(world: World, request: pytest.FixtureRequest) -> Iterator[Mount]:
    """Return a mount whose cache lies on a small disk of its own."""
    with small_disk_at(world.machine.folder / "small-cache", mebibytes=DISK_MIB):
        yield world.mount("small", passthrough=request.param)


def _fill(folder: Path) -> dict[str, str]:
    """Write files until the disk is full; return name and hash of those that were closed."""
    closed: dict[str, str] = {}
    for number in range(2 * DISK_MIB):
        content = os.urandom(MEBIBYTE)
        if not _takes(folder / f"{number}", content):
            return closed
        closed[f"{number}"] = sha256(content)
    raise AssertionError("the disk was never full")


def _takes(file: Path, content: bytes) -> bool:
    """Write a file; return whether there was room for it."""
    try:
        file.write_bytes(content)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def test_full_disk_is_enospc_and_what_was_closed_stays(mount: Mount, world: World) -> None:
    top = mount / "work"
    top.mkdir()
    mount.sync()
    world.server.kill()
    closed = _fill(top)
    assert len(closed) > DISK_MIB // 2
    with suppress(FileNotFoundError):
        (top / f"{len(closed)}").unlink()  # the one that had no room
    assert local_files(top) == closed

    (top / "folder").mkdir()
    (top / "0").rename(top / "folder" / "renamed")
    closed["folder/renamed"] = closed.pop("0")
    for number in range(1, 1 + GIVEN_BACK_MIB):
        (top / f"{number}").unlink()
        del closed[f"{number}"]
    content = os.urandom(MEBIBYTE)
    wait_until(lambda: _takes(top / "again", content), limit_s=PATIENCE_S)
    closed["again"] = sha256(content)
    assert local_files(top) == closed

    world.restart_server()
    mount.sync()
    assert local_files(top) == closed
    other = world.mount("other")
    wait_until(lambda: local_files(other / "work") == closed, limit_s=PATIENCE_S)
    mount.audit()
    assert "Traceback" not in mount.log()
