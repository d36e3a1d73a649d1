"""What programs do to a mount without a kernel, by path.

Paths are relative to the mount and separated by slashes. Nothing is cached between two operations, as by a
kernel that forgets at once.
"""

import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.model.errors import FileNotFound
from mountfs.model.filesystem import AttributeChange, Attributes, Caller, OpenedFile, RenameFlag
from mountfs.model.ids import ROOT_INO, Ino

CALLER = Caller(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())
REQUEST_BYTES = 128 * 1024


class OpenPath:
    """A file that is open; where it has a backing file, it is read and written there, as by the kernel."""

    def __init__(self, filesystem: WorkspaceFilesystem, opened: OpenedFile, ino: Ino) -> None:
        self._filesystem = filesystem
        self.handle = opened.handle
        self.backing = opened.backing
        self._no_flush = opened.no_flush
        self.ino = ino

    async def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Read as a program does: in the kernel's portions, up to the end or `size` bytes."""
        parts: list[bytes] = []
        left = size if size is not None else 1 << 62
        while left:
            part = await self._read(offset, min(left, REQUEST_BYTES))
            if not part:
                break
            parts.append(part)
            offset += len(part)
            left -= len(part)
        return b"".join(parts)

    async def write(self, content: bytes, offset: int = 0) -> None:
        for start in range(0, len(content), REQUEST_BYTES):
            part = content[start : start + REQUEST_BYTES]
            assert await self._write(offset + start, part) == len(part)

    async def _read(self, offset: int, size: int) -> bytes:
        if self.backing is not None:
            return os.pread(self.backing, size, offset)
        return await self._filesystem.read(self.handle, offset, size)

    async def _write(self, offset: int, part: bytes) -> int:
        if self.backing is not None:
            return os.pwrite(self.backing, part, offset)
        return await self._filesystem.write(self.handle, offset, part)

    async def fsync(self) -> None:
        await self._filesystem.fsync(self.handle, data_only=False)

    async def close(self) -> None:
        try:
            if not self._no_flush:
                await self._filesystem.flush(self.handle)
        finally:
            await self._filesystem.release(self.handle)


class PathOperations:
    """The operations of whatever has a file system."""

    @property
    def filesystem(self) -> WorkspaceFilesystem:
        raise NotImplementedError

    @asynccontextmanager
    async def _looked_up(self, path: str) -> AsyncIterator[Ino]:
        referred: list[Ino] = []
        try:
            ino = ROOT_INO
            for name in path_names(path):
                ino = (await self.filesystem.lookup(ino, name)).ino
                referred.append(ino)
            yield ino
        finally:
            self.filesystem.forget([(ino, 1) for ino in referred])

    @asynccontextmanager
    async def _place(self, path: str) -> AsyncIterator[tuple[Ino, bytes]]:
        above, _, name = path.rpartition("/")
        async with self._looked_up(above) as parent:
            yield parent, name.encode()

    async def stat(self, path: str) -> Attributes:
        async with self._looked_up(path) as ino:
            # How the kernel is to be told of them is none of them.
            return (await self.filesystem.attributes(ino))._replace(volatile=False)

    async def exists(self, path: str) -> bool:
        try:
            await self.stat(path)
        except FileNotFound:
            return False
        return True

    async def set_attributes(self, path: str, change: AttributeChange) -> None:
        async with self._looked_up(path) as ino:
            await self.filesystem.set_attributes(ino, change, None)

    async def truncate(self, path: str, size: int) -> None:
        await self.set_attributes(path, AttributeChange(size=size))

    async def open(self, path: str, flags: int = os.O_RDONLY) -> OpenPath:
        async with self._place(path) as (parent, name):
            try:
                async with self._looked_up(path) as ino:
                    opened = await self.filesystem.open(ino, flags)
            except FileNotFound:
                if not flags & os.O_CREAT:
                    raise
                mode = stat.S_IFREG | 0o644
                opened, attributes = await self.filesystem.create(parent, name, mode, flags, CALLER)
                ino = attributes.ino
                self.filesystem.forget([(ino, 1)])
            return OpenPath(self.filesystem, opened, ino)

    @asynccontextmanager
    async def opened(self, path: str, flags: int = os.O_RDONLY) -> AsyncIterator[OpenPath]:
        file = await self.open(path, flags)
        try:
            yield file
        finally:
            await file.close()

    async def read(self, path: str) -> bytes:
        async with self.opened(path) as file:
            return await file.read()

    async def write(self, path: str, content: bytes) -> None:
        async with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            await file.write(content)

    async def append(self, path: str, content: bytes) -> None:
        async with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            size = (await self.filesystem.attributes(file.ino)).size
            await file.write(content, size)

    async def unlink(self, path: str) -> None:
        async with self._place(path) as (parent, name):
            await self.filesystem.unlink(parent, name)

    async def mkdir(self, path: str) -> None:
        async with self._place(path) as (parent, name):
            made = await self.filesystem.make_directory(parent, name, 0o755, CALLER)
            self.filesystem.forget([(made.ino, 1)])

    async def symlink(self, path: str, target: str) -> None:
        async with self._place(path) as (parent, name):
            made = await self.filesystem.make_symlink(parent, name, target.encode(), CALLER)
            self.filesystem.forget([(made.ino, 1)])

    async def readlink(self, path: str) -> str:
        async with self._looked_up(path) as ino:
            return (await self.filesystem.read_symlink(ino)).decode()

    async def rmdir(self, path: str) -> None:
        async with self._place(path) as (parent, name):
            await self.filesystem.remove_directory(parent, name)

    async def rename(self, old: str, new: str, flag: RenameFlag = RenameFlag.REPLACE) -> None:
        async with self._place(old) as (parent, name), self._place(new) as (new_parent, new_name):
            await self.filesystem.rename(parent, name, new_parent, new_name, flag)

    async def listdir(self, path: str = "") -> list[str]:
        return sorted(name for name, _ in await self._entries(path))

    async def _entries(self, path: str) -> Sequence[tuple[str, bool]]:
        async with self._looked_up(path) as ino:
            handle = (await self.filesystem.open_directory(ino)).handle
            found: list[tuple[str, bool]] = []
            offset = 0
            while portion := self.filesystem.list_directory(handle, offset):
                offset = portion[-1].next_offset
                found += [
                    (entry.name.decode(), stat.S_ISDIR(entry.attributes.mode))
                    for entry in portion
                    if entry.name not in (b".", b"..")
                ]
            await self.filesystem.release_directory(handle)
            return [(name, is_directory) for name, is_directory in found if name not in (".", "..")]

    async def remove_tree(self, path: str) -> None:
        """Like `rm -r`."""
        for name, is_directory in await self._entries(path):
            await (self.remove_tree if is_directory else self.unlink)(f"{path}/{name}")
        await self.rmdir(path)

    async def contents(self, path: str = "") -> dict[str, bytes | None]:
        """Return path -> content of every file below, and path -> None of every directory."""
        found: dict[str, bytes | None] = {}
        for name, is_directory in await self._entries(path):
            below = f"{path}/{name}" if path else name
            if is_directory:
                found[below] = None
                found |= await self.contents(below)
            else:
                found[below] = await self.read(below)
        return found


def path_names(path: str) -> list[bytes]:
    return [name.encode() for name in path.split("/") if name]
