"""Where in a TOML text the keys are defined. The parser of the standard library keeps no positions."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

KeyPath = tuple[str, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return for each key and table of a valid text the line, from 1, on which it is defined first.

    A table counts as defined by its header, or by the first key in it. Arrays of tables are left out.
    """
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement, is_header in _statements(text):
        paths = list(_paths(statement))
        if is_header:
            table = max(paths, key=len, default=())
        for path in paths if is_header else [(), *paths]:
            whole = path if is_header else table + path
            if whole:
                found.setdefault(whole, line)
    return found


def _statements(text: str) -> Iterator[tuple[int, Mapping[str, Any], bool]]:
    """Give each header and each assignment: its first line, what it says by itself, and whether it is a
    header."""
    begun: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not begun:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            first = number
        begun.append(line)
        try:
            statement = tomllib.loads("\n".join(begun))
        except tomllib.TOMLDecodeError:
            continue  # amid a value of several lines
        yield first, statement, begun[0].lstrip().startswith("[")
        begun = []


def _paths(known: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(known, dict):
        for key, value in known.items():
            yield (*above, key)
            yield from _paths(value, (*above, key))
