"""Rules of node names, decided purely."""

import itertools
import unicodedata
from collections.abc import Collection, Iterator

from mountfs.server.envelope import invalid_field

MAX_NAME_CODE_POINTS = 255


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
