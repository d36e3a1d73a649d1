"""Content leaves the cache piece by piece, again for a repeat, and never with bytes of two states."""

import pytest

from mountfs.model.errors import StorageError
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.cached_range import PIECE_BYTES, CachedRange, ContentChanged
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
