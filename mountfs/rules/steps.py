"""What the remote has to be told next about one entry.

The journal keeps states, not operations: an entry says where it is here, and its base what the remote
confirmed. The difference is the work. So a file that is created and deleted leaves no work, a chain of
renames is one, and a temporary file renamed over its target is one new version of the target.
"""

from dataclasses import dataclass
from enum import Enum

from mountfs.model.entry import Base, EntryKind
from mountfs.model.ids import NodeId


class Step(Enum):
    NOTHING = "nothing"
    WAIT_FOR_PARENT = "wait for the parent folder"
    WAIT_FOR_CLOSE = "wait for the file to be closed"
    CREATE_FOLDER = "create folder"
    UPLOAD_NEW = "upload new file"
    UPLOAD_VERSION = "upload new version"
    MOVE = "move"
    RENAME = "rename"
    TRASH = "delete"
    DESCRIBE = "write the free text"


@dataclass(frozen=True, slots=True)
class Situation:
    """`parent_node` is None while the remote does not know the parent, `linked` false for an entry that
    has no name here any more."""

    kind: EntryKind
    linked: bool
    parent_node: NodeId | None
    name: str
    base: Base | None
    content_dirty: bool
    unsealed: bool
    text: str | None = None
    """The free text that the remote is to have; None: whatever it has."""
    stays_here: bool = False
    """Its path is one that never travels. What the remote has at this very path is an ordinary entry all the
    same; what it has elsewhere was moved here, and leaves the remote."""


def next_step(entry: Situation) -> Step:
    """Return the one step that brings the remote closer to what is here."""
    if entry.kind is EntryKind.SPECIAL:
        return Step.NOTHING
    if not entry.linked:
        return Step.NOTHING if entry.base is None else Step.TRASH
    if entry.stays_here and not _is_at_home(entry):
        return Step.NOTHING if entry.base is None else Step.TRASH
    if entry.parent_node is None:
        return Step.WAIT_FOR_PARENT
    if entry.base is None:
        return _creation(entry)
    if entry.base.parent != entry.parent_node:
        return Step.MOVE
    if entry.base.name != entry.name:
        return Step.RENAME
    is_told = entry.text in (None, entry.base.text)
    if entry.content_dirty:
        if entry.kind is EntryKind.SYMLINK and not is_told:
            # The content shows as a link only where the text has its target.
            return Step.DESCRIBE
        return Step.WAIT_FOR_CLOSE if entry.unsealed else Step.UPLOAD_VERSION
    return Step.NOTHING if is_told else Step.DESCRIBE


def _is_at_home(entry: Situation) -> bool:
    """Tell whether the remote has it where it is here."""
    return entry.base is not None and (entry.base.parent, entry.base.name) == (entry.parent_node, entry.name)


def _creation(entry: Situation) -> Step:
    if entry.kind is EntryKind.DIRECTORY:
        return Step.CREATE_FOLDER
    return Step.WAIT_FOR_CLOSE if entry.unsealed else Step.UPLOAD_NEW
