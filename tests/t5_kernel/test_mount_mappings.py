"""Shared mappings under a lock: what one mount writes to its memory, another finds in its own."""

import fcntl
import mmap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

PAGES = 3
SIZE = PAGES * mmap.PAGESIZE


class Mapped:
    """A file that is open and mapped as a whole."""

    def __init__(self, path: Path, ends: ExitStack) -> None:
        self._file = ends.enter_context(path.open("r+b"))
        self.memory = ends.enter_context(mmap.mmap(self._file.fileno(), SIZE))

    @contextmanager
    def locked(self) -> Iterator[mmap.mmap]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        yield self.memory
        fcntl.flock(self._file, fcntl.LOCK_UN)


@pytest.mark.parametrize("passthrough", [True, False], ids=["passthrough", "ordinary"])
def test_what_is_written_to_a_mapping_under_a_lock_is_in_the_mapping_of_the_next_holder(
    world: World, *, passthrough: bool
) -> None:
    first, second = (world.mount(name, passthrough=passthrough) for name in ("first", "second"))
    (first / "file").write_bytes(bytes(SIZE))
    first.sync()
    wait_until((second / "file").exists)
    # What is whole in the cache when it is opened is served by the kernel, where it may be.
    assert (second / "file").read_bytes() == bytes(SIZE)
    with ExitStack() as ends:
        mapped = [Mapped(mount / "file", ends) for mount in (first, second)]
        for each in mapped:
            assert each.memory[:] == bytes(SIZE), "every page is in memory"
        for number in range(1, 7):
            # The same byte again and again: its page is written to while it is dirty already.
            with mapped[number % 2].locked() as memory:
                assert memory[0] == memory[SIZE - 1] == number - 1
                memory[0] = memory[SIZE - 1] = number
