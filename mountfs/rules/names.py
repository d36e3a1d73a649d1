"""Names: what programs here may use, how the remote is told, and what a conflict copy is called."""

import unicodedata
from collections.abc import Collection
from datetime import datetime
from typing import Final

from mountfs.model.errors import FileExists, InvalidArgument, NameRefused, NameTooLong

NAME_MAX_BYTES: Final = 255
ESCAPES: Final = 0xF000
"""Behind this lie the characters that stand for bytes which the remote would refuse."""

MARKS: Final = 0xF100
"""Behind this lie the characters that tell names apart which the remote may take for one."""

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


def to_remote(name: bytes, mark: int = 0) -> str:
    """Return the name as the remote has it: the same text, or an escaped one where it would refuse that.

    With a mark (to 255) it is another one than all that the remote may take for the same: a character of the
    private use area behind it, the number of the mark behind U+F100.

    Control characters, and bytes that are no UTF-8, become one character of the private use area each: the
    number of the byte behind U+F000. So a name gets no longer, in characters, than it is in bytes. Where a
    text happens to look like an escaped or marked name, its own characters of that kind are escaped as well.
    """
    return _unmarked(name) + (chr(MARKS + mark) if mark else "")


def _unmarked(name: bytes) -> str:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return _escaped(name)
    if text.isascii() and text.isprintable():
        return text
    if any(map(_is_control, text)) or _is_mark(text[-1:]) or _plain_from_remote(text) != name:
        return _escaped(name)
    return text


def mark_of(text: str) -> int:
    """Return the mark of a name as the remote has it, 0 where it has none."""
    rest = text[:-1]
    if not rest or not _is_mark(text[-1]) or _unmarked(_plain_from_remote(rest)) != rest:
        return 0
    return ord(text[-1]) - MARKS


def free_mark(taken: Collection[int]) -> int:
    """Return the smallest mark that none of the others has. Raises NameRefused where all are taken."""
    for mark in range(0x100):
        if mark not in taken:
            return mark
    raise NameRefused("256 names that the workspace may take for one are in this folder")


def folded(name: bytes) -> str:
    """Return what a name has in common with all that the remote may take for it: neither case nor the way in
    which Unicode writes a letter."""
    return folded_text(name.decode("utf-8", "surrogateescape"))


def folded_text(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def is_folded(name: bytes) -> bool:
    """Tell whether a name is as `folded` would have it."""
    if name.isascii():
        return name == name.lower()
    return folded(name).encode("utf-8", "surrogateescape") == name


def check_suffix(name: str, refused: frozenset[str]) -> None:
    """Raise NameRefused where the remote takes no file with this ending."""
    suffix = name.rpartition(".")[2].lower()
    if "." in name and suffix in refused:
        raise NameRefused(f"the workspace takes no files with the extension .{suffix}")


def from_remote(text: str) -> bytes:
    """Undo `to_remote`; what it never returns is taken as it is."""
    if text.isascii():  # most are, and there are many: neither escapes nor marks
        return text.encode()
    return _plain_from_remote(text[:-1] if mark_of(text) else text)


def _plain_from_remote(text: str) -> bytes:
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
        if _is_control(character) or _is_special(character) or "\udc80" <= character <= "\udcff"
        else character
        for character in name.decode("utf-8", "surrogateescape")
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def _is_escape(character: str) -> bool:
    return ESCAPES < ord(character) <= ESCAPES + 0xFF


def _is_mark(character: str) -> bool:
    return chr(MARKS) < character <= chr(MARKS + 0xFF)


def _is_special(character: str) -> bool:
    """Tell whether it could be taken for an escape or a mark."""
    return ESCAPES < ord(character) <= MARKS + 0xFF


def _is_plain(name: bytes) -> bool:
    """Tell whether it is a name in its folder at all."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def is_safe_from_remote(text: str) -> bool:
    """Tell whether a name that the remote sent may appear in the mount: it can never leave its folder."""
    if text.isascii():
        return _is_plain(text.encode()) and len(text) <= NAME_MAX_BYTES and text.isprintable()
    if any("\ud800" <= character <= "\udfff" or _is_control(character) for character in text):
        return False
    name = from_remote(text)
    return _is_plain(name) and len(name) <= NAME_MAX_BYTES


def suffix_of(name: bytes) -> bytes:
    """Return what programs go by to know the kind of a file, with its dot; nothing where there is none."""
    stem, dot, suffix = name.rpartition(b".")
    return dot + suffix if stem and len(suffix) <= SUFFIX_MAX_BYTES else b""


def conflict_name(name: bytes, host: str, when: datetime, attempt: int = 0) -> bytes:
    """Return the name of the copy that keeps our side: `report (conflict HOST DATE).txt`."""
    suffix = suffix_of(name)
    stem = name.removesuffix(suffix)
    number = f" {attempt + 1}" if attempt else ""
    mark = (
        f" (conflict {_cut(host.encode(), HOST_MAX_BYTES).decode()} {when:%Y-%m-%d %H%M%S}{number})".encode()
    )
    return _cut(stem, NAME_MAX_BYTES - len(mark) - len(suffix)) + mark + suffix


def _cut(name: bytes, room: int) -> bytes:
    """Shorten a name, never in the middle of a character."""
    if len(name) <= room:
        return name
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return name[:room]
    return name[:room].decode("utf-8", "ignore").encode("utf-8")
