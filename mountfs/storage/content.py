"""Content files, one per inode, and the index of what of the clean ones is here."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import diskcache

from mountfs.model.disk import Disk, DiskStep
from mountfs.model.entry import ContentStamp
from mountfs.model.errors import CacheUnusable, StorageError
from mountfs.model.ids import Ino, VersionId
from mountfs.model.storage import Coverage, StoredContent
from mountfs.storage import piece_sums, untrusted_json
from mountfs.storage.layout import errno_of, room_hint
from mountfs.storage.saved_copies import free_names
from mountfs.storage.spare_files import SpareFiles
from mountfs.storage.system_disk import SYSTEM_DISK

FOLDERS: Final = 256
"""Content files are spread over this many folders, so that none gets too long."""

INDEX_LIMIT_BYTES: Final = 1 << 40
"""diskcache culls nothing of its own: what may go is decided by mountfs/rules/eviction.py."""


class JsonDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keeps text keys and JSON values in the database itself, and refuses whatever else it finds there.

    diskcache's own Disk unpickles what a row says is a pickle: whoever can write the cache directory could
    run code (CVE-2025-69872).
    """

    def hash(self, key: str) -> int:
        raise TypeError("the index is not sharded")

    def put(self, key: str) -> tuple[str, bool]:
        return _checked_text(key), True

    def get(self, key: Any, raw: bool) -> str:
        return _checked_text(key)

    def store(
        self, value: Any, read: bool, key: Any = diskcache.UNKNOWN
    ) -> tuple[int, int, str | None, str | None]:
        return 0, diskcache.core.MODE_TEXT, None, json.dumps(value, separators=(",", ":"))

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode != diskcache.core.MODE_TEXT or filename is not None:
            raise ValueError("the index holds a value that mountfs did not write")
        return untrusted_json.loads(_checked_text(value))


def _checked_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


class ContentFiles:
    """Implements `mountfs.model.storage.ContentStore`; also keeps facts about the workspace.

    The index may vanish at any time: what it described is fetched again. Nothing in here is the only copy
    of anything but the content files of dirty inodes, which no call but `remove` ever deletes.
    """

    def __init__(
        self, folder: Path, index: Path, *, disk: Disk = SYSTEM_DISK, spare: SpareFiles | None = None
    ) -> None:
        """Raises CacheUnusable. `spare` is closed along with this."""
        self._folder = folder
        self.disk = disk
        self._spare = spare
        try:
            for number in range(FOLDERS):
                (folder / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
            self._index = diskcache.Cache(
                str(index),
                disk=JsonDisk,
                eviction_policy="none",
                cull_limit=0,
                size_limit=INDEX_LIMIT_BYTES,
            )
        except Exception as error:
            # diskcache raises whatever SQLite and the operating system do.
            message = f"the content index {index} cannot be used: {error}"
            raise CacheUnusable(message, hint=room_hint(error)) from error

    def close(self) -> None:
        if self._spare is not None:
            self._spare.close()
        self._index.close()

    def path(self, ino: Ino) -> Path:
        return self._folder / f"{ino % FOLDERS:02x}" / str(ino)

    def create(self, ino: Ino) -> int:
        descriptor = None if self._spare is None else self._spare.take(self._name(ino))
        return self.open(ino, create=True) if descriptor is None else descriptor

    def _name(self, ino: Ino) -> str:
        return f"{self._folder}/{ino % FOLDERS:02x}/{ino}"

    def open(self, ino: Ino, *, create: bool, step: DiskStep = DiskStep.CREATE_CONTENT) -> int:
        path = self._name(ino)
        with _as_storage_error(f"content of inode {ino}"):
            try:
                if create:
                    return self.disk.open(step, path, os.O_RDWR | os.O_CREAT)
                return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError as error:
                # To a program the file exists: that its content does not is a damage.
                raise OSError(errno.EIO, "the content is lost") from error

    def stamp(self, ino: Ino) -> ContentStamp | None:
        """Return the state of the content file, None where there is none."""
        with _as_storage_error(f"content of inode {ino}"):
            try:
                status = self.path(ino).stat()
            except FileNotFoundError:
                return None
            return ContentStamp(status.st_mtime_ns, status.st_size)

    def size(self, ino: Ino) -> int | None:
        """Return the size of the content file in bytes, None where there is none."""
        stamp = self.stamp(ino)
        return None if stamp is None else stamp.size

    def remove(self, ino: Ino, *, step: DiskStep = DiskStep.REMOVE_CONTENT) -> None:
        with _as_storage_error(f"content of inode {ino}"):
            # The index first: content without an index entry is nothing, the reverse would be a lie.
            self._forget(ino)
            with contextlib.suppress(FileNotFoundError):
                self.disk.unlink(step, self.path(ino))

    def _forget(self, ino: Ino) -> None:
        def forget() -> None:
            with self._index.transact():
                self._index.delete(_content_key(ino))
                self._index.delete(_sums_key(ino))

        self.disk.commit(DiskStep.FORGET_INDEX, forget)

    def remove_all(self, inos: Iterable[Ino]) -> None:
        with _as_storage_error("the index of the content"), self._index.transact():
            for ino in inos:
                self.remove(ino)

    def coverage(self, ino: Ino) -> Coverage | None:
        with _as_storage_error(f"index entry of inode {ino}"):
            entry = self._index.get(_content_key(ino))
            if entry is None or not self.path(ino).exists():
                return None
            known = tuple((int(start), int(end)) for start, end in entry["ranges"])
            return Coverage(VersionId(entry["version"]), known)

    def save_coverage(self, ino: Ino, coverage: Coverage | None) -> None:
        with _as_storage_error(f"index entry of inode {ino}"):
            if coverage is None:
                self._forget(ino)
            else:
                entry = {"version": coverage.version, "ranges": coverage.ranges}
                self.disk.commit(DiskStep.SAVE_INDEX, lambda: self._index.set(_content_key(ino), entry))

    def save_sums(self, ino: Ino, coverage: Coverage) -> None:
        with _as_storage_error(f"index entry of inode {ino}"):
            try:
                found = piece_sums.sums(
                    str(self.path(ino)), coverage.ranges, self._sums(ino, coverage.version)
                )
            except FileNotFoundError:
                return  # evicted or removed since: its coverage is not believed without it
            entry = {
                "version": coverage.version,
                "sums": [[*piece, value] for piece, value in found.items()],
            }
            self.disk.commit(DiskStep.SAVE_INDEX, lambda: self._index.set(_sums_key(ino), entry))

    def _sums(self, ino: Ino, version: VersionId) -> dict[tuple[int, int], int]:
        entry = self._index.get(_sums_key(ino))
        if entry is None or entry["version"] != version:
            return {}
        return {(int(start), int(end)): int(value) for start, end, value in entry["sums"]}

    def sound(self, ino: Ino, coverage: Coverage) -> tuple[tuple[int, int], ...]:
        with _as_storage_error(f"content of inode {ino}"):
            known = self._sums(ino, coverage.version)
            if not known:
                return coverage.ranges
            return tuple(piece_sums.sound(str(self.path(ino)), coverage.ranges, known))

    def save_coverages(self, coverages: Iterable[tuple[Ino, Coverage]]) -> None:
        with _as_storage_error("the index of the content"), self._index.transact():
            for ino, coverage in coverages:
                self.save_coverage(ino, coverage)

    def sync(self, ino: Ino, descriptor: int) -> None:
        with _as_storage_error(f"content of inode {ino}"):
            self.disk.sync(DiskStep.SYNC_CONTENT, descriptor)
            self.disk.sync_path(DiskStep.SYNC_CONTENT_FOLDER, self.path(ino).parent)

    def write_back(self, ino: Ino, descriptor: int) -> None:
        with _as_storage_error(f"content of inode {ino}"):
            self.disk.write_back(DiskStep.WRITE_BACK_CONTENT, descriptor)

    def fact(self, name: str) -> Any:
        """Return what `save_fact` kept under this name, None when it kept nothing."""
        with _as_storage_error(f"fact {name}"):
            return self._index.get(f"fact:{name}")

    def save_fact(self, name: str, value: Any) -> None:
        """Keep a JSON value, such as the workspace's limits, for a start without the remote."""
        with _as_storage_error(f"fact {name}"):
            self.disk.commit(DiskStep.SAVE_INDEX, lambda: self._index.set(f"fact:{name}", value))

    def scratch(self) -> IO[bytes]:
        with _as_storage_error("a file for a download"):
            return tempfile.TemporaryFile(dir=self._folder / "00", prefix="scratch-")

    @property
    def damaged(self) -> Path:
        """Where damaged content is kept that the remote did not have; nothing removes it."""
        return self._folder.with_name("damaged")

    def set_aside(self, ino: Ino, path: bytes) -> str | None:
        source = self.path(ino)
        with _as_storage_error(f"damaged content of inode {ino}"):
            if not source.exists():
                return None
            wanted = self.damaged / os.fsdecode(path)
            target = next(name for name in free_names(wanted) if not name.exists())
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.disk.rename(DiskStep.SET_ASIDE, source, target)
            self.disk.sync_path(DiskStep.SYNC_ASIDE, target)
            for folder in (target.parent, source.parent):
                self.disk.sync_path(DiskStep.SYNC_ASIDE, folder)
        return str(target)

    def set_aside_files(self) -> list[Path]:
        """Return what `set_aside` moved and nobody has taken away since, sorted."""
        return sorted(Path(folder, name) for folder, _, names in os.walk(self.damaged) for name in names)

    def stored(self) -> Iterator[StoredContent]:
        """Yield what is on the disk, in no order."""
        with _as_storage_error("the content"):
            for folder in self._folder.iterdir():
                with os.scandir(folder) as files:
                    yield from _stored_among(files)


def _stored_among(files: Iterable[os.DirEntry[str]]) -> Iterator[StoredContent]:
    for file in files:
        if file.name.isascii() and file.name.isdecimal():
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                yield StoredContent(Ino(int(file.name)), status.st_blocks * 512, status.st_atime)


def _sums_key(ino: Ino) -> str:
    return f"sums:{ino}"


def _content_key(ino: Ino) -> str:
    return f"content:{ino}"


@contextlib.contextmanager
def _as_storage_error(what: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        # diskcache lets SQLite's errors and our refusals in JsonDisk through.
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"{what} in the cache: {reason}", errno=errno_of(error)) from error
