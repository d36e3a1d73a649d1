"""Identifiers as types of their own, so that an inode number never passes for a node id."""

from typing import Final, NewType

Ino = NewType("Ino", int)
"""Inode number: local to one cache directory, never reused there, stable over restarts."""

NodeId = NewType("NodeId", str)
"""Identifier of a file or folder on the remote, in canonical form (no hyphens, lower case)."""

VersionId = NewType("VersionId", str)
"""Identifier of one state of a node on the remote, in canonical form."""

UploadId = NewType("UploadId", str)
LeaseToken = NewType("LeaseToken", str)
ChangeCursor = NewType("ChangeCursor", str)

ROOT_NODE: Final = NodeId("root")
"""The alias by which the remote knows the top folder of a workspace."""

ROOT_INO: Final = Ino(1)
"""The inode number that the FUSE protocol gives the root of a mount."""
