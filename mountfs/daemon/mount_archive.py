"""The past of the workspace of a running mount, in the words of the mount: implements `Archive`."""

import hashlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

import trio

from mountfs.daemon.archive import EventState, HitState, Restored, SearchOutcome, TrashState, VersionState
from mountfs.daemon.remedies import MountRemedies
from mountfs.daemon.running import shown
from mountfs.model.effect import Change
from mountfs.model.errors import (
    ContentDamaged,
    FileInUse,
    FileNotFound,
    InvalidArgument,
    IsADirectory,
    OperationNotSupported,
    StorageError,
)
from mountfs.model.history import History, Hit, RemoteEvent, SearchIn, Trashed, Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote
from mountfs.remotes.audited import AuditedRemote
from mountfs.rules import names, version_names
from mountfs.sync.content import FileContent
from mountfs.sync.publisher import Publisher
from mountfs.sync.refresher import Refresher
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree


class ArchiveParts(Protocol):
    """What is asked of the composed mount."""

    remote: Remote
    audited: AuditedRemote
    history: History
    tree: Tree
    content: FileContent
    refresher: Refresher
    publisher: Publisher


class MountArchive:
    def __init__(self, parts: ArchiveParts, remedies: MountRemedies) -> None:
        self._parts = parts
        self._remedies = remedies

    # Versions.

    async def versions(self, path: bytes) -> list[VersionState]:
        inode, node = await self._file(path)
        current = inode.base.version if inode.base is not None else None
        return [
            VersionState(
                id=version.id,
                created_at=_moment(version.created_ns),
                size=version.size,
                name=version.name,
                author=version.author,
                current=version.id == current,
            )
            for version in await self._parts.history.versions(node)
        ]

    async def _file(self, path: bytes) -> tuple[Inode, NodeId]:
        inode = await self._remedies.find(path)
        if not inode.is_file:
            raise IsADirectory(f"{shown(path)} is not a file: only files have versions")
        if inode.node is None:
            raise InvalidArgument(f"{shown(path)} has no version yet: the workspace does not have it")
        return inode, inode.node

    async def fetch_version(self, path: bytes, version: str, file: bytes) -> None:
        _inode, node = await self._file(path)
        chosen = version_names.chosen(await self._parts.history.versions(node), version)
        if chosen.size is None:
            raise OperationNotSupported("the workspace does not tell how large this version is")
        descriptor = await trio.to_thread.run_sync(_open_for_writing, file)
        try:
            await self._copy(node, chosen, chosen.size, descriptor)
        finally:
            os.close(descriptor)

    async def _copy(self, node: NodeId, version: Version, size: int, descriptor: int) -> None:
        digest = hashlib.sha256()
        async with self._parts.remote.read(node, version.id, 0, size) as pieces:
            async for piece in pieces:
                digest.update(piece)
                await trio.to_thread.run_sync(_write, descriptor, piece)
        if version.sha256 is not None and digest.hexdigest() != version.sha256:
            raise ContentDamaged(f"version {version.id} is not what its hash says")

    async def restore(self, path: bytes, version: str | None) -> Restored:
        try:
            inode, node = await self._file(path)
        except FileNotFound:
            if version is not None:
                raise
            return await self.restore_from_trash(shown(path))
        chosen = await self._version_to_restore(inode, node, version)
        async with self._parts.audited.effect(Change("restore version", node=node)) as outcome:
            restored = outcome.of_node(await self._parts.history.restore_version(node, chosen))
        await self._parts.refresher.look_at([node])
        return Restored(shown(inode.path()), restored.version)

    async def _version_to_restore(self, inode: Inode, node: NodeId, wanted: str | None) -> VersionId:
        versions = await self._parts.history.versions(node)
        self._parts.content.notice(inode)
        if inode.content_dirty or inode.unsealed:
            raise FileInUse(
                f"{shown(inode.path())} has changes that the workspace does not have yet;"
                " mountfs sync sends them"
            )
        if wanted is None and len(versions) < 2:
            raise InvalidArgument(f"{shown(inode.path())} has no earlier version")
        return version_names.chosen(versions, wanted or "~1").id

    # Trash.

    async def trashed(self) -> list[TrashState]:
        return [state for _row, state in await self._trash()]

    async def _trash(self) -> list[tuple[Trashed, TrashState]]:
        # What was just removed here is not there yet, and somebody may be after exactly that.
        await self._parts.publisher.send_removals()
        rows = sorted(await self._parts.history.trashed(), key=lambda row: row.deleted_ns, reverse=True)
        return [(row, await self._trash_state(row)) for row in rows]

    async def _trash_state(self, row: Trashed) -> TrashState:
        folder = await self._parts.tree.find_node(row.parent) if row.parent is not None else None
        path = None
        if folder is not None and folder.is_linked:
            path = shown(b"/".join(filter(None, (folder.path(), names.from_remote(row.name)))))
        return TrashState(row.id, row.kind.value, row.name, path, row.size, _moment(row.deleted_ns))

    async def restore_from_trash(self, which: str) -> Restored:
        state = _chosen(await self.trashed(), which)
        node = NodeId(state.id)
        async with self._parts.audited.effect(Change("restore", node=node, name=state.name)) as outcome:
            restored = outcome.of_node(await self._parts.history.restore(node))
        self._parts.tree.gone_at.pop(node, None)
        await self._parts.refresher.look_at([restored.parent, node])
        return Restored(await self._path_of(restored), restored.version)

    async def _path_of(self, node: RemoteNode) -> str:
        folder = await self._parts.tree.find_node(node.parent)
        above = folder.path() if folder is not None and folder.is_linked else b""
        return shown(b"/".join(filter(None, (above, names.from_remote(node.name)))))

    async def purge(self, which: str | None) -> list[TrashState]:
        states = await self.trashed()
        chosen = states if which is None else [_chosen(states, which)]
        for state in chosen:
            node = NodeId(state.id)
            async with self._parts.audited.effect(Change("purge", node=node, name=state.name)):
                await self._parts.history.purge(node)
        return chosen

    # Search and events.

    async def search(self, words: str, among: SearchIn, limit: int) -> SearchOutcome:
        found = await self._parts.history.search(words, among=among, limit=limit)
        hits = [await self._hit_state(hit) for hit in found.hits]
        return SearchOutcome(tuple(hits), found.total, found.complete)

    async def _hit_state(self, hit: Hit) -> HitState:
        kind = hit.kind.value if hit.kind is not None else ""
        path = await self._known_path(hit.node)
        if path is None:
            path = shown(b"/".join(map(names.from_remote, filter(None, hit.path.split("/")))))
        return HitState(hit.node, path, kind, hit.name, hit.relevance)

    async def _known_path(self, node: NodeId | None) -> str | None:
        inode = await self._parts.tree.find_node(node) if node is not None else None
        return shown(inode.path()) if inode is not None and inode.is_linked else None

    async def events(self, path: bytes | None, *, since_ns: int, limit: int) -> list[EventState]:
        node = None
        if path is not None:
            inode = await self._remedies.find(path)
            node = inode.node
            if node is None:
                return []
        told = await self._parts.history.events(node=node, since_ns=since_ns, limit=limit)
        return [await self._event_state(event) for event in told]

    async def _event_state(self, event: RemoteEvent) -> EventState:
        return EventState(
            at=_moment(event.at_ns) or "",
            event=event.event,
            id=event.id,
            node=event.node,
            path=await self._known_path(event.node),
            name=event.name,
            actor=event.actor,
        )


def _chosen(states: Iterable[TrashState], which: str) -> TrashState:
    """Return what is meant; of what lay at one path the last deleted. Raises FileNotFound,
    InvalidArgument."""
    rows = list(states)
    plain = which.replace("-", "").lower()
    for row in rows:
        if row.id == plain:
            return row
    for row in rows:
        if row.path == which:
            return row
    named = [row for row in rows if row.name == which]
    if not named:
        raise FileNotFound(f"{which!r} is neither in the mount nor in the trash")
    if len(named) > 1:
        raise InvalidArgument(f"{len(named)} things in the trash are named {which!r}: name one by its id")
    return named[0]


def _moment(at_ns: int) -> str | None:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).isoformat() if at_ns else None


def _open_for_writing(file: bytes) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(
            f"{shown(file)} cannot be written: {error.strerror}", errno=error.errno or 0
        ) from error


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise StorageError(
            f"the content cannot be written: {error.strerror}", errno=error.errno or 0
        ) from error
