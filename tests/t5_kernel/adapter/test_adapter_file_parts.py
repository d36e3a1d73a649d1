"""Reads that are answered with a part of a file, which the daemon has no copy of."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from mountfs.kernel import extension
from tests.t5_kernel.adapter.processes import Daemon

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not extension.AVAILABLE, reason=f"NOT TESTED: {extension.REASON}"),
]

CONTENT: Final = random.Random(1).randbytes(3 * 1024 * 1024 + 77)


@pytest.fixture(params=[False, True], ids=["at-once", "after-waits"])
def backed(start_daemon: Callable[..., Daemon], request: pytest.FixtureRequest) -> Daemon:
    return start_daemon(backed=True, passthrough=False, handlers_limit_s=0.5, waits=request.param)


@pytest.fixture
def path(backed: Daemon) -> Path:
    made = backed.mountpoint / "file"
    made.write_bytes(CONTENT)
    return made


def counted(backed: Daemon, kind: str) -> int:
    return int(backed.ask(f"filesystem.calls[{kind!r}]"))


def backing_path(backed: Daemon, path: Path) -> Path:
    return Path(backed.ask(f"str(filesystem.backing_path({path.stat().st_ino}))"))


def test_content_comes_as_it_is_in_the_file(backed: Daemon, path: Path) -> None:
    # What the kernel keeps of it would be no answer of ours.
    backing_path(backed, path).write_bytes(other := CONTENT[::-1])
    path.touch()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.readall() == other
    assert counted(backed, "locate") > 0
    assert counted(backed, "read") == 0


@pytest.fixture
def uncached(backed: Daemon, path: Path) -> Iterator[int]:
    """A descriptor each read of which is a request to the daemon."""
    backed.ask("setattr(filesystem, 'uncached', True)")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("offset", [0, 1, 4095, 4097, 1024 * 1024 - 1])
@pytest.mark.parametrize("size", [1, 4096, 65_537, 1024 * 1024])
def test_any_part_comes_whole(backed: Daemon, uncached: int, offset: int, size: int) -> None:
    assert os.pread(uncached, size, offset) == CONTENT[offset : offset + size]
    assert counted(backed, "locate") > 0


def test_a_file_that_ends_before_its_part_gives_what_it_has(
    backed: Daemon, path: Path, uncached: int
) -> None:
    os.truncate(backing_path(backed, path), 100_000)
    assert os.pread(uncached, 200_000, 0) == CONTENT[:100_000]
    assert os.pread(uncached, 50_000, 4096) == CONTENT[4096:54_096]
    assert os.pread(uncached, 50_000, 200_000) == b""


def test_a_file_that_cannot_be_read_is_an_eio(backed: Daemon, path: Path, uncached: int) -> None:
    folder = "os.open('/', os.O_RDONLY)"
    backed.ask(f"filesystem._descriptors.__setitem__({path.stat().st_ino}, {folder})")
    with pytest.raises(OSError, match="Input/output"):
        os.pread(uncached, 100_000, 0)
