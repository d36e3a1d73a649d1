"""What another host needs of a file's attributes, in the free text that the workspace keeps with a node.

The last line of the text is ours where it is `[mountfs WORDS]`; what stands before it is somebody else's, and
stays as it is. The words, apart by blanks: `x`, the file may be executed. Words that are not known here stay.
"""

import re
from typing import Final

TEXT_MOST: Final = 2048
"""The longest text that the workspace takes, in characters."""

EXECUTABLE: Final = "x"

_OURS: Final = re.compile(r"(?:^|\n)\[mountfs((?: [^ \]\n]+)*)\]$")


def is_executable(text: str) -> bool:
    return EXECUTABLE in _words(text)


def with_executable(text: str, executable: bool) -> str:
    """Return the text that says so; the text as it is where ours does not fit in beside the other's."""
    if is_executable(text) == executable:
        return text
    words = [word for word in _words(text) if word != EXECUTABLE]
    if executable:
        words.append(EXECUTABLE)
    theirs = _OURS.sub("", text)
    if not words:
        return theirs
    ours = f"[mountfs {' '.join(words)}]"
    combined = f"{theirs}\n{ours}" if theirs else ours
    return combined if len(combined) <= TEXT_MOST else text


def _words(text: str) -> list[str]:
    found = _OURS.search(text)
    return found[1].split() if found else []
