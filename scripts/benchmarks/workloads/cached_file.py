"""One open file that is in the cache: sequential, random and mapped access."""

import mmap
import os
import random

from scripts.benchmarks.workloads.base import BLOCK, MEBIBYTE, Place, Readings, Unit, Workload
from scripts.benchmarks.workloads.clock import timed


def open_file(place: Place) -> Readings:
    size = place.sizes.cached_file_mib * MEBIBYTE
    chance = random.Random(1)
    block, buffer = memoryview(chance.randbytes(BLOCK)), [bytearray(BLOCK)]
    offsets = [chance.randrange(size // BLOCK) * BLOCK for _ in range(place.sizes.random_operations)]
    random_mib = len(offsets) * BLOCK / MEBIBYTE
    readings = {}
    descriptor = os.open(place.directory / "file", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, block, size - BLOCK)
        for offset in range(0, size, MEBIBYTE):
            os.pwrite(descriptor, bytes(MEBIBYTE), offset)
        with timed() as span:
            for offset in range(0, size, BLOCK):
                os.pwrite(descriptor, block, offset)
        readings["file.seq_write"] = span.rate(size / MEBIBYTE)
        with timed() as span:
            for offset in range(0, size, BLOCK):
                os.preadv(descriptor, buffer, offset)
        readings["file.seq_read"] = span.rate(size / MEBIBYTE)
        with timed() as span:
            for offset in offsets:
                os.pwrite(descriptor, block, offset)
        readings["file.random_write"] = span.rate(random_mib)
        with timed() as span:
            for offset in offsets:
                os.preadv(descriptor, buffer, offset)
        readings["file.random_read"] = span.rate(random_mib)
    finally:
        os.close(descriptor)
    return readings


def mapped(place: Place) -> Readings:
    """A shared mapping: every page is written, flushed and read."""
    size = max(MEBIBYTE, place.sizes.cached_file_mib * MEBIBYTE // 4)
    page = os.urandom(BLOCK)
    with open(place.directory / "mapped", "w+b") as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as mapping:
            with timed() as span:
                for offset in range(0, size, BLOCK):
                    mapping[offset : offset + BLOCK] = page
                mapping.flush()
            written = span.rate(size / MEBIBYTE)
            with timed() as span:
                same = all(mapping[offset : offset + BLOCK] == page for offset in range(0, size, BLOCK))
        if not same:
            raise OSError("the mapping lost what was written")
    return {"mmap.write": written, "mmap.read": span.rate(size / MEBIBYTE)}


_KINDS = ("seq_write", "seq_read", "random_write", "random_read")

WORKLOADS = (
    Workload("cached_file", {f"file.{kind}": Unit.MEBIBYTES_PER_S for kind in _KINDS}, open_file),
    Workload("mmap", {f"mmap.{kind}": Unit.MEBIBYTES_PER_S for kind in ("write", "read")}, mapped),
)
