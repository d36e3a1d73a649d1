"""Memory that content passes through on its way, and that is needed again at once."""

import ctypes
from contextlib import suppress
from typing import Final

PIECES_BYTES: Final = 8 * 1024 * 1024
"""So much that was freed is kept for the next pieces of content: a few, of 1 MiB at most."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Of glibc's malloc.h."""


def keep_freed_pieces() -> None:
    """Have memory that is freed given to whoever asks next. The operating system would clear each page before
    it gives it again, which costs as much as to copy content there. For glibc only."""
    with suppress(AttributeError):  # another C library has no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, PIECES_BYTES)
        mallopt(_TRIM_THRESHOLD, PIECES_BYTES)
