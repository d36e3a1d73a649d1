"""What a workspace in memory remembers beside its present state."""

from collections.abc import Iterator, Sequence
from itertools import count

from mountfs.model.errors import NodeNotFound
from mountfs.model.history import Hit, Hits, RemoteEvent, SearchIn, Trashed, Version
from mountfs.model.ids import ROOT_NODE, NodeId, VersionId
from mountfs.model.node import NodeKind
from mountfs.remotes.memory_records import StoredNode

ACTOR = "somebody"


class Past:
    """Of the nodes of one workspace: `nodes` and `children` are those of `MemoryWorkspace` itself."""

    def __init__(self, nodes: dict[NodeId, StoredNode], children: dict[NodeId, dict[str, NodeId]]) -> None:
        self._nodes = nodes
        self._children = children
        self._numbers = count(1)
        self._events: list[RemoteEvent] = []

    def note(self, stored: StoredNode, happened: str, at_ns: int) -> None:
        """Keep that something happened to the node."""
        event = f"workspace_storage_{stored.kind.value}_{happened}"
        number = str(next(self._numbers))
        self._events.append(RemoteEvent(number, event, at_ns, stored.id, stored.name, ACTOR))

    def versions(self, node: NodeId) -> list[Version]:
        """The newest first. Raises NodeNotFound."""
        told = [
            Version(each.id, each.name, len(each.content), each.sha256, each.created_ns, ACTOR)
            for each in self._known(node).versions
        ]
        return told[::-1]

    def content(self, node: NodeId, version: VersionId) -> bytes:
        found = self._known(node).version(version)
        if found is None:
            raise NodeNotFound(f"{node}: no version {version}")
        return found.content

    def trashed(self) -> list[Trashed]:
        return [
            Trashed(
                node.id,
                node.kind,
                node.name,
                node.parent,
                len(node.versions[-1].content) if node.versions else 0,
                node.trashed_ns,
            )
            for node in self._nodes.values()
            if node.trashed
        ]

    def in_trash(self, node: NodeId) -> StoredNode:
        """Raises NodeNotFound, also for what is not in the trash itself."""
        stored = self._known(node)
        if not stored.trashed:
            raise NodeNotFound(f"{stored.name!r} is not in the trash")
        return stored

    def purge(self, node: NodeId) -> None:
        """What was deleted by itself below it stays in the trash."""
        pending = [self.in_trash(node).id]
        while pending:
            gone = pending.pop()
            pending += self._children.pop(gone, {}).values()
            del self._nodes[gone]

    def search(self, words: str, among: SearchIn, limit: int) -> Hits:
        """Whatever has the words in it as they are, names before contents."""
        wanted = words.casefold()
        rows = [(path, node) for path, node in self.walk() if node.kind is not NodeKind.NOTE]
        by_name = [row for row in rows if wanted in row[1].name.casefold()]
        by_text = [row for row in rows if row[1].versions and wanted.encode() in row[1].versions[-1].content]
        found = {SearchIn.NAMES: by_name, SearchIn.CONTENT: by_text}.get(among, by_name + by_text)
        unique = {node.id: Hit(node.id, node.kind, node.name, path, 1.0) for path, node in found}
        return Hits(tuple(unique.values())[:limit], len(unique), complete=True)

    def events(self, node: NodeId | None, since_ns: int, limit: int) -> Sequence[RemoteEvent]:
        told = [one for one in self._events if node in (None, one.node) and one.at_ns >= since_ns]
        return told[-limit:]

    def _known(self, node: NodeId) -> StoredNode:
        stored = self._nodes.get(node)
        if stored is None:
            raise NodeNotFound(f"{node}: no such node")
        return stored

    def walk(self) -> Iterator[tuple[str, StoredNode]]:
        pending = [("", ROOT_NODE)]
        while pending:
            prefix, folder = pending.pop()
            for name, child in self._children[folder].items():
                yield prefix + name, self._nodes[child]
                if child in self._children:
                    pending.append((f"{prefix}{name}/", child))
