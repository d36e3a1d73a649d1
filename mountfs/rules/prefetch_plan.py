"""When to fetch the small files of a folder before anybody asks for them, and which."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from mountfs.model.ids import Ino

SMALL_FILE_BYTES: Final = 256 * 1024
BATCH_BYTES: Final = 32 * 1024 * 1024

READS_BEFORE: Final = 3
"""So many different files of a folder are waited for before its others are fetched."""

FIRST_BATCH_FILES: Final = 32
"""Each further batch of a folder is twice as large, so that what is fetched in vain stays in proportion."""

FOLDERS_WATCHED: Final = 64


@dataclass(slots=True)
class _Folder:
    waited_for: set[Ino] = field(default_factory=set)
    batch_files: int = FIRST_BATCH_FILES


class SiblingReads:
    """Follows which small files were waited for; remembers the folders that were read last."""

    def __init__(self) -> None:
        self._folders: OrderedDict[Ino, _Folder] = OrderedDict()

    def waited(self, folder: Ino, file: Ino) -> int:
        """Note that a reader waits for the file; return how many of its siblings to fetch now, mostly 0."""
        seen = self._folders.setdefault(folder, _Folder())
        self._folders.move_to_end(folder)
        if len(self._folders) > FOLDERS_WATCHED:
            self._folders.popitem(last=False)
        seen.waited_for.add(file)
        if len(seen.waited_for) < READS_BEFORE:
            return 0
        seen.waited_for.clear()
        count = seen.batch_files
        seen.batch_files *= 2
        return count


def choose(
    siblings: Iterable[tuple[Ino, int]], current: Ino, *, most_files: int, most_bytes: int
) -> list[Ino]:
    """Return which siblings, given with their sizes, to fetch: those listed behind `current` first."""
    order = sorted(siblings, key=lambda sibling: (sibling[0] < current, sibling[0]))
    chosen: list[Ino] = []
    for ino, size in order:
        if len(chosen) == most_files or size > most_bytes:
            break
        most_bytes -= size
        chosen.append(ino)
    return chosen
