"""A set of inode numbers for very many of them."""

from mountfs.model.ids import Ino


class InoSet:
    """Takes one bit for each number up to the highest, whether it is in the set or not. `known`: what
    `to_bytes` of another set gave."""

    def __init__(self, known: bytes = b"") -> None:
        self._bits = bytearray(known)

    def to_bytes(self) -> bytes:
        return bytes(self._bits)

    def add(self, ino: Ino) -> None:
        missing = (ino >> 3) + 1 - len(self._bits)
        if missing > 0:
            self._bits.extend(bytes(missing))
        self._bits[ino >> 3] |= 1 << (ino & 7)

    def __contains__(self, ino: Ino) -> bool:
        return (ino >> 3) < len(self._bits) and bool(self._bits[ino >> 3] & 1 << (ino & 7))

    def discard(self, ino: Ino) -> None:
        if ino in self:
            self._bits[ino >> 3] &= ~(1 << (ino & 7))
