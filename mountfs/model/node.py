"""A node as the remote describes it."""

from dataclasses import dataclass
from enum import Enum

from mountfs.model.ids import NodeId, VersionId


class NodeKind(Enum):
    FILE = "file"
    FOLDER = "folder"
    NOTE = "note"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """One answer about one node; every field is what the remote said, nothing is guessed.

    `size` is in bytes and 0 for folders. `sha256` is lower-case hex, or None where the remote did not
    tell or used another algorithm. `modified_ns` and `created_ns` are by the remote's clock, in nanoseconds
    since the epoch, 0 where they are not told.
    `text` is what people may write to a node; see `rules/shared_attributes.py`.
    `trashed` nodes still answer by id and must be treated as deleted.
    """

    id: NodeId
    kind: NodeKind
    name: str
    parent: NodeId
    size: int = 0
    version: VersionId | None = None
    sha256: str | None = None
    modified_ns: int = 0
    locked: bool = False
    trashed: bool = False
    text: str = ""
    created_ns: int = 0
