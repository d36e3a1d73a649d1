"""Content leaves the cache piece by piece, again for a repeat, and never with bytes of two states."""

import os

import pytest

from mountfs.model.errors import StorageError
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.cached_range import PIECE_BYTES, CachedRange, ContentChanged
from mountfs.sync.still_content import sealed_state
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import WorkspaceMount

CONTENT = bytes(range(250)) * (2 * PIECE_BYTES // 250 + 100)


async def test_range_is_read_in_pieces_and_again(mount: WorkspaceMount) -> None:
    await mount.write("a", CONTENT)
    inode = mount.inode("a")
    start, size = 77, 2 * PIECE_BYTES + 5
    async with mount.parts.content.held(inode):
        part = CachedRange(inode, start, size, inode.generation, mount.parts.content.notice)
        for _ in range(2):
            pieces = [piece async for piece in part.pieces()]
            assert b"".join(pieces) == CONTENT[start : start + size]
            assert [len(piece) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 5]


async def test_write_between_two_pieces_ends_the_reading(mount: WorkspaceMount) -> None:
    await mount.write("a", CONTENT)
    inode = mount.inode("a")
    async with mount.opened("a", 1) as file:
        part = CachedRange(inode, 0, len(CONTENT), inode.generation, mount.parts.content.notice)
        pieces = part.pieces()
        await anext(pieces)
        await file.write(b"new")
        with pytest.raises(ContentChanged):
            await anext(pieces)
        with pytest.raises(ContentChanged):
            await part.sha256()


async def test_missing_bytes_are_an_error_of_the_disk(mount: WorkspaceMount) -> None:
    await mount.write("a", b"content")
    inode = mount.inode("a")
    async with mount.parts.content.held(inode):
        with pytest.raises(StorageError, match="shorter"):
            await CachedRange(inode, 0, 8, inode.generation, mount.parts.content.notice).whole()


async def test_copy_of_a_small_state_has_no_write_that_nobody_noticed_yet(mounting: Mounting) -> None:
    """A file that grew past the daemon has the state still, and what it grew by is the next one."""
    async with mounting() as mount:
        await mount.write("a", b"old")
        async with mount.opened("a", os.O_RDWR) as file:
            assert file.backing is not None
            await file.write(b"new")
            await file.fsync()
            inode = mount.inode("a")
            await file.write(b"er", 3)
            assert not inode.unsealed
            async with (
                mount.parts.content.held(inode),
                sealed_state(inode, mount.parts.content) as state,
            ):
                assert await state.range(0, state.size).whole() == b"new"
                assert (state.is_copy, inode.unsealed) == (True, True)
                assert state.generation < inode.generation


async def test_write_while_a_chunk_is_sent_leaves_the_last_content(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    content = bytes(9 * 1024 * 1024)
    await mount.write("a", content)
    mount.remote.hang("send_chunk")
    mount.parts.sender.expedite([mount.inode("a")])
    await mount.remote.wait_hanging("send_chunk")
    async with mount.opened("a", 1) as file:
        await file.write(b"new")
        mount.remote.release()
    await mount.settle()
    assert workspace.files() == {"a": b"new" + content[3:]}
    assert mount.failures() == {}
    assert len(workspace.uploads()) == 1
