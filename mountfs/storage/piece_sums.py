"""Checksums of the pieces of a file that is here in part, where no hash tells whether they are sound."""

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

PIECE_BYTES: Final = 1024 * 1024
"""Ranges are cut at multiples of this."""

Piece = tuple[int, int]
"""The bytes [start, end)."""


def pieces(ranges: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the ranges cut into pieces."""
    for start, end in ranges:
        position = start
        while position < end:
            cut = min(end, (position // PIECE_BYTES + 1) * PIECE_BYTES)
            yield position, cut
            position = cut


def sums(path: str, ranges: Iterable[Piece], known: Mapping[Piece, int]) -> dict[Piece, int]:
    """Return the sum of each piece; those that are known are not read again. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return {
            piece: known[piece] if piece in known else _sum(descriptor, piece) for piece in pieces(ranges)
        }
    finally:
        os.close(descriptor)


def _sum(descriptor: int, piece: Piece) -> int:
    start, end = piece
    return zlib.crc32(os.pread(descriptor, end - start, start))


def sound(path: str, ranges: Iterable[Piece], known: Mapping[Piece, int]) -> list[Piece]:
    """Return the pieces that are as they were, and those of which nothing is known. Raises OSError."""
    found = sums(path, ranges, {})
    return [piece for piece, value in found.items() if known.get(piece, value) == value]
