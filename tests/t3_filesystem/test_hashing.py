"""Hashes of files so large that they would take minutes: whoever is cancelled does not wait for them."""

import os
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.sync.cached_range import CachedRange
from mountfs.sync.running_hash import RunningHash, digest_beside
from mountfs.tree.inode import Inode
from tests.t3_filesystem.workspace_mount import WorkspaceMount

TEBIBYTE = 1 << 40
"""Of zeros that take no room."""


def beside(inode: Inode) -> Callable[[], Awaitable[str]]:
    assert inode.descriptor is not None
    return partial(digest_beside, inode.descriptor, TEBIBYTE)


def for_an_upload(inode: Inode) -> Callable[[], Awaitable[str]]:
    return CachedRange(inode, 0, TEBIBYTE, inode.generation, lambda _: None).sha256


def while_it_arrives(inode: Inode) -> Callable[[], Awaitable[str]]:
    return partial(RunningHash(inode).finish, TEBIBYTE)


@pytest.mark.parametrize("hashing", [beside, for_an_upload, while_it_arrives])
async def test_a_hash_ends_when_nobody_waits_for_it_any_more(
    mount: WorkspaceMount, hashing: Callable[[Inode], Callable[[], Awaitable[str]]]
) -> None:
    await mount.write("file", b"")
    async with mount.opened("file", os.O_RDWR):
        await mount.truncate("file", TEBIBYTE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hashing(mount.inode("file")))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        # What is left to be hashed at the end of the test is little.
        await mount.truncate("file", 0)
