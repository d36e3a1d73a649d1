"""Names: what programs here may use, how the remote is told, and what a conflict copy is called."""

from datetime import datetime
from typing import Final

from mountfs.model.errors import FileExists, InvalidArgument, NameRefused, NameTooLong

NAME_MAX_BYTES: Final = 255
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
    """Return the name as the remote is told. Raises NameRefused where the remote would not keep it."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NameRefused(f"the name {name!r} is not UTF-8, which the workspace cannot store") from error
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise NameRefused(f"the name {name!r} has control characters, which the workspace refuses")
    return text


def check_suffix(name: str, refused: frozenset[str]) -> None:
    """Raise NameRefused where the remote takes no file with this ending."""
    suffix = name.rpartition(".")[2].lower()
    if "." in name and suffix in refused:
        raise NameRefused(f"the workspace takes no files that end in .{suffix}")


def is_safe_from_remote(name: str) -> bool:
    """Tell whether a name that the remote sent may appear in the mount: it can never leave its folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return False
    try:
        return len(name.encode("utf-8")) <= NAME_MAX_BYTES
    except UnicodeEncodeError:
        return False


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
