"""The double under the tests of passthrough: contents are real files, and what reaches it is counted."""

import os
import stat
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from mountfs.model.filesystem import AttributeChange, Attributes, Caller, FilePart, Handle, OpenedFile
from mountfs.model.ids import Ino
from tests.t5_kernel.adapter.memory_filesystem import MemoryFilesystem, Node


class BackedFilesystem(MemoryFilesystem):
    """Offers its files to the kernel while `offers` is true, all opens of an inode with one descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.offers = True
        self.no_flush = False
        self.uncached = False
        self._folder = TemporaryDirectory()
        self._descriptors: dict[Ino, int] = {}

    async def attributes(self, ino: Ino) -> Attributes:
        self._measure(self.nodes[ino])
        return await super().attributes(ino)

    async def set_attributes(self, ino: Ino, change: AttributeChange, handle: Handle | None) -> Attributes:
        if change.size is not None:
            os.truncate(self.backing_path(ino), change.size)
        attributes = await super().set_attributes(ino, change, handle)
        self._measure(self.nodes[ino])
        return attributes

    async def create(
        self, parent: Ino, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[OpenedFile, Attributes]:
        opened, attributes = await super().create(parent, name, mode, flags, caller)
        return self._offered(attributes.ino, opened), attributes

    async def open(self, ino: Ino, flags: int) -> OpenedFile:
        opened = self._offered(ino, await super().open(ino, flags))
        if flags & os.O_TRUNC:
            os.truncate(self.backing_path(ino), 0)
        return opened

    async def read(self, handle: Handle, offset: int, size: int) -> bytes:
        self.calls["read"] += 1
        return os.pread(self._descriptors[self._at(handle).ino], size, offset)

    async def locate(self, handle: Handle, offset: int, size: int) -> bytes | FilePart:
        """Also what lies behind the end of the file counts as a part of it."""
        self.calls["locate"] += 1
        return FilePart(self._descriptors[self._at(handle).ino], size, offset)

    async def write(self, handle: Handle, offset: int, content: bytes) -> int:
        self.calls["write"] += 1
        self._at(handle).mode &= ~(stat.S_ISUID | stat.S_ISGID)
        return os.pwrite(self._descriptors[self._at(handle).ino], content, offset)

    async def flush(self, handle: Handle) -> None:
        self.calls["flush"] += 1

    async def release(self, handle: Handle) -> None:
        await super().release(handle)
        self.calls["release"] += 1

    async def get_xattr(self, ino: Ino, name: bytes) -> bytes:
        self.calls["getxattr"] += 1
        return await super().get_xattr(ino, name)

    def backing_path(self, ino: int) -> Path:
        return Path(self._folder.name, str(ino))

    def close_files(self) -> None:
        """Close every descriptor of this file system, as if nobody had used it."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _offered(self, ino: Ino, opened: OpenedFile) -> OpenedFile:
        if ino not in self._descriptors:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptors[ino] = os.open(self.backing_path(ino), flags, 0o600)
        has_set_id = self.nodes[ino].mode & (stat.S_ISUID | stat.S_ISGID)
        backing = self._descriptors[ino] if self.offers and not has_set_id else None
        return OpenedFile(
            opened.handle,
            keep_cache=not self.uncached,
            uncached=self.uncached,
            backing=backing,
            no_flush=self.no_flush,
        )

    def _measure(self, node: Node) -> None:
        if stat.S_ISREG(node.mode) and node.ino in self._descriptors:
            node.size = os.fstat(self._descriptors[node.ino]).st_size
