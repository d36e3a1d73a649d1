"""How often an open asks the workspace what the file is by now."""

import os

from mountfs.model.filesystem import LockKind, LockOwner
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.lock_world import done
from tests.t3_filesystem.path_operations import OpenPath
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount

PATIENT = MountOptions(lease_s=2000)
"""Its leases outlast a slow machine."""


async def _flock(mount: WorkspaceMount, file: OpenPath, kind: LockKind | None) -> None:
    locks, owner = mount.parts.locks, LockOwner(file.handle)
    await done(lambda: locks.flock(file.ino, file.handle, owner, kind, wait=True))


async def _questions_of_opening(mount: WorkspaceMount, path: str) -> int:
    before = mount.memory.calls["nodes"]
    async with mount.opened(path):
        return mount.memory.calls["nodes"] - before


async def test_files_are_asked_for_once_after_each_lock(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    for name in ("lock", "other lock", "data"):
        workspace.put(name, b"content")
    async with mounting(options=PATIENT) as mount:
        await mount.contents()
        lock, other = [await mount.open(name, os.O_RDWR) for name in ("lock", "other lock")]
        assert await _questions_of_opening(mount, "data") == 0
        await _flock(mount, lock, LockKind.EXCLUSIVE)
        asked = [await _questions_of_opening(mount, name) for name in ("data", "data", "lock", "lock")]
        assert asked == [1, 0, 0, 0]
        await _flock(mount, other, LockKind.EXCLUSIVE)
        asked = [await _questions_of_opening(mount, name) for name in ("data", "data", "lock", "other lock")]
        assert asked == [1, 0, 0, 0]
        for file in (lock, other):
            await _flock(mount, file, None)
            await file.close()
        assert await _questions_of_opening(mount, "data") == 0


async def test_what_the_feed_has_not_told_is_seen_under_the_lock_that_guards_it(
    mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    for name in ("lock", "data"):
        workspace.put(name, b"old")
    async with mounting(options=PATIENT) as mount:
        await mount.contents()
        lock = await mount.open("lock", os.O_RDWR)
        await _flock(mount, lock, LockKind.EXCLUSIVE)
        mount.remote.hang("changes")
        workspace.put("data", b"new")
        assert await mount.read("data") == b"new"
        mount.remote.release()
        await _flock(mount, lock, None)
        await lock.close()
