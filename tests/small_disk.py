"""A disk of a test's own that is soon full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk_at(place: Path, *, mebibytes: int) -> Iterator[Path]:
    """Have a tmpfs of this size at the place, for nobody else, until the block ends."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: a small disk is mounted by root only")
    place.mkdir()
    options = f"size={mebibytes}m,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill_disk(file: Path) -> None:
    """Take what is left of its disk."""
    with file.open("wb", buffering=0) as opened, suppress(OSError):
        while opened.write(bytes(4096)):
            pass
