"""Names: what programs here may use, how the remote is told, and what a conflict copy is called."""

import unicodedata
from datetime import datetime
from typing import Final

from mountfs.model.errors import FileExists, InvalidArgument, NameRefused, NameTooLong

NAME_MAX_BYTES: Final = 255
ESCAPES: Final = 0xF000
"""Behind this lie the characters that stand for bytes which the remote would refuse."""

HOST_MAX_BYTES: Final = 64
SUFFIX_MAX_BYTES: Final = 32
"""What is longer behind the last dot is no suffix that programs go by."""


def check_local(name: bytes) -> None:
    """Raise unless a new entry may have this name here."""
    if name in (b".", b".."):
        raise FileExists()
    if not name or b"/" in name or b"\0" in name:
        raise InvalidArgument()
    if len(name) > NAME_MAX_BYTES:
        raise NameTooLong()


def to_remote(name: bytes) -> str:
    """Return the name as the remote has it: the same text, or an escaped one where it would refuse that.

    Control characters, and bytes that are no UTF-8, become one character of the private use area each: the
    number of the byte behind U+F000. So a name gets no longer, in characters, than it is in bytes. Where a
    text happens to look like an escaped name, its own characters of that kind are escaped as well.
    """
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return _escaped(name)
    if any(map(_is_control, text)) or from_remote(text) != name:
        return _escaped(name)
    return text


def check_suffix(name: str, refused: frozenset[str]) -> None:
    """Raise NameRefused where the remote takes no file with this ending."""
    suffix = name.rpartition(".")[2].lower()
    if "." in name and suffix in refused:
        raise NameRefused(f"the workspace takes no files with the extension .{suffix}")


def from_remote(text: str) -> bytes:
    """Undo `to_remote`; what it never returns is taken as it is."""
    if any(map(_is_escape, text)):
        name = b"".join(
            bytes([ord(character) - ESCAPES]) if _is_escape(character) else _encoded(character)
            for character in text
        )
        if _is_plain(name) and len(name) <= NAME_MAX_BYTES and _escaped(name) == text:
            return name
    return _encoded(text)


def _escaped(name: bytes) -> str:
    # Bytes that are no UTF-8 come as characters from U+DC80 on, the number of the byte behind U+DC00.
    return "".join(
        "".join(chr(ESCAPES + byte) for byte in character.encode("utf-8", "surrogateescape"))
        if _is_control(character) or _is_escape(character) or "\udc80" <= character <= "\udcff"
        else character
        for character in name.decode("utf-8", "surrogateescape")
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def _is_escape(character: str) -> bool:
    return ESCAPES < ord(character) <= ESCAPES + 0xFF


def _is_plain(name: bytes) -> bool:
    """Tell whether it is a name in its folder at all."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def collision_key(name: bytes) -> str:
    """Return what two names have in common that a remote might take for one."""
    return unicodedata.normalize("NFC", to_remote(name)).casefold()


def is_safe_from_remote(text: str) -> bool:
    """Tell whether a name that the remote sent may appear in the mount: it can never leave its folder."""
    if any("\ud800" <= character <= "\udfff" or _is_control(character) for character in text):
        return False
    name = from_remote(text)
    return _is_plain(name) and len(name) <= NAME_MAX_BYTES


def conflict_name(name: bytes, host: str, when: datetime, attempt: int = 0) -> bytes:
    """Return the name of the copy that keeps our side: `report (conflict HOST DATE).txt`."""
    stem, dot, suffix = name.rpartition(b".")
    if not stem or len(suffix) > SUFFIX_MAX_BYTES:
        stem, dot, suffix = name, b"", b""
    number = f" {attempt + 1}" if attempt else ""
    mark = (
        f" (conflict {_cut(host.encode(), HOST_MAX_BYTES).decode()} {when:%Y-%m-%d %H%M%S}{number})".encode()
    )
    room = NAME_MAX_BYTES - len(mark) - len(dot) - len(suffix)
    return _cut(stem, room) + mark + dot + suffix


def _cut(name: bytes, room: int) -> bytes:
    """Shorten a name, never in the middle of a character."""
    if len(name) <= room:
        return name
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return name[:room]
    return name[:room].decode("utf-8", "ignore").encode("utf-8")
