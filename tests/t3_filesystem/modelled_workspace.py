"""A workspace as simple as can be: places, contents and versions by node, and a count of what was asked for.

What a workspace would do without being asked to (replace what is at a place, delete what lies below) fails.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from mountfs.model.ids import ROOT_NODE, NodeId, VersionId
from mountfs.model.node import NodeKind, RemoteNode

Contents = dict[str, int | None]
"""By path: the number of a file's content, None for a directory."""

Place = tuple[NodeId, str]


@dataclass
class ModelledWorkspace:
    nodes: dict[NodeId, RemoteNode] = field(default_factory=dict)
    contents: dict[NodeId, int] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    _made: int = 0

    # What a mount, and others, ask for.

    def create(self, parent: NodeId, name: str, content: int | None) -> RemoteNode:
        self._count("create", (parent, name))
        self._made += 1
        kind = NodeKind.FOLDER if content is None else NodeKind.FILE
        node = RemoteNode(NodeId(f"2node{self._made}"), kind, name, parent)
        return self._with_content(node, content)

    def update(self, node: NodeId, content: int) -> RemoteNode:
        self.calls["update"] += 1
        self._made += 1
        return self._with_content(self.nodes[node], content)

    def rename(self, node: NodeId, name: str) -> RemoteNode:
        return self._put("rename", node, (self.nodes[node].parent, name))

    def move(self, node: NodeId, parent: NodeId) -> RemoteNode:
        return self._put("move", node, (parent, self.nodes[node].name))

    def trash(self, node: NodeId) -> None:
        self.calls["trash"] += 1
        assert not self.below(node), "what lies in it would go with it"
        del self.nodes[node]

    def _put(self, call: str, node: NodeId, place: Place) -> RemoteNode:
        self._count(call, place)
        assert not self.lies_in(place[0], node), "a folder cannot be in itself"
        self.nodes[node] = replace(self.nodes[node], parent=place[0], name=place[1])
        return self.nodes[node]

    def _count(self, call: str, place: Place) -> None:
        self.calls[call] += 1
        assert self.at(place) is None, f"{call} goes over what is at {place}"
        assert place[0] == ROOT_NODE or place[0] in self.nodes, "the folder is gone"

    def _with_content(self, node: RemoteNode, content: int | None) -> RemoteNode:
        if content is not None:
            version = VersionId(f"3version{self._made}")
            node = replace(node, version=version, sha256=f"{content:064x}", size=content)
            self.contents[node.id] = content
        self.nodes[node.id] = node
        return node

    # What it has.

    def answer(self, node: NodeId) -> RemoteNode | None:
        return self.nodes.get(node)

    def at(self, place: Place) -> RemoteNode | None:
        return next((node for node in self.nodes.values() if (node.parent, node.name) == place), None)

    def below(self, folder: NodeId) -> list[RemoteNode]:
        return [node for node in self.nodes.values() if node.parent == folder]

    def lies_in(self, folder: NodeId, ancestor: NodeId) -> bool:
        while folder != ancestor:
            if folder not in self.nodes:
                return False
            folder = self.nodes[folder].parent
        return True

    def tree(self, folder: NodeId = ROOT_NODE, prefix: str = "") -> Contents:
        found: Contents = {}
        for node in self.below(folder):
            path = prefix + node.name
            assert path not in found
            found[path] = self.contents[node.id] if node.kind is NodeKind.FILE else None
            found |= self.tree(node.id, f"{path}/")
        return found
