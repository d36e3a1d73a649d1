"""The tree of a mount with its journal, and a sender that does what the rules say on a modelled workspace.

Nothing here waits for anything: a step of a test is one call. Content is a number.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from mountfs.model.entry import EntryKind
from mountfs.model.filesystem import RenameFlag
from mountfs.model.ids import ROOT_INO, Ino, NodeId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.rules.relocation import RenameTo, next_call, spare_name
from mountfs.rules.steps import Situation, Step, next_step
from mountfs.storage.journal import SqliteJournal
from mountfs.tree import local_changes
from mountfs.tree.conflicts import Conflicts, base_of
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree
from tests.loop_thread import LoopThread
from tests.t3_filesystem.modelled_workspace import Contents, ModelledWorkspace
from tests.t3_filesystem.recording_notifier import RecordingNotifier

OWNER = (1000, 1000)
FILE_MODE, FOLDER_MODE = 0o100644, 0o040755


class NothingCached:
    """Implements `CachedContent` where a clean file's content is what the workspace has of its version."""

    def notice(self, inode: Inode) -> None: ...

    def supersede(self, inode: Inode, node: RemoteNode, arrived: object, *, anew: bool = False) -> None:
        raise AssertionError("no program has a file open directly")

    superseded = disowned = replaced = relabelled = dropped = notice


class ModelledMount:
    """`unsent` has the content of each entry that is dirty; it outlives a restart as a file would."""

    def __init__(self, workspace: ModelledWorkspace) -> None:
        self._workspace = workspace
        self._temporary = tempfile.TemporaryDirectory()
        self._loop = LoopThread()
        self.unsent: dict[Ino, int] = {}
        self.spares = 0
        """How often an entry got a spare name on its way."""
        self.noticed = 0
        """How many conflicts the runs before this one noticed."""
        self._loop.run(self._start)

    async def _start(self) -> None:
        self._journal = SqliteJournal(Path(self._temporary.name, "journal.db"), workspace="4")
        self._journal.start()
        self.tree = Tree(self._journal, uid=OWNER[0], gid=OWNER[1])
        self.tree.shares_attributes = False
        await self.tree.load(await self._journal.pending(), await self._journal.conflicts())
        kernel = RecordingNotifier()
        self.conflicts = Conflicts(self.tree, kernel, host="here")
        self.changes = RemoteChanges(self.tree, kernel, NothingCached(), self.conflicts)
        while waiting := [inode for inode in self.tree.inodes.values() if not inode.loaded]:
            await self.tree.ensure_loaded(waiting[0])
        for inode in self.tree.inodes.values():
            if inode.content_dirty and inode.ino in self.unsent:
                # As recovery finds it by the file.
                inode.size = self.unsent[inode.ino]

    def restart(self) -> None:
        """Go on with what the journal has."""
        self.noticed += self.conflicts.noticed
        self._loop.run(self._restart)

    async def _restart(self) -> None:
        await self._journal.aclose()
        await self._start()

    def close(self) -> None:
        self._loop.run(self._journal.aclose)
        self._loop.close()
        self._temporary.cleanup()

    # What programs do and see.

    def find(self, path: str) -> Inode | None:
        inode: Inode | None = self.tree.inodes[ROOT_INO]
        for name in path.split("/"):
            inode = inode.children.get(name.encode()) if inode is not None and name else inode
        return inode

    def _place(self, path: str) -> tuple[Inode, bytes]:
        above, _, name = path.rpartition("/")
        parent = self.find(above)
        assert parent is not None
        return parent, name.encode()

    def write(self, path: str, content: int, *, closes: bool = True) -> None:
        def write() -> None:
            inode = self.find(path) or local_changes.create(
                self.tree, *self._place(path), EntryKind.FILE, FILE_MODE, OWNER
            )
            local_changes.begin_modification(self.tree, inode)
            self.unsent[inode.ino] = inode.size = content
            if closes:
                local_changes.seal(self.tree, inode)

        self._loop.call(write)

    def close_all(self) -> None:
        def seal() -> None:
            for inode in list(self.tree.inodes.values()):
                local_changes.seal(self.tree, inode)

        self._loop.call(seal)

    def mkdir(self, path: str) -> None:
        self._loop.call(
            local_changes.create, self.tree, *self._place(path), EntryKind.DIRECTORY, FOLDER_MODE, OWNER
        )

    def remove(self, path: str, *, directory: bool) -> None:
        self._loop.call(local_changes.remove, self.tree, *self._place(path), directory=directory)

    def rename(self, path: str, other: str, flag: RenameFlag = RenameFlag.REPLACE) -> None:
        self._loop.call(local_changes.rename, self.tree, *self._place(path), *self._place(other), flag)

    def content(self, inode: Inode) -> int | None:
        if inode.is_directory:
            return None
        return self.unsent[inode.ino] if inode.content_dirty else inode.size

    def contents(self, folder: Inode | None = None, prefix: str = "") -> Contents:
        found: Contents = {}
        for name, child in (folder or self.tree.inodes[ROOT_INO]).children.items():
            path = prefix + name.decode()
            found[path] = self.content(child)
            found |= self.contents(child, f"{path}/") if child.is_directory else {}
        return found

    def dirty(self) -> dict[Ino, int]:
        """What was written and not sent, of what still has a name."""
        return {
            inode.ino: self.unsent[inode.ino]
            for inode in self.tree.inodes.values()
            if inode.is_linked and inode.is_file and inode.content_dirty
        }

    # What the mount hears.

    def hear(self, node: NodeId) -> None:
        """Merge what the workspace says of this node, and of what is in its way."""
        self._loop.call(self._merge, node)

    def compare_all(self) -> None:
        """Merge what the workspace says of every node that it or the mount knows, folders first."""

        def compare() -> None:
            for node in [node for node in self.tree.by_node if node not in self._workspace.nodes]:
                if node in self.tree.by_node and not self.tree.by_node[node].is_root:
                    self._merge(node)
            self._merge_below(self.tree.inodes[ROOT_INO].node)

        self._loop.call(compare)

    def _merge_below(self, folder: NodeId | None) -> None:
        assert folder is not None
        for node in self._workspace.below(folder):
            self._merge(node.id)
            self._merge_below(node.id)

    def _merge(self, node: NodeId) -> None:
        chain, seen = [node], {node}
        while chain:
            answer = self._workspace.answer(chain[-1])
            known = self.tree.by_node.get(chain[-1])
            in_the_way = None
            if answer is not None:
                in_the_way = self.changes.apply(answer)
                if known is None and answer.id in self.tree.by_node and in_the_way is None:
                    self._merge_below(answer.id)
            elif known is not None:
                self.changes.remove(known)
            if in_the_way is None:
                chain.pop()
            elif in_the_way in chain:
                self.changes.vacate(in_the_way)
            else:
                assert in_the_way not in seen, "what was looked at is not in the way any more"
                seen.add(in_the_way)
                chain.append(in_the_way)

    # What the mount sends.

    def send(self, inode: Inode) -> bool:
        """Do the next step of the entry; False where it has to wait."""
        return self._loop.call(self._send, inode)

    def send_all(self) -> None:
        """Send until nothing is left, in the order of the queue."""
        for _ in range(200):
            waiting = list(self.tree.pending.values())
            if not waiting:
                return
            went = [self.send(inode) for inode in waiting if inode.ino in self.tree.pending]
            if not any(went):
                assert self._loop.call(self._untie, waiting), f"nothing can go on: {waiting}"
        raise AssertionError(f"it does not come to an end: {self.tree.pending}")

    def _send(self, inode: Inode) -> bool:
        base = inode.base
        if base is not None and not inode.is_root and base.node not in self._workspace.nodes:
            self.changes.remove(inode)
            return True
        situation = self.tree.situation(inode)
        parent = situation.parent_node
        if inode.is_linked and parent is not None and not self._has_folder(parent):
            self.changes.remove(self.tree.by_node[parent])
            return True
        match next_step(situation):
            case Step.NOTHING:
                self.tree.mark_clean(inode)
                self.tree.save(inode)
                self.tree.drop_if_unneeded(inode)
            case Step.WAIT_FOR_CLOSE | Step.WAIT_FOR_PARENT:
                return False
            case Step.TRASH:
                return self._trash(inode)
            case Step.UPLOAD_VERSION:
                self._update(inode)
            case step:
                assert parent is not None
                theirs = self._workspace.at((parent, situation.name))
                if theirs is not None:
                    return self._settle_taken(inode, theirs)
                if step in (Step.CREATE_FOLDER, Step.UPLOAD_NEW):
                    self._confirm(inode, self._workspace.create(parent, situation.name, self.content(inode)))
                else:
                    return self._relocate(inode, situation)
        return True

    def _has_folder(self, folder: NodeId) -> bool:
        return self.tree.by_node[folder].is_root or folder in self._workspace.nodes

    def _confirm(self, inode: Inode, node: RemoteNode) -> None:
        self.tree.set_base(inode, base_of(node))
        inode.content_dirty = False
        self.changes.rivals.pop(inode.ino, None)
        self.tree.save(inode)

    def _update(self, inode: Inode) -> None:
        assert inode.base is not None
        theirs = self._workspace.nodes[inode.base.node]
        if theirs.version == inode.base.version:
            content = self.content(inode)
            assert content is not None
            self._confirm(inode, self._workspace.update(theirs.id, content))
        else:
            self.conflicts.step_aside(inode, theirs)
            self._merge(theirs.id)

    def _settle_taken(self, inode: Inode, theirs: RemoteNode) -> bool:
        """As the executor does where the remote has the name already."""
        known = self.tree.by_node.get(theirs.id)
        if known is inode:
            self._place_is(inode, theirs)
            return True
        if known is not None and known.pending is not None:
            return False
        if inode.is_directory and inode.base is None and theirs.kind is NodeKind.FOLDER:
            self.changes.give_node_to(inode, theirs)
            self.tree.save(inode)
            self._merge_below(theirs.id)
            return True
        self.conflicts.step_aside(inode, theirs)
        self._merge(theirs.id)
        return True

    def _relocate(self, inode: Inode, situation: Situation) -> bool:
        base, parent = inode.base, situation.parent_node
        assert base is not None
        assert parent is not None
        if self._workspace.lies_in(parent, base.node):
            return False
        call = next_call(
            base,
            parent,
            situation.name,
            is_occupied=lambda folder, name: self._workspace.at((folder, name)) is not None,
            spare_name=spare_name(base),
        )
        if isinstance(call, RenameTo):
            self.spares += call.name == spare_name(base)
            node = self._workspace.rename(base.node, call.name)
        else:
            node = self._workspace.move(base.node, call.parent)
        self._place_is(inode, node)
        return True

    def _place_is(self, inode: Inode, node: RemoteNode) -> None:
        assert inode.base is not None
        self.tree.set_base(inode, replace(inode.base, parent=node.parent, name=node.name))
        self.tree.save(inode)

    def _untie(self, waiting: list[Inode]) -> bool:
        """Entries wait for one another's places, or for a folder to be made where one of them is: one gets
        another name for a time."""
        for inode in waiting:
            base = inode.base
            if base is not None and inode.is_linked and self.tree.is_displaced(inode):
                spare = spare_name(base)
                if ".moving-" not in base.name:
                    self.spares += 1
                    self._place_is(inode, self._workspace.rename(base.node, spare))
                    return True
        return False

    def _trash(self, inode: Inode) -> bool:
        base = inode.base
        assert base is not None
        self._merge(base.node)
        if inode.base is not base or inode.is_linked:
            return True
        inside = [self.tree.by_node.get(row.id) for row in self._workspace.below(base.node)]
        if any(known is None or (known.is_linked and not self.tree.is_displaced(known)) for known in inside):
            self.conflicts.put_back(inode)
            self._merge_below(base.node)
            return True
        if inside:
            return False
        self._workspace.trash(base.node)
        self.tree.set_base(inode, None)
        self.tree.save(inode)
        return True
