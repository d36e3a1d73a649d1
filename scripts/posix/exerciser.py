"""Random operations on one file, each compared with bytes in memory; also mapped, and reopened in between."""

import mmap
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.posix.syscalls import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    fallocate,
)

SIZE_MOST = 512 * 1024
"""What the file grows to at most, in bytes."""

WRITE_MOST = 48 * 1024


class Mismatch(Exception):
    """The file is not what it has to be; says which operation showed it."""


@dataclass
class Exerciser:
    """Works on `path` through one descriptor at a time, and on a copy of it in memory."""

    path: Path
    seed: str
    expected: bytearray = field(default_factory=bytearray)
    done: list[str] = field(default_factory=list)
    """What was done since the start, to be repeated by hand."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._other = self.path.with_name(f"{self.path.name}.other")
        self._operations: tuple[Callable[[], str], ...] = (
            *(self._write, self._read, self._write, self._read),
            *(self._truncate, self._write_mapped, self._read_mapped, self._append),
            *(self._punch, self._zero, self._allocate, self._copy_within, self._copy_from),
            *(self._reopen, self._rename, self._sync, self._seek, self._whole),
        )

    def run(self, operations: int) -> None:
        """Raises Mismatch, and whatever an operation fails with."""
        for _ in range(operations):
            self.step()
        self._whole()

    def step(self) -> None:
        self.done.append(self._chance.choice(self._operations)())
        size = os.fstat(self._descriptor).st_size
        if size != len(self.expected):
            raise Mismatch(f"{self.done[-1]}: the size is {size} instead of {len(self.expected)}")

    def close(self) -> None:
        os.close(self._descriptor)
        for path in (self.path, self._other):
            path.unlink(missing_ok=True)

    # Operations: each returns what it did.

    def _span(self, most: int = WRITE_MOST) -> tuple[int, int]:
        start = self._chance.randrange(SIZE_MOST - 1)
        if self._chance.random() < 0.3:
            start = start // 4096 * 4096
        return start, min(SIZE_MOST, start + self._chance.randint(1, most))

    def _within(self, most: int = WRITE_MOST) -> tuple[int, int]:
        if not self.expected:
            return 0, 0
        start = self._chance.randrange(len(self.expected))
        return start, min(len(self.expected), start + self._chance.randint(1, most))

    def _put(self, start: int, content: bytes) -> None:
        if len(self.expected) < start:
            self.expected.extend(bytes(start - len(self.expected)))
        self.expected[start : start + len(content)] = content

    def _check(self, what: str, start: int, seen: bytes, end: int) -> str:
        wanted = bytes(self.expected[start:end])
        if seen != wanted:
            place = next(
                (n for n, (one, two) in enumerate(zip(seen, wanted, strict=False)) if one != two), len(seen)
            )
            raise Mismatch(f"{what}: differs at {start + place}, {len(seen)} bytes of {len(wanted)}")
        return what

    def _write(self) -> str:
        start, end = self._span()
        content = self._chance.randbytes(end - start)
        assert os.pwrite(self._descriptor, content, start) == end - start
        self._put(start, content)
        return f"write {start} {end}"

    def _append(self) -> str:
        content = self._chance.randbytes(self._chance.randint(1, 5000))
        if len(self.expected) + len(content) > SIZE_MOST:
            return "no append"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, content)
        os.close(descriptor)
        self.expected += content
        return f"append {len(content)}"

    def _read(self) -> str:
        start, end = self._span()
        return self._check(f"read {start} {end}", start, os.pread(self._descriptor, end - start, start), end)

    def _whole(self) -> str:
        return self._check("read by name", 0, self.path.read_bytes(), SIZE_MOST)

    def _truncate(self) -> str:
        size = self._chance.randrange(SIZE_MOST)
        if self._chance.random() < 0.5:
            os.ftruncate(self._descriptor, size)
        else:
            os.truncate(self.path, size)
        self.expected[size:] = bytes(max(0, size - len(self.expected)))
        return f"truncate {size}"

    def _write_mapped(self) -> str:
        start, end = self._within()
        if end == start:
            return "nothing to map"
        with mmap.mmap(self._descriptor, len(self.expected)) as mapping:
            content = self._chance.randbytes(end - start)
            mapping[start:end] = content
            if self._chance.random() < 0.5:
                mapping.flush()
        self._put(start, content)
        return f"write mapped {start} {end}"

    def _read_mapped(self) -> str:
        start, end = self._within()
        if end == start:
            return "nothing to map"
        with mmap.mmap(self._descriptor, len(self.expected), prot=mmap.PROT_READ) as mapping:
            return self._check(f"read mapped {start} {end}", start, mapping[start:end], end)

    def _punch(self) -> str:
        start, end = self._span()
        fallocate(self._descriptor, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, start, end - start)
        end = min(end, len(self.expected))
        self.expected[start:end] = bytes(max(0, end - start))
        return f"punch {start} {end}"

    def _zero(self) -> str:
        start, end = self._span()
        fallocate(self._descriptor, FALLOC_ZERO_RANGE, start, end - start)
        self._put(start, bytes(end - start))
        return f"zero {start} {end}"

    def _allocate(self) -> str:
        start, end = self._span()
        keeps = self._chance.random() < 0.5
        fallocate(self._descriptor, FALLOC_KEEP_SIZE if keeps else 0, start, end - start)
        if not keeps and len(self.expected) < end:
            self._put(end - 1, b"\0")
        return f"allocate {start} {end} {keeps}"

    def _copy_within(self) -> str:
        start, end = self._within()
        to, _ = self._span()
        if end == start or (start < to + end - start and to < end) or to + end - start > SIZE_MOST:
            return "no copy"
        content = bytes(self.expected[start:end])
        self._copy(self._descriptor, start, to, end - start)
        self._put(to, content)
        return f"copy {start} {end} to {to}"

    def _copy_from(self) -> str:
        start, end = self._span()
        content = self._chance.randbytes(end - start)
        self._other.write_bytes(content)
        with self._other.open("rb") as other:
            self._copy(other.fileno(), 0, start, end - start)
        self._put(start, content)
        return f"copy from elsewhere to {start} {end}"

    def _copy(self, source: int, start: int, to: int, size: int) -> None:
        while size:
            count = os.copy_file_range(source, self._descriptor, size, start, to)
            if not count:
                raise Mismatch(f"the copy ends {size} bytes early")
            start, to, size = start + count, to + count, size - count

    def _reopen(self) -> str:
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR)
        return "reopen"

    def _rename(self) -> str:
        spare = self.path.with_name(f"{self.path.name}.renamed")
        os.rename(self.path, spare)
        os.rename(spare, self.path)
        return "rename"

    def _sync(self) -> str:
        (os.fsync if self._chance.random() < 0.5 else os.fdatasync)(self._descriptor)
        return "sync"

    def _seek(self) -> str:
        """Whatever is called a hole reads as zeros."""
        if not self.expected:
            return "nothing to seek in"
        start = self._chance.randrange(len(self.expected))
        hole = os.lseek(self._descriptor, start, os.SEEK_HOLE)
        if hole < len(self.expected):
            try:
                end = os.lseek(self._descriptor, hole, os.SEEK_DATA)
            except OSError:
                end = len(self.expected)
            if any(self.expected[hole:end]):
                raise Mismatch(f"seek {start}: there is data within the hole {hole} {end}")
        return f"seek {start}"
