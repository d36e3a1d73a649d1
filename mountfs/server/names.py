"""Rules of node names, decided purely."""

import itertools
import unicodedata
from collections.abc import Callable, Collection, Iterator
from typing import Final

from mountfs.server.envelope import invalid_field

MAX_NAME_CODE_POINTS = 255

NAME_KEYS: Final[dict[str, Callable[[str], str]]] = {
    "exact": lambda name: name,
    "folded": lambda name: unicodedata.normalize("NFC", name).casefold(),
    "composed": lambda name: unicodedata.normalize("NFC", name),
}
"""By the switch `names`: what of two names must be equal for them to be the same name."""


def check_name(name: str, field: str = "name") -> str:
    """The name itself when a node may carry it; raises a 406 that says what is wrong otherwise."""
    if not name:
        raise invalid_field(field, "a name must not be empty", kind="missing")
    if len(name) > MAX_NAME_CODE_POINTS:
        raise invalid_field(
            field, f"a name has at most {MAX_NAME_CODE_POINTS} characters, this one has {len(name)}"
        )
    if name in (".", ".."):
        raise invalid_field(field, "'.' and '..' are not names")
    if "/" in name:
        raise invalid_field(field, "a name must not contain '/'")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise invalid_field(field, "a name must not contain control characters")
    return name


def cut_name(name: str, most: int) -> str:
    """The name with at most so many characters (0: as it is); a short extension stays."""
    if not most or len(name) <= most:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > most // 2:
        return name[:most]
    return stem[: most - len(extension) - 1] + dot + extension


def check_extension(name: str, restricted: Collection[str], field: str = "name") -> str:
    """The name itself when a file of it may be uploaded; `restricted` are extensions in lower case."""
    _, dot, extension = name.rpartition(".")
    if dot and extension.lower() in restricted:
        raise invalid_field(field, f"files with the extension {extension!r} are refused")
    return name


def numbered_names(name: str, is_folder: bool) -> Iterator[str]:
    """`name (2)`, `name (3)`, ... without end; a file keeps its extension last."""
    stem, dot, extension = name.rpartition(".")
    if is_folder or not stem:
        stem, dot, extension = name, "", ""
    for number in itertools.count(2):
        suffix = f" ({number}){dot}{extension}"
        yield stem[: max(1, MAX_NAME_CODE_POINTS - len(suffix))] + suffix


def check_relative_path(path: str) -> list[str]:
    """The folder names of a batch row's `relative_path`; raises a 406 when the path breaks the rules."""
    if not path:
        return []
    if len(path) > 8192 or path.startswith("/") or not path.endswith("/"):
        raise invalid_field("relative_path", "1 to 8192 characters, no leading slash, a trailing slash")
    return [check_name(part, "relative_path") for part in path[:-1].split("/")]
