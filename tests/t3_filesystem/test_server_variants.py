"""One day of work on two mounts, unchanged on whatever the service turns out to be.

Each variant is a real server on a real socket; the mounts have no kernel, and a clock twenty times as fast as
the server's.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from mountfs.model.errors import WouldBlock
from mountfs.model.filesystem import LockKind, LockOwner
from tests.server_variants import VARIANTS
from tests.t3_filesystem.lock_world import done
from tests.t3_filesystem.path_operations import OpenPath
from tests.t3_filesystem.served_mount import Served, served, wait_seen
from tests.t3_filesystem.workspace_mount import RemoteMount

LARGE: Final = bytes(range(256)) * 4 * 1024 * 5
"""Above the 4 MiB of a single call."""


@pytest.fixture(params=VARIANTS)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, VARIANTS[request.param]) as made:
        yield made


async def agree(here: RemoteMount, there: RemoteMount) -> None:
    """Bring about that all that was done here is sent, and known there."""
    await here.settle()
    assert not here.failures()
    await there.catch_up()


async def flock(
    mount: RemoteMount, file: OpenPath, owner: LockOwner, kind: LockKind | None, *, wait: bool
) -> None:
    await done(lambda: mount.parts.locks.flock(file.ino, file.handle, owner, kind, wait=wait))


@pytest.mark.long
async def test_a_day_of_work(service: Served) -> None:
    here, there = await service.mount("here"), await service.mount("there")
    await here.mkdir("d")
    for name in ("a", "b", "c"):
        await here.write(f"d/{name}", name.encode())
    await here.write("empty", b"")
    await here.write("large", LARGE)
    await agree(here, there)
    expected: dict[str, bytes | None] = {"d": None, "d/a": b"a", "d/b": b"b", "d/c": b"c"}
    expected |= {"empty": b"", "large": LARGE}
    await wait_seen(there, expected)

    # Saved by rename, renamed, moved and renamed at once, appended to, deleted, truncated.
    await here.write("d/.a.new", b"a, saved")
    await here.rename("d/.a.new", "d/a")
    await here.rename("d/b", "b, moved")
    await here.append("d/c", b", more")
    await here.unlink("empty")
    await here.truncate("large", 5)
    await agree(here, there)
    expected = {"d": None, "d/a": b"a, saved", "d/c": b"c, more", "b, moved": b"b", "large": LARGE[:5]}
    await wait_seen(there, expected)

    # A lock keeps the other host out until what was written under it is there.
    ours, theirs = LockOwner(1), LockOwner(2)
    async with here.opened("d/c", os.O_RDWR) as file, there.opened("d/c") as other:
        await flock(here, file, ours, LockKind.EXCLUSIVE, wait=False)
        with pytest.raises(WouldBlock):
            await flock(there, other, theirs, LockKind.EXCLUSIVE, wait=False)
        await file.write(b"C, more")
        await flock(here, file, ours, None, wait=True)
        await flock(there, other, theirs, LockKind.EXCLUSIVE, wait=True)
        assert await other.read() == b"C, more"
        await flock(there, other, theirs, None, wait=True)
    expected["d/c"] = b"C, more"

    # The other way, onto what is known here by now; a folder goes as a whole.
    await there.write("d/a", b"theirs")
    await there.mkdir("e")
    await there.write("e/f", b"f")
    await there.settle()
    assert not there.failures()
    await here.catch_up()
    expected |= {"d/a": b"theirs", "e": None, "e/f": b"f"}
    await wait_seen(here, expected)
    await here.remove_tree("e")
    await here.restart()
    await here.wait_live()
    await agree(here, there)
    del expected["e"], expected["e/f"]
    await wait_seen(there, expected)
    await wait_seen(here, expected)

    # A host that knows nothing finds the same.
    newcomer = await service.mount("newcomer")
    await wait_seen(newcomer, expected)
    assert not here.tree.conflicts
    assert not there.tree.conflicts
