"""Content that the disk spoilt is found at its first use, fetched again, and never served or sent."""

import pytest

from mountfs.model.errors import RemoteUnavailable
from mountfs.model.ids import Ino
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.workspace_mount import WorkspaceMount

CONTENT = bytes(range(256)) * 1000


def _flip_a_bit(mount: WorkspaceMount, ino: Ino) -> None:
    with mount._content_files.path(ino).open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)[0]
        file.seek(100_000)
        file.write(bytes([byte ^ 4]))


def _cut_off(mount: WorkspaceMount, ino: Ino) -> None:
    with mount._content_files.path(ino).open("r+b") as file:
        file.truncate(100_000)


@pytest.mark.parametrize("spoil", [_flip_a_bit, _cut_off])
async def test_damaged_clean_content_is_fetched_again(
    mount: WorkspaceMount, workspace: MemoryWorkspace, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(spoil)
    await mount.write("a", CONTENT)
    await mount.settle()
    ino = mount.inode("a").ino
    await mount.stop()
    spoil(mount, ino)
    await mount.start()
    mount.remote.go_offline()
    with pytest.raises(RemoteUnavailable):
        await mount.read("a")
    mount.remote.heal()
    mount.parts.connection.note_success()
    assert await mount.read("a") == CONTENT
    assert "damaged in the cache" in caplog.text
    await mount.append("a", b"more")
    await mount.settle()
    assert workspace.files() == {"a": CONTENT + b"more"}


async def test_sound_content_is_hashed_once_in_a_run(mount: WorkspaceMount) -> None:
    await mount.write("a", CONTENT)
    await mount.settle()
    await mount.restart()
    mount.remote.go_offline()
    assert await mount.read("a") == CONTENT
    assert mount.parts.content._damage._sound == {mount.inode("a").ino}
