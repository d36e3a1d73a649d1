"""Extended attributes of programs, and those that tell of an entry's state."""

import pytest
from trio.testing import wait_all_tasks_blocked

from mountfs.model.entry import EntryKind
from mountfs.model.errors import (
    AttributeMissing,
    OperationNotPermitted,
    OperationNotSupported,
    StorageError,
)
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.tree.local_changes import XATTRS_MAX_BYTES
from tests.t3_filesystem.workspace_mount import WorkspaceMount

BINARY = bytes(range(256))


async def told(mount: WorkspaceMount, path: str, name: str) -> str:
    return (await mount.filesystem.get_xattr(mount.inode(path).ino, f"user.mountfs.{name}".encode())).decode()


@pytest.mark.parametrize("cleanly", [True, False])
async def test_attributes_outlive_a_restart_and_uploads(mount: WorkspaceMount, cleanly: bool) -> None:
    await mount.mkdir("folder")
    await mount.write("folder/file", b"content")
    for path in ("folder", "folder/file"):
        ino = mount.inode(path).ino
        await mount.filesystem.set_xattr(ino, b"user.\xff", BINARY)
        await mount.filesystem.set_xattr(ino, b"user.empty", b"")
    await mount.settle()
    await mount.restart(cleanly=cleanly)
    for path in ("folder", "folder/file"):
        ino = (await mount.stat(path)).ino
        assert sorted(await mount.filesystem.list_xattrs(ino)) == [b"user.empty", b"user.\xff"]
        assert await mount.filesystem.get_xattr(ino, b"user.\xff") == BINARY
        await mount.filesystem.remove_xattr(ino, b"user.empty")
        with pytest.raises(AttributeMissing):
            await mount.filesystem.get_xattr(ino, b"user.empty")


async def test_attributes_are_no_change_of_the_content(mount: WorkspaceMount) -> None:
    await mount.write("file", b"content")
    await mount.settle()
    before, calls = await mount.stat("file"), mount.changing_calls()
    await mount.filesystem.set_xattr(before.ino, b"user.a", b"b")
    await mount.settle()
    after = await mount.stat("file")
    assert (after.mtime_ns, after.size) == (before.mtime_ns, before.size)
    assert after.ctime_ns > before.ctime_ns
    assert mount.changing_calls() == calls


async def test_other_namespaces_and_too_much_are_refused(mount: WorkspaceMount) -> None:
    await mount.write("file", b"")
    ino = mount.inode("file").ino
    for name in (b"security.selinux", b"trusted.x", b"system.posix_acl_access", b"other"):
        with pytest.raises(OperationNotSupported):
            await mount.filesystem.set_xattr(ino, name, b"x")
        with pytest.raises(OperationNotSupported):
            await mount.filesystem.get_xattr(ino, name)
    for name in (b"user.mountfs", b"user.mountfs.state"):
        with pytest.raises(OperationNotPermitted):
            await mount.filesystem.set_xattr(ino, name, b"x")
        with pytest.raises(OperationNotPermitted):
            await mount.filesystem.remove_xattr(ino, name)
    await mount.filesystem.set_xattr(ino, b"user.large", b"x" * 65_536)
    with pytest.raises(StorageError):
        await mount.filesystem.set_xattr(ino, b"user.more", b"x" * (XATTRS_MAX_BYTES - 65_536))
    assert await mount.filesystem.list_xattrs(ino) == [b"user.large"]


async def test_state_version_and_node_are_told(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    mount.remote.hang("upload_small")
    await mount.write("file", b"content")
    assert await told(mount, "file", "state") == "dirty"
    with pytest.raises(AttributeMissing):
        await told(mount, "file", "node")
    mount.parts.sender.expedite([mount.inode("file")])
    while not mount.inode("file").sending:
        await wait_all_tasks_blocked(0.001)
    assert await told(mount, "file", "state") == "uploading"
    mount.remote.release()
    await mount.settle()
    assert await told(mount, "file", "state") == "clean"
    node = workspace.find("file")
    assert await told(mount, "file", "node") == node
    assert await told(mount, "file", "version") == workspace.versions(node)[-1].id
    everything = await mount.filesystem.get_xattr(mount.inode("file").ino, b"user.mountfs")
    assert everything.decode().splitlines()[0] == "state=clean"
    assert await mount.filesystem.list_xattrs(mount.inode("file").ino) == []
    inode = mount.inode("file")
    inode.failure = "refused"
    assert await told(mount, "file", "state") == "failed"
    inode.failure, inode.kind = None, EntryKind.SPECIAL
    assert await told(mount, "file", "state") == "local"
    inode.kind = EntryKind.FILE
