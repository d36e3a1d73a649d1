"""The folder of blobs: immutable files, each written once under a name nobody else uses.

A blob becomes part of the workspace only by the database row that names it, so that a half-written
file is never visible; files without a row are swept at the next start. The folder can be replaced
by an object store: blobs are never changed after `BlobWriter.finish`.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mountfs.server.opaque_ids import BLOB, new_id

WRITE_BYTES = 1024 * 1024
HASH_ALGORITHMS = ("md5", "sha1", "sha256", "sha384")
_THREADS = 8


@dataclass(frozen=True)
class Blob:
    """A finished blob: its name, its size, and its sha256 when the writer was asked for it."""

    name: str
    size: int
    sha256: str = ""


class BlobStore:
    """All blobs of one server. Blocking methods are named `*_blocking`; they belong in a thread."""

    def __init__(self, folder: Path, fsync: bool) -> None:
        self._folder = folder
        self._fsync = fsync
        self._closing = False
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        for number in range(256):
            (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    def new_writer(self, with_sha256: bool) -> "BlobWriter":
        """A writer for one new blob; nothing touches the disk before its first bytes."""
        return BlobWriter(self, with_sha256)

    def path(self, name: str) -> Path:
        """Where the blob lies; the checksum at the end of its name spreads blobs over the subfolders."""
        return self._folder / f"{int(name[-2:], 32) & 255:02x}" / name

    def create_blocking(self, name: str) -> int:
        """A descriptor to write the new blob with."""
        return os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    async def finish(self, writers: Sequence["BlobWriter"]) -> list[Blob]:
        """Write what is left of each, and settle all: they survive a loss of power on return (unless fsync
        is switched off). After an error each is still to be abandoned."""
        for writer in writers:
            await writer.wait_written()
        if writers:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.threads, self._finish_blocking, writers)
        return [writer.blob() for writer in writers]

    def _finish_blocking(self, writers: Sequence["BlobWriter"]) -> None:
        for writer in writers:
            writer.write_rest_blocking()
        if self._fsync:
            # Together, as what one of them makes the file system write is mostly that of the others too.
            for writer in writers:
                os.fsync(writer.descriptor)
            for folder in {self.path(writer.name).parent for writer in writers}:
                _fsync_folder(folder)
        for writer in writers:
            writer.close()

    def delete_blocking(self, names: Iterable[str]) -> None:
        """Remove blobs that no row names any more; those already gone are fine."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.path(name).unlink()

    async def delete(self, names: Sequence[str]) -> None:
        """Remove blobs in a thread."""
        await asyncio.get_running_loop().run_in_executor(self.threads, self.delete_blocking, names)

    def read_blocking(self, name: str, start: int, size: int) -> bytes:
        """Exactly the bytes asked for; raises OSError when the blob does not have them."""
        descriptor = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            piece = os.pread(descriptor, size, start)
            while len(piece) < size:
                more = os.pread(descriptor, size - len(piece), start + len(piece))
                if not more:
                    raise OSError(f"blob {name} ends at {start + len(piece)}, {start + size} expected")
                piece += more
        finally:
            os.close(descriptor)
        return piece

    def digest_blocking(self, names: Iterable[str], algorithm: str) -> str:
        """Hex digest over the blobs, one after the other."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        buffer = bytearray(WRITE_BYTES)
        view = memoryview(buffer)
        for name in names:
            with self.path(name).open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    digest.update(view[:count])
                    if self._closing:
                        raise OSError("the blob store is closing")
        return digest.hexdigest()

    async def digest(self, names: Sequence[str], algorithm: str) -> str:
        """Hex digest over the blobs, computed in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self.digest_blocking, names, algorithm)

    def sweep_blocking(self, keep: set[str]) -> int:
        """Remove every blob not in `keep`; how many there were. Only safe while nobody writes."""
        removed = 0
        for folder in self._folder.iterdir():
            for entry in os.scandir(folder):
                if entry.name not in keep:
                    os.unlink(entry.path)
                    removed += 1
        return removed

    def close(self) -> None:
        """End the threads; a long digest is cut short."""
        self._closing = True
        self.threads.shutdown(wait=True, cancel_futures=True)


class BlobWriter:
    """Writes one blob in pieces, in threads; while one piece is written the next one may be gathered.

    It ends with `finish`, or `BlobStore.finish`, or with `abandon` when anything before that failed.
    """

    def __init__(self, store: BlobStore, with_sha256: bool) -> None:
        self._store = store
        self.name = new_id(BLOB)
        self._hash = hashlib.sha256() if with_sha256 else None
        self.descriptor = -1
        """Negative before the first bytes are written, and from `close` on."""
        self._created = False
        self._buffer = bytearray()
        self._writing: asyncio.Future[None] | None = None
        self.size = 0

    def gather(self, piece: bytes) -> bool:
        """Take a piece into memory; True when `flush` should follow before the next one."""
        self._buffer += piece
        self.size += len(piece)
        return len(self._buffer) >= WRITE_BYTES

    async def flush(self) -> None:
        """Start writing what was gathered; waits only for the write before it."""
        await self.wait_written()
        pieces, self._buffer = self._buffer, bytearray()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._store.threads, self._write_blocking, pieces)

    async def finish(self) -> Blob:
        """Write the rest and settle it."""
        return (await self._store.finish([self]))[0]

    async def abandon(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            await self.wait_written()
        self.close()
        if self._created:
            await self._store.delete([self.name])

    async def wait_written(self) -> None:
        """Wait for the piece that is being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def write_rest_blocking(self) -> None:
        """Write what is gathered; where there is nothing at all the file is made all the same."""
        rest, self._buffer = self._buffer, bytearray()
        self._write_blocking(rest)

    def _write_blocking(self, pieces: bytearray) -> None:
        if self.descriptor < 0:
            self.descriptor = self._store.create_blocking(self.name)
            self._created = True
        if self._hash is not None:
            self._hash.update(pieces)
        view = memoryview(pieces)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def close(self) -> None:
        """Give the descriptor back, if there is one."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def blob(self) -> Blob:
        """What was written, once it is finished."""
        return Blob(self.name, self.size, self._hash.hexdigest() if self._hash else "")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
