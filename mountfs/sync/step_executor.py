"""Doing one step for one entry on the remote, and settling what it finds there."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import trio

from mountfs.model.entry import Base
from mountfs.model.errors import (
    MountfsError,
    NameRefused,
    NameTaken,
    NodeNotFound,
    ProtocolViolation,
    RemoteError,
    RemoteUnavailable,
)
from mountfs.model.history import Version
from mountfs.model.ids import NodeId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote
from mountfs.rules import names, remote_edits
from mountfs.rules.fence import Fence
from mountfs.rules.relocation import MoveTo, RenameTo, has_spare_name, next_call, spare_name
from mountfs.rules.steps import Situation, Step, next_step
from mountfs.sync.batches import Batch
from mountfs.sync.content import FileContent
from mountfs.sync.content_steps import ContentSteps
from mountfs.sync.refresher import Refresher
from mountfs.sync.removal_steps import RemovalSteps
from mountfs.sync.step_outcome import Outcome, WaitFor
from mountfs.sync.uploads import ContentUploads
from mountfs.tree.inode import NEVER, Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)


class StepExecutor:
    """Every call reads the state of the entry anew after each await: programs go on changing it.

    What comes back from the remote is recorded for whoever has the node by then. Raises ContentChanged and
    the errors of the remote and of our disk; a step that raised has left no half state in the tree.
    """

    def __init__(
        self,
        tree: Tree,
        remote: Remote,
        changes: RemoteChanges,
        refresher: Refresher,
        content: FileContent,
        uploads: ContentUploads,
        contents: ContentSteps,
        fence: Fence,
    ) -> None:
        self._tree = tree
        self._remote = remote
        self._changes = changes
        self._refresher = refresher
        self._content = content
        self._uploads = uploads
        self._contents = contents
        self._fence = fence
        self._places = contents.places
        self._removals = RemovalSteps(tree, remote, changes, refresher, self._places)
        self._actions: dict[Step, Callable[[Inode, Situation], Awaitable[Outcome | WaitFor]]] = {
            Step.TRASH: self._trash,
            Step.CREATE_FOLDER: self._create_folder,
            Step.UPLOAD_NEW: self._upload_new,
            Step.UPLOAD_VERSION: self._upload_version,
            Step.MOVE: self._relocate,
            Step.RENAME: self._relocate,
            Step.DESCRIBE: self._describe,
        }

    async def step(self, inode: Inode) -> Outcome | WaitFor:
        """Do the next step of the entry."""
        if self._removals.took_too_much(inode):
            return await self._removals.bring_back(inode)
        folder = inode.parent
        if folder is not None and not folder.loaded and not inode.is_at_home:
            # Its other children decide about the name there.
            await self._tree.ensure_loaded(folder)
        situation = self._tree.situation(inode)
        step = next_step(situation)
        if step is Step.NOTHING:
            self._absolve(inode)
            return Outcome.SETTLED
        if step is Step.WAIT_FOR_CLOSE:
            await self._uploads.check(inode)
            return Outcome.WAIT_FOR_CLOSE
        try:
            if step is Step.WAIT_FOR_PARENT:
                assert inode.parent is not None
                return await self._make_way(inode, inode.parent) or WaitFor(inode.parent)
            return await self._actions[step](inode, situation)
        except NodeNotFound:
            # The node, or the folder it is to go to, is gone: merge that first.
            known = [inode.node, situation.parent_node]
            await self._refresher.look_at(node for node in known if node is not None)
            return Outcome.LATER

    def is_settled(self, inode: Inode) -> bool:
        """Tell whether the next `step` of an entry that the remote has would find nothing left to do, and
        take it then."""
        if inode.base is None or not inode.is_at_home or self.is_doubtful(inode):
            return False
        if self._removals.took_too_much(inode) or next_step(self._tree.situation(inode)) is not Step.NOTHING:
            return False
        self._absolve(inode)
        return True

    def _absolve(self, inode: Inode) -> None:
        if not self._content.superseding.is_under_way(inode):
            self._fence.absolve(inode.ino)

    def goes_together(self, inode: Inode) -> bool:
        """Tell whether it is one of a batch under way."""
        return self._uploads.goes_together(inode)

    def batch(self, folder: NodeId, inodes: Sequence[Inode]) -> AbstractAsyncContextManager[Batch]:
        """Let the steps within that create files in this folder do so together; see `ContentUploads`."""
        return self._uploads.batch(folder, inodes)

    def is_doubtful(self, inode: Inode) -> bool:
        """Tell whether a step of this entry ended with its outcome open: `look` first."""
        return inode.unanswered or self._places.is_doubtful(inode)

    @property
    def has_open_uploads(self) -> bool:
        return self._uploads.has_open

    def ask_again(self) -> None:
        self._remote.ask_again()

    async def cancel_unneeded_uploads(self) -> None:
        """See `ContentUploads.cancel_unneeded`."""
        await self._uploads.cancel_unneeded(self._tree)

    async def look(self, inode: Inode) -> None:
        """Find out what became of a step whose answer was lost, before anything is repeated."""
        place = self._uploads.unanswered_place(inode)
        if place is not None:
            await self._contents.claim(inode, *place)
        self._contents.answered(inode)
        node = inode.node
        if node is None:
            if inode.parent is not None and inode.parent.node is not None:
                await self._refresher.compare(inode.parent)
            return
        answer = await self._refresher.lookup.node(node)
        if answer is None or answer.trashed:
            # All below it goes as well, also what only the journal knows.
            await self._tree.load_below(inode)
        if inode.node != node:
            # A program gave the node to another file meanwhile, and this one that of another.
            await self.look(inode)
            return
        if answer is None or answer.trashed:
            self._changes.remove(inode)
            return
        await self._record_place(inode, answer)
        await self._contents.settle_answer(inode, answer)

    # Places.

    def _is_occupied(self, inode: Inode, parent: NodeId, name: str) -> bool:
        if self._places.blocker(inode, parent, name) is not None:
            return True
        folder = self._tree.by_node.get(parent)
        if folder is None:
            return False
        local = names.from_remote(name)
        children = [folder.children.get(local), *self._tree.alike.others(folder, local)]
        return any(
            child.base.parent == parent and names.folded_text(child.base.name) == names.folded_text(name)
            for child in children
            if child is not None and child is not inode and child.base is not None
        )

    async def _relocate(self, inode: Inode, situation: Situation) -> Outcome | WaitFor:
        base, parent, name = inode.base, situation.parent_node, situation.name
        assert base is not None
        assert parent is not None
        mover = self._places.mover_of(base.node)
        if mover is not None:
            # It had the node before. Which of two answers is the later one, nobody could tell.
            return WaitFor(mover)
        if inode.is_directory and self._places.lies_in(parent, inode):
            # The folder that it is to go to has to come out of it first.
            leaving = self._places.way_out(parent)
            if leaving is inode:
                return Outcome.LATER
            return await self._make_way(inode, leaving) or WaitFor(leaving)
        spare = spare_name(base)
        blocker = self._places.blocker(inode, parent, name)
        meets_unseen = self._may_meet_unseen(inode, base, parent)
        call = next_call(
            base,
            parent,
            name,
            is_occupied=lambda folder, wanted: self._is_occupied(inode, folder, wanted),
            spare_name=spare,
        )
        if meets_unseen:
            call = RenameTo(spare)
        if blocker is not None and base.parent != parent and self._places.lies_in(base.parent, blocker):
            # The blocker can only go when this has left it.
            occupied = meets_unseen or self._is_occupied(inode, parent, base.name)
            call = RenameTo(spare) if occupied else MoveTo(parent)
        elif blocker is not None:
            if base.name == spare or not self._places.waits_for_itself(inode, blocker):
                return WaitFor(blocker)
            call = RenameTo(spare)
        if isinstance(call, RenameTo):
            try:
                node = await self._ask(inode, base, call)
            except NameTaken:
                if names.folded_text(call.name) != names.folded_text(base.name):
                    return await self._settle_name_taken(inode, situation, base.parent, call.name)
                # By itself, where names that differ only in case are one: by way of another one.
                call = RenameTo(spare)
                node = await self._ask(inode, base, call)
            if node.name != call.name:
                self._tree.end_request(base.node)
                raise NameRefused(f"the workspace keeps {call.name!r} as {node.name!r}")
        else:
            node = await self._ask(inode, base, call)
        await self._record_place(inode, node)
        return Outcome.AGAIN

    def _may_meet_unseen(self, inode: Inode, base: Base, parent: NodeId) -> bool:
        """Tell whether a move under this name could send a file to the trash that no listing shows yet: a
        spare name meets none, and the rename that follows is refused where the place is taken."""
        is_move = base.parent != parent and not inode.is_directory
        return is_move and not has_spare_name(base) and self._remote.listings_lag()

    async def _make_way(self, inode: Inode, hindrance: Inode) -> Outcome | None:
        """Give an entry another name for a time where what it waits for waits, in the end, for its place."""
        base = inode.base
        if base is None or not self._places.waits_for_itself(inode, hindrance):
            return None
        if self._places.mover_of(base.node) is not None:
            return Outcome.LATER
        await self._record_place(inode, await self._ask(inode, base, RenameTo(spare_name(base))))
        return Outcome.AGAIN

    async def _ask(self, inode: Inode, base: Base, call: RenameTo | MoveTo) -> RemoteNode:
        """Let the remote do it; the journal knows of it before."""
        place = (base.parent, call.name) if isinstance(call, RenameTo) else (call.parent, base.name)
        with self._places.asking(inode, base.node, place):
            self._tree.note_request(base.node, place)
            await self._tree.journal.committed()
            try:
                if isinstance(call, RenameTo):
                    return await self._remote.rename(base.node, call.name)
                return await self._remote.move(base.node, call.parent)
            except (ProtocolViolation, RemoteUnavailable):
                # It may have been done.
                raise
            except MountfsError:
                self._tree.end_request(base.node)
                raise

    async def _record_place(self, inode: Inode, node: RemoteNode) -> None:
        """Raises RemoteUnavailable, with nothing recorded, where the history of a node has to tell whether
        it has the content that is known here and cannot be asked: then it is doubtful."""
        known = self._tree.by_node.get(node.id, inode)
        versions: Sequence[Version] = ()
        renamed = known.base is not None and known.base.name != node.name
        if (
            not known.is_directory
            and known.base is not None
            and remote_edits.has_content_of(known.base, node) is None
        ):
            versions = await self._history(node.id)
        self._tree.end_request(node.id)
        self._fence.has_changed(node.id, locked=node.locked)
        owner = self._tree.by_node.get(node.id, inode)
        base = owner.base
        if base is None or base.node != node.id:
            return
        same_content = owner.is_directory or remote_edits.has_content_of(base, node)
        if same_content is None:
            same_content = remote_edits.is_only_renamed(base, node, versions, renamed=renamed)
        moved = replace(base, parent=node.parent, name=node.name, modified_ns=max(node.modified_ns, 0))
        if same_content and not owner.is_directory:
            # A rename makes a new version of the same bytes.
            moved = replace(moved, version=node.version, sha256=base.sha256 or node.sha256)
        self._tree.set_base(owner, moved)
        owner.touched_at = trio.current_time()
        if not same_content:
            self._changes.apply(node)
        elif not owner.content_dirty:
            self._content.relabelled(owner)
        self._tree.save(owner)

    async def _history(self, node: NodeId) -> Sequence[Version]:
        """Return nothing where the remote tells no history. Raises RemoteUnavailable."""
        try:
            return await self._remote.versions(node)
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            log.info("%s: its history cannot be looked at: %s", node, error.message)
            return ()

    async def _settle_name_taken(
        self, inode: Inode, situation: Situation, parent: NodeId, name: str
    ) -> Outcome | WaitFor:
        """Somebody has the name there: wait if it is about to leave, else ours steps aside."""
        rows = await self._remote.list_folder(parent)
        alike = [row for row in rows if names.folded_text(row.name) == names.folded_text(name)]
        theirs = next((row for row in alike if row.name == name), alike[0] if alike else None)
        if theirs is None:
            return Outcome.LATER
        known = self._tree.by_node.get(theirs.id)
        if known is inode:
            await self._record_place(inode, theirs)
            return Outcome.AGAIN
        if known is not None and known.pending is not None:
            return WaitFor(known)
        if inode.is_linked and self._tree.situation(inode) == situation:
            self._changes.conflicts.step_aside(inode, theirs)
        await self._refresher.look_at([theirs.id])
        return Outcome.AGAIN

    async def _describe(self, inode: Inode, _: Situation) -> Outcome:
        base = inode.base
        assert base is not None
        # People write there as well, and nothing guards against a change that came meanwhile: look before.
        await self._refresher.look_at([base.node])
        text = self._tree.situation(inode).text
        if inode.base is None or inode.base.node != base.node or text in (None, inode.base.text):
            return Outcome.AGAIN
        node = await self._remote.describe(base.node, text)
        # A file that was saved over this one has its node by now, and may be to be told of in other words.
        owner = self._tree.by_node.get(base.node)
        if owner is not None and owner.base is not None:
            modified_ns = max(node.modified_ns, 0)
            self._tree.set_base(owner, replace(owner.base, text=text, modified_ns=modified_ns))
            # An answer that is still to come to an earlier question has the old text.
            owner.touched_at = trio.current_time()
            if owner is not inode:
                self._tree.mark_pending(owner)
            self._tree.save(owner)
        if node.text != text:
            log.warning("%r: the workspace does not keep what is told of its attributes", inode.path())
        return Outcome.AGAIN

    # Creation and deletion.

    async def _upload_new(self, inode: Inode, situation: Situation) -> Outcome | WaitFor:
        parent = situation.parent_node
        assert parent is not None
        blocker = self._places.blocker(inode, parent, situation.name)
        if blocker is not None:
            return WaitFor(blocker)
        try:
            return await self._contents.upload_new(inode, parent, situation.name)
        except NameTaken:
            # Where that makes no version: what others created there first is a rival to be settled with.
            folder = self._tree.by_node.get(parent)
            if folder is not None:
                await self._refresher.compare(folder)
            if inode.ino not in self._changes.rivals:
                raise
            return Outcome.AGAIN

    async def _upload_version(self, inode: Inode, _: Situation) -> Outcome | WaitFor:
        return await self._contents.upload_version(inode)

    async def _create_folder(self, inode: Inode, situation: Situation) -> Outcome | WaitFor:
        parent = situation.parent_node
        assert parent is not None
        blocker = self._places.blocker(inode, parent, situation.name)
        if blocker is not None:
            return WaitFor(blocker)
        try:
            node = await self._create_folder_at(inode, parent, situation.name)
        except NameTaken:
            return await self._settle_name_taken(inode, situation, parent, situation.name)
        owner = self._tree.by_node.get(node.id)
        if owner is not None and owner is not inode and owner.is_linked and node.name != situation.name:
            raise NameRefused(f"the workspace takes it for the same name as {node.name!r}")
        if inode.base is None:
            self._changes.give_node_to(inode, node)
            inode.touched_at = trio.current_time()
            self._tree.save(inode)
            self._refresher.note_folder_made(inode)
        return Outcome.AGAIN

    async def _create_folder_at(self, inode: Inode, parent: NodeId, name: str) -> RemoteNode:
        self._tree.unanswered[parent, name] = inode
        try:
            return await self._remote.create_folder(parent, name)
        except RemoteUnavailable:
            folder = self._tree.by_node.get(parent)
            if folder is not None:
                # What was told of it meanwhile was left to the answer.
                folder.listed_at = NEVER
            raise
        finally:
            self._contents.answered(inode)

    async def _trash(self, inode: Inode, _: Situation) -> Outcome | WaitFor:
        outcome = await self._removals.trash(inode)
        if isinstance(outcome, WaitFor):
            self._places.note_hindrance(inode, outcome.inode)
            return await self._make_way(inode, outcome.inode) or outcome
        self._places.note_hindrance(inode, None)
        return outcome
