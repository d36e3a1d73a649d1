"""Identifiers of the wire: 29-character OpaqueIds and 19-digit profile ids.

An OpaqueId is a type mark, 26 characters that begin with the time, and a 2-character checksum.
Inside the server it is kept canonical (lower case, no hyphens); on the wire it is shown with a
hyphen after every fifth character.
"""

import base64
import secrets
import time
import zlib

NODE = "2"
VERSION = "3"
CONTENT = "4"
UPLOAD = "5"
BLOB = "7"
GENERAL = "a"

_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_LENGTH = 29


def new_id(mark: str) -> str:
    """A fresh canonical id; ids made later sort later (by the millisecond)."""
    stamp = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    body = base64.b32hexencode(stamp + secrets.token_bytes(10)).decode("ascii").lower()[:26]
    return mark + body + _checksum(mark + body)


def canonical(text: str) -> str | None:
    """The canonical form of an id in any accepted spelling, or None when it is no id."""
    bare = text.replace("-", "").lower()
    if len(bare) != _LENGTH or not bare.isascii() or _checksum(bare[:-2]) != bare[-2:]:
        return None
    return bare


def shown(bare: str) -> str:
    """The spelling of the wire; aliases such as `root` stay as they are."""
    if len(bare) != _LENGTH:
        return bare
    return f"{bare[:5]}-{bare[5:10]}-{bare[10:15]}-{bare[15:20]}-{bare[20:25]}-{bare[25:]}"


def new_profile_id() -> str:
    """A decimal string of 19 digits."""
    return str(10**18 + secrets.randbelow(9 * 10**18))


def _checksum(text: str) -> str:
    value = zlib.crc32(text.encode("ascii"))
    return _DIGITS[value >> 5 & 31] + _DIGITS[value & 31]
