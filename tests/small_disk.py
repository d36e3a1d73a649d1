"""A disk of a test's own that is soon full."""

import os
import shutil
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
    with _mounted(place, "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs"):
        yield place


@contextmanager
def small_ext4_at(place: Path, *, mebibytes: int) -> Iterator[Path]:
    """As `small_disk_at`, but of the kind that most caches lie on."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
        pytest.skip("NOT TESTED: needs root, loop devices, mkfs.ext4")
    image = place.with_name(f"{place.name}.image")
    with image.open("wb") as file:
        file.truncate(mebibytes * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    with _mounted(place, "-o", "loop", image):
        yield place


@contextmanager
def _mounted(place: Path, *arguments: str | Path) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", *arguments, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill_disk(file: Path) -> None:
    """Take what is left of its disk."""
    with file.open("wb", buffering=0) as opened, suppress(OSError):
        while opened.write(bytes(4096)):
            pass
