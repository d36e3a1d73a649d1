"""What somebody can do about conflicts and about what cannot be sent: implements `Remedies`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import trio

from mountfs.daemon.running import ConflictState, ExtractedSide, FailedUpload, SyncOutcome, shown
from mountfs.model.conflict import Conflict, ConflictKind, Keep
from mountfs.model.errors import FileNotFound, InvalidArgument
from mountfs.model.ids import ROOT_INO
from mountfs.rules import names
from mountfs.sync.conflict_resolution import ConflictResolution
from mountfs.sync.giving_up import GivingUp
from mountfs.sync.publisher import Publisher
from mountfs.sync.sender import Sender
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree


class RemedyParts(Protocol):
    """What is asked of the composed mount."""

    tree: Tree
    sender: Sender
    publisher: Publisher
    resolution: ConflictResolution
    giving_up: GivingUp


class MountRemedies:
    def __init__(self, parts: RemedyParts) -> None:
        self._parts = parts

    async def find(self, path: bytes) -> Inode:
        """Return the entry at a path. Raises FileNotFound."""
        tree = self._parts.tree
        inode = tree.get(ROOT_INO)
        for name in filter(None, path.split(b"/")):
            await tree.ensure_loaded(inode)
            child = inode.children.get(name)
            if child is None:
                raise FileNotFound(f"{shown(path)} is not in the mount")
            inode = child
        return inode

    # Conflicts.

    async def conflicts(self, path: bytes | None) -> list[ConflictState]:
        top = await self.find(path) if path else None
        found = []
        for conflict in sorted(self._parts.tree.conflicts.values(), key=lambda each: each.noticed_ns):
            ours = self._parts.tree.get(conflict.ino)
            theirs = await self._parts.resolution.their_entry(conflict)
            sides = [side for side in (ours, theirs) if side is not None]
            if top is None or any(side.is_below(top) for side in sides):
                found.append(_state(conflict, ours, theirs))
        return found

    async def resolve(self, path: bytes, keep: Keep) -> list[str]:
        return await self._parts.resolution.resolve(await self.find(path), keep)

    async def extract(self, path: bytes, folder: str) -> list[ExtractedSide]:
        sides = await self._parts.resolution.extract(await self.find(path), folder)
        return [ExtractedSide(side, shown(file), shown(why)) for side, file, why in sides]

    # What cannot be sent.

    async def retry(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        publisher = self._parts.publisher
        top = await self._find_parked(path) if path else None
        failed = [inode for inode in publisher.pending_below(top) if inode.failure is not None]
        self._parts.sender.retry(failed)
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
            await publisher.settle(failed)
        return self._outcome([inode for inode in failed if inode.pending is not None])

    async def discard(self, path: bytes, folder: str | None) -> list[str]:
        inode = await self._find_parked(path)
        if inode.failure is None:
            raise InvalidArgument(
                f"{shown(path)} has not failed: only what mountfs status lists as failed can be discarded"
            )
        saved = await self._parts.giving_up.discard(inode, folder)
        await self._parts.tree.journal.committed()
        return saved

    async def _find_parked(self, path: bytes) -> Inode:
        """Like `find`, also of what was removed here, by the path that it has on the workspace."""
        try:
            return await self.find(path)
        except FileNotFound:
            for inode in self._parts.tree.pending.values():
                if not inode.is_linked and self._path(inode) == path:
                    return inode
            raise

    def _path(self, inode: Inode) -> bytes:
        """Return the path here, of what was removed here the one that it has on the workspace."""
        if inode.is_linked or inode.base is None:
            return inode.path()
        parent = self._parts.tree.by_node.get(inode.base.parent)
        above = self._path(parent) + b"/" if parent is not None and not parent.is_root else b""
        return above + names.from_remote(inode.base.name)

    def failed(self, inode: Inode) -> FailedUpload:
        """Describe an entry that cannot be sent."""
        hint = self._parts.sender.hints.get(inode.ino, "")
        return FailedUpload(shown(self._path(inode)), inode.failure or "", hint)

    def sync_outcome(self, top: Inode | None) -> SyncOutcome:
        """Tell what is left at or below `top`."""
        return self._outcome(self._parts.publisher.pending_below(top))

    def _outcome(self, left: Sequence[Inode]) -> SyncOutcome:
        failed = tuple(self.failed(inode) for inode in left if inode.failure is not None)
        return SyncOutcome(confirmed=not left, remaining=len(left), failed=failed)


def _state(conflict: Conflict, ours: Inode, theirs: Inode | None) -> ConflictState:
    noticed = datetime.fromtimestamp(conflict.noticed_ns // 1_000_000_000, UTC)
    deleted_here = conflict.kind is ConflictKind.DELETE_EDIT
    if deleted_here:
        theirs = ours
    return ConflictState(
        kind=conflict.kind.value,
        arose_at=shown(conflict.path),
        noticed_at=noticed.isoformat(),
        ours=None if deleted_here else shown(ours.path()),
        theirs=shown(theirs.path()) if theirs is not None else None,
        their_version=conflict.theirs.version if conflict.theirs is not None else None,
        base_version=conflict.base.version if conflict.base is not None else None,
    )
