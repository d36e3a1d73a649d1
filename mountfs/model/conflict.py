"""Where two sides changed one thing: what is kept of it until somebody resolves it."""

from dataclasses import dataclass
from enum import Enum

from mountfs.model.entry import Base
from mountfs.model.ids import Ino


class ConflictKind(Enum):
    """What this side did / what the other side did. The words are on disk: never change one."""

    EDIT_EDIT = "edit/edit"
    EDIT_DELETE = "edit/delete"
    DELETE_EDIT = "delete/edit"
    CREATE_CREATE = "create/create"
    RENAME_CREATE = "rename/create"
    RENAME_RENAME = "rename/rename"


class Keep(Enum):
    """What a resolution leaves."""

    OURS = "ours"
    THEIRS = "theirs"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict that nobody has resolved yet.

    `ino` is the entry that holds our side: the conflict copy, or the file itself where ours became the newest
    version, came back, or kept its name. After delete/edit, where ours is that there is no file, it is
    theirs. `path`: where it arose, relative to the mount. `noticed_ns`: since the epoch. `theirs` is what the
    other side made of it, None where that is a deletion. `base` is what both began from, None where there was
    nothing. The bytes of both are in the version history of their nodes.
    """

    ino: Ino
    kind: ConflictKind
    path: bytes
    noticed_ns: int
    theirs: Base | None = None
    base: Base | None = None
