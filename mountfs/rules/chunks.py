"""How a large file is cut into chunks, and which of them are still to be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mountfs.model.errors import FileTooBig
from mountfs.model.remote import UploadLimits

PREFERRED_BYTES: Final = 8 * 1024 * 1024
"""Large enough that a round trip costs little, small enough that three in flight need little memory."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`order` counts from 1; the bytes are [start, end) of the file."""

    order: int
    start: int
    end: int


def chunk_bytes(size: int, limits: UploadLimits) -> int:
    """Return the size of the chunks for a file. Raises FileTooBig."""
    least = max(limits.chunk_min_bytes, -(-size // limits.chunks_max))
    if size > limits.file_max_bytes or least > limits.chunk_max_bytes:
        most = min(limits.file_max_bytes, limits.chunk_max_bytes * limits.chunks_max)
        raise FileTooBig(f"{size} bytes are more than the {most} bytes that the workspace takes in one file")
    return min(max(least, PREFERRED_BYTES), limits.chunk_max_bytes)


def missing(size: int, chunk: int, arrived: Mapping[int, int]) -> list[Chunk]:
    """Return the chunks that the remote does not have in full."""
    chunks = (
        Chunk(order, start, min(start + chunk, size))
        for order, start in enumerate(range(0, size, chunk), start=1)
    )
    return [chunk for chunk in chunks if arrived.get(chunk.order) != chunk.end - chunk.start]
