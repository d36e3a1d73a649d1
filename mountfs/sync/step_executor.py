"""Doing one step for one entry on the remote, and settling what it finds there."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal

import trio

from mountfs.model.conflict import ConflictKind
from mountfs.model.errors import (
    MountfsError,
    NameRefused,
    NameTaken,
    NodeNotFound,
    OutcomeUnknown,
    RemoteUnavailable,
    UploadFailed,
    VersionMismatch,
)
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import NewFile, Remote
from mountfs.rules import names
from mountfs.rules.fence import Fence
from mountfs.rules.relocation import MoveTo, RenameTo, next_call, spare_name
from mountfs.rules.steps import Situation, Step, next_step
from mountfs.sync.batches import Batch
from mountfs.sync.cached_range import ContentChanged
from mountfs.sync.content import FileContent
from mountfs.sync.refresher import Refresher
from mountfs.sync.setting_aside import SettingAside
from mountfs.sync.uploads import ContentUploads, Sent
from mountfs.tree import local_changes
from mountfs.tree.conflicts import base_of
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

ConflictPolicy = Literal["keep-both", "last-writer-wins"]


class Outcome(Enum):
    AGAIN = auto()
    """Something was done: look for the next step."""
    LATER = auto()
    """The remote is in a state that may pass: try again after a while."""
    SETTLED = auto()
    """The remote has nothing to learn of the entry."""
    WAIT_FOR_CLOSE = auto()


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Another entry has to get a step further first."""

    inode: Inode


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
        aside: SettingAside,
        fence: Fence,
        *,
        conflict: ConflictPolicy,
        lease_clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._tree = tree
        self._remote = remote
        self._changes = changes
        self._refresher = refresher
        self._content = content
        self._uploads = uploads
        self._fence = fence
        self._lease_clock = lease_clock
        self._aside = aside
        self._conflict = conflict
        self._trashed_folders: set[NodeId] = set()
        self._actions: dict[Step, Callable[[Inode, Situation], Awaitable[Outcome | WaitFor]]] = {
            Step.TRASH: self._trash,
            Step.CREATE_FOLDER: self._create_folder,
            Step.UPLOAD_NEW: self._upload_new,
            Step.UPLOAD_VERSION: self._upload_version,
            Step.MOVE: self._relocate,
            Step.RENAME: self._relocate,
        }

    async def step(self, inode: Inode) -> Outcome | WaitFor:
        """Do the next step of the entry."""
        situation = self._tree.situation(inode)
        step = next_step(situation)
        if step is Step.NOTHING:
            if not self._content.superseding.is_under_way(inode):
                self._fence.absolve(inode.ino)
            return Outcome.SETTLED
        if step is Step.WAIT_FOR_CLOSE:
            return Outcome.WAIT_FOR_CLOSE
        if step is Step.WAIT_FOR_PARENT:
            assert inode.parent is not None
            return WaitFor(inode.parent)
        try:
            return await self._actions[step](inode, situation)
        except NodeNotFound:
            # The node, or the folder it is to go to, is gone: merge that first.
            known = [inode.node, situation.parent_node]
            await self._refresher.look_at(node for node in known if node is not None)
            return Outcome.LATER

    def batch(self, folder: NodeId, inodes: Sequence[Inode]) -> AbstractAsyncContextManager[Batch]:
        """Let the steps within that create files in this folder do so together; see `ContentUploads`."""
        return self._uploads.batch(folder, inodes)

    @property
    def has_open_uploads(self) -> bool:
        return self._uploads.has_open

    async def cancel_unneeded_uploads(self) -> None:
        """See `ContentUploads.cancel_unneeded`."""
        await self._uploads.cancel_unneeded(self._tree)

    async def look(self, inode: Inode) -> None:
        """Find out what became of a step whose answer was lost, before anything is repeated."""
        place = self._uploads.unanswered_place(inode)
        if place is not None:
            await self._claim(inode, *place)
        self._answered(inode)
        node = inode.node
        if node is None:
            if inode.parent is not None and inode.parent.node is not None:
                await self._refresher.compare(inode.parent)
            return
        answer = await self._refresher.lookup.node(node)
        if answer is None or answer.trashed:
            self._changes.remove(inode)
            return
        if inode.node == node:
            self._record_place(inode, answer)
        if inode.content_dirty and not inode.unsealed and inode.base and answer.version != inode.base.version:
            sent = await self._sent_before(inode, answer)
            if _has(answer, sent):
                self._record_content(inode, answer, sent)

    async def _claim(self, inode: Inode, parent: NodeId, name: str) -> None:
        """Take the node there for this file's, if it has just what was sent of it; where the file has another
        node by now, that one is of no use any more."""
        try:
            rows = await self._remote.list_folder(parent)
        except NodeNotFound:
            return
        row = next((row for row in rows if row.name == name), None)
        theirs = await self._refresher.lookup.node(row.id) if row is not None else None
        if theirs is None or theirs.trashed or theirs.id == inode.node:
            return
        sent = self._uploads.earlier_attempt(inode, theirs.size, theirs.sha256)
        owner = self._tree.by_node.get(theirs.id)
        if sent is not None and (owner is None or owner.pending is None):
            self._record_content(inode, theirs, sent)
        else:
            self._answered(inode)
            await self._refresher.look_at([theirs.id])

    def _answered(self, inode: Inode) -> None:
        """It is known by now what the remote created for this file, if anything."""
        inode.unanswered = False
        for place in [place for place, waiting in self._tree.unanswered.items() if waiting is inode]:
            del self._tree.unanswered[place]

    # Places.

    def _blocker(self, inode: Inode, parent: NodeId, name: str) -> Inode | None:
        """Return another entry of ours that has this place on the remote, or may have got it just now."""
        for blocker in (self._tree.displaced.get((parent, name)), self._tree.unanswered.get((parent, name))):
            if blocker is not None and blocker is not inode:
                return blocker
        return None

    def _is_occupied(self, inode: Inode, parent: NodeId, name: str) -> bool:
        if self._blocker(inode, parent, name) is not None:
            return True
        folder = self._tree.by_node.get(parent)
        child = folder.children.get(names.from_remote(name)) if folder is not None else None
        if child is None or child is inode or child.base is None:
            return False
        return (child.base.parent, child.base.name) == (parent, name)

    def _waits_for_itself(self, inode: Inode, blocker: Inode) -> bool:
        seen: set[int] = set()
        following: Inode | None = blocker
        while following is not None and following.ino not in seen:
            if following is inode:
                return True
            seen.add(following.ino)
            parent = following.parent.node if following.parent is not None else None
            if parent is None:
                return False
            name = names.to_remote(following.name)
            following = self._tree.displaced.get((parent, name))
        return False

    def _lies_in(self, folder: NodeId, ancestor: Inode) -> bool:
        """Tell whether the folder is `ancestor` or below it on the remote, as far as is known."""
        known = self._tree.by_node.get(folder)
        while known is not None and not known.is_root and known is not ancestor and known.base is not None:
            known = self._tree.by_node.get(known.base.parent)
        return known is ancestor

    async def _relocate(self, inode: Inode, situation: Situation) -> Outcome | WaitFor:
        base, parent, name = inode.base, situation.parent_node, situation.name
        assert base is not None
        assert parent is not None
        if inode.is_directory and self._lies_in(parent, inode):
            # The folder that it is to go to has to come out of it first.
            leaving = self._tree.by_node[parent]
            while not self._tree.is_displaced(leaving) and leaving.base is not None:
                leaving = self._tree.by_node[leaving.base.parent]
            return WaitFor(leaving) if leaving is not inode else Outcome.LATER
        spare = spare_name(base)
        blocker = self._blocker(inode, parent, name)
        call = next_call(
            base,
            parent,
            name,
            is_occupied=lambda folder, wanted: self._is_occupied(inode, folder, wanted),
            spare_name=spare,
        )
        if blocker is not None and base.parent != parent and self._lies_in(base.parent, blocker):
            # The blocker can only go when this has left it.
            occupied = self._is_occupied(inode, parent, base.name)
            call = RenameTo(spare) if occupied else MoveTo(parent)
        elif blocker is not None:
            if base.name == spare or not self._waits_for_itself(inode, blocker):
                return WaitFor(blocker)
            call = RenameTo(spare)
        if isinstance(call, RenameTo):
            self._tree.requested[base.node] = (base.parent, call.name)
            try:
                node = await self._remote.rename(base.node, call.name)
            except NameTaken:
                self._tree.requested.pop(base.node, None)
                return await self._settle_name_taken(inode, base.parent, call.name)
            if node.name != call.name:
                raise NameRefused(f"the workspace keeps {call.name!r} as {node.name!r}")
        else:
            self._tree.requested[base.node] = (call.parent, base.name)
            node = await self._remote.move(base.node, call.parent)
        self._record_place(inode, node)
        return Outcome.AGAIN

    def _record_place(self, inode: Inode, node: RemoteNode) -> None:
        self._tree.requested.pop(node.id, None)
        owner = self._tree.by_node.get(node.id, inode)
        base = owner.base
        if base is None or base.node != node.id:
            return
        same_content = owner.is_directory or (
            base.size == node.size and (None in (base.sha256, node.sha256) or base.sha256 == node.sha256)
        )
        moved = replace(base, parent=node.parent, name=node.name)
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

    async def _settle_name_taken(self, inode: Inode, parent: NodeId, name: str) -> Outcome | WaitFor:
        """Somebody has the name there: wait if it is about to leave, else ours steps aside."""
        rows = await self._remote.list_folder(parent)
        theirs = next((row for row in rows if row.name == name), None)
        if theirs is None:
            return Outcome.LATER
        known = self._tree.by_node.get(theirs.id)
        if known is inode:
            self._record_place(inode, theirs)
            return Outcome.AGAIN
        if known is not None and known.pending is not None:
            return WaitFor(known)
        if inode.is_linked:
            self._changes.conflicts.step_aside(inode, theirs)
        await self._refresher.look_at([theirs.id])
        return Outcome.AGAIN

    # Folders and deletion.

    async def _create_folder(self, inode: Inode, situation: Situation) -> Outcome | WaitFor:
        parent = situation.parent_node
        assert parent is not None
        blocker = self._blocker(inode, parent, situation.name)
        if blocker is not None:
            return WaitFor(blocker)
        try:
            node = await self._remote.create_folder(parent, situation.name)
        except NameTaken:
            return await self._settle_name_taken(inode, parent, situation.name)
        if inode.base is None:
            self._changes.give_node_to(inode, node)
            inode.touched_at = trio.current_time()
            self._tree.save(inode)
        return Outcome.AGAIN

    async def _trash(self, inode: Inode, _: Situation) -> Outcome | WaitFor:
        base = inode.base
        assert base is not None
        if base.parent not in self._trashed_folders:
            parent = self._tree.by_node.get(base.parent)
            if parent is not None and not parent.is_linked and parent.pending is not None:
                # The folder goes as a whole.
                return WaitFor(parent)
            if inode.is_file and (parent is None or not self._refresher.is_fresh(parent)):
                # Nothing there refuses a deletion of what is newer: look before.
                await self._refresher.look_at([base.node])
                if inode.base is not base:
                    return Outcome.AGAIN
            kept = await self._kept_below(base.node) if inode.is_directory else []
            for entry in kept:
                if entry is not None and entry in self._tree.unanswered.values():
                    # Ours, created there before it was removed here: it goes once its answer is known.
                    return WaitFor(entry)
                if entry is None or entry.failure is not None or not self._tree.is_displaced(entry):
                    self._changes.conflicts.put_back(inode)
                    return Outcome.AGAIN
            if kept and kept[0] is not None:
                # It was moved out of the folder here, and has to leave it there first.
                return WaitFor(kept[0])
            await self._remote.trash(base.node)
        if inode.is_directory:
            self._trashed_folders.add(base.node)
        owner = self._tree.by_node.get(base.node)
        if owner is inode:
            self._tree.set_base(inode, None)
        return Outcome.AGAIN

    async def _kept_below(self, folder: NodeId) -> list[Inode | None]:
        """Return what lies below a removed folder and was not removed here; None for what is unknown here."""
        kept: list[Inode | None] = []
        for row in await self._remote.list_folder(folder):
            known = await self._tree.find_node(row.id)
            if known is not None and known.is_file and _is_older(known, row):
                await self._refresher.look_at([row.id])
                known = await self._tree.find_node(row.id)
            if known is None:
                kept.append(self._tree.unanswered.get((folder, row.name)))
            elif known.is_linked:
                kept.append(known)
            elif known.is_directory:
                kept += await self._kept_below(row.id)
        return kept

    # Content.

    async def _upload_new(self, inode: Inode, situation: Situation) -> Outcome | WaitFor:
        parent = situation.parent_node
        assert parent is not None
        blocker = self._blocker(inode, parent, situation.name)
        if blocker is not None:
            return WaitFor(blocker)
        folder = inode.parent
        if folder is not None and not self._refresher.is_fresh(folder):
            # The API cannot create exclusively: look before, as well as it can be done.
            await self._refresher.compare(folder)
        rival = self._changes.rivals.pop(inode.ino, None)
        if rival is not None and await self._settle_rival(inode, rival):
            return Outcome.AGAIN
        self._tree.unanswered[parent, situation.name] = inode
        try:
            sent = await self._uploads.send(inode, NewFile(parent, situation.name))
        except RemoteUnavailable:
            # It may be there all the same: that is looked into before anything else is done.
            raise
        except (MountfsError, ContentChanged):
            self._answered(inode)
            raise
        if sent.node is None:
            return await self._place(inode, sent)
        node = await self._refresher.lookup.node(sent.node)
        return self._confirm(inode, node, sent)

    async def _upload_version(self, inode: Inode, _: Situation) -> Outcome | WaitFor:
        if self._fence.is_condemned(inode.ino):
            return await self._settle_lost_lease(inode)
        if await self._is_what_the_remote_had(inode):
            return Outcome.AGAIN
        return await self._place(inode, await self._uploads.send(inode, None))

    async def _is_what_the_remote_had(self, inode: Inode) -> bool:
        """Make a file clean that was written to but has the bytes of its base. Return whether it was so."""
        base, generation = inode.base, inode.generation
        if base is None or base.sha256 is None or base.size != inode.size:
            return False
        if await self._uploads.sha256(inode) != base.sha256:
            return False
        asked = inode.touched_at
        while inode.touched_at >= asked:
            # An answer counts only if nothing younger was merged while it was on its way.
            asked = trio.current_time()
            theirs = await self._refresher.lookup.node(base.node)
        if theirs is None or theirs.trashed or theirs.version != base.version:
            return False
        if inode.base is not base or inode.generation != generation or inode.unsealed or not inode.is_linked:
            return False
        inode.touched_at = trio.current_time()
        inode.content_dirty = False
        self._content.confirmed(inode)
        self._tree.save(inode)
        await self._uploads.forget(inode)
        return True

    async def _place(self, inode: Inode, sent: Sent) -> Outcome | WaitFor:
        """Put what was sent where the entry belongs by now."""
        assert sent.upload is not None
        situation = self._tree.situation(inode)
        step = next_step(replace(situation, unsealed=False))
        base = inode.base
        if step is Step.UPLOAD_NEW and situation.parent_node is not None:
            node = await self._remote.add_file(situation.parent_node, situation.name, sent.upload)
            return self._confirm(inode, node, sent)
        if step is Step.UPLOAD_VERSION and base is not None and base.version is not None:
            window_s = self._fence.commit_window_s(inode.ino, self._lease_clock())
            if window_s:
                return await self._commit(inode, sent, base.node, base.version, window_s)
        if not self._uploads.has_session(inode):
            await self._remote.cancel_upload(sent.upload)
        if step is Step.UPLOAD_VERSION and base is not None and base.version is not None:
            # The lease is doubtful: it will be renewed, or what was made under it is set aside.
            return Outcome.LATER
        if step is Step.UPLOAD_VERSION:
            await self._refresher.check_file(inode)
        return Outcome.AGAIN

    async def _commit(
        self, inode: Inode, sent: Sent, node: NodeId, base: VersionId, window_s: float
    ) -> Outcome:
        """Raises OutcomeUnknown where the lease ends while the commit is on its way."""
        assert sent.upload is not None
        with trio.move_on_after(window_s):
            try:
                committed = await self._remote.commit(node, sent.upload, base)
            except VersionMismatch:
                return await self._settle_mismatch(inode, sent)
            return self._confirm(inode, committed, sent)
        raise OutcomeUnknown(f"the lock on {inode.path()!r} ended before its new version was confirmed")

    async def _settle_lost_lease(self, inode: Inode) -> Outcome:
        """What was changed under a lease that was lost must not become a version: somebody may have read the
        last one under the lock since."""
        if self._fence.has_failing(inode.ino):
            # Who relied on the lease may still write.
            return Outcome.WAIT_FOR_CLOSE
        base = inode.base
        assert base is not None
        theirs = await self._refresher.lookup.node(base.node)
        if theirs is None or theirs.trashed:
            self._fence.absolve(inode.ino)
            self._changes.remove(inode)
            return Outcome.AGAIN
        sent = await self._sent_before(inode, theirs)
        if inode.base is not base or not inode.content_dirty or not inode.is_linked:
            return Outcome.AGAIN
        if _has(theirs, sent):
            # It was confirmed before, with the answer lost.
            self._fence.absolve(inode.ino)
            self._record_content(inode, theirs, sent)
        else:
            await self._aside.keep_both(inode, theirs)
        return Outcome.AGAIN

    def _confirm(self, inode: Inode, node: RemoteNode | None, sent: Sent) -> Outcome:
        """Success is only what the workspace shows with equal size and hash."""
        if node is None or not _has(node, sent):
            raise UploadFailed(f"the workspace does not show what was sent of {inode.path()!r}")
        self._record_content(inode, node, sent)
        return Outcome.AGAIN

    def _record_content(self, inode: Inode, node: RemoteNode, sent: Sent) -> None:
        self._uploads.ended(inode)
        self._answered(inode)
        owner = self._tree.by_node.get(node.id)
        if inode.base is None and (owner is None or owner.pending is None):
            self._changes.give_node_to(inode, node)
        elif inode.base is not None and inode.base.node == node.id:
            self._tree.set_base(inode, base_of(node))
        elif owner is not None:
            # A file renamed over this one has its node by now.
            self._tree.set_base(owner, base_of(node))
            self._tree.save(owner)
            return
        else:
            # This file took over another node while it was created.
            local_changes.leave_behind(self._tree, base_of(node))
            return
        inode.touched_at = trio.current_time()
        if inode.generation == sent.generation and inode.is_linked:
            inode.content_dirty = False
            self._content.confirmed(inode)
        self._tree.save(inode)

    async def _settle_mismatch(self, inode: Inode, sent: Sent) -> Outcome:
        """The remote has moved on from the version that this content was based on."""
        base = inode.base
        assert base is not None
        theirs = await self._refresher.lookup.node(base.node)
        if theirs is None or theirs.trashed:
            self._changes.remove(inode)
        elif _has(theirs, sent):
            # Our own earlier try, whose answer was lost, or the same bytes from elsewhere.
            self._record_content(inode, theirs, sent)
        elif base.sha256 is not None and (base.sha256, base.size) == (theirs.sha256, theirs.size):
            self._tree.set_base(inode, replace(base, version=theirs.version))
        elif self._tree.is_own_attempt(theirs):
            # Sent for the file that this one replaced, before its answer was lost.
            self._tree.set_base(inode, base_of(theirs))
        elif not inode.is_linked or inode.base is not base:
            # What a program did meanwhile is looked at anew.
            pass
        elif self._conflict == "last-writer-wins":
            self._changes.conflicts.note(inode, ConflictKind.EDIT_EDIT, theirs, base=base)
            self._tree.set_base(inode, replace(base, version=theirs.version))
        elif inode.unsealed or inode.generation != sent.generation:
            # A program changes it just now: what is kept aside is what it leaves.
            raise ContentChanged
        else:
            await self._aside.keep_both(inode, theirs)
        return Outcome.AGAIN

    async def _settle_rival(self, inode: Inode, rival: RemoteNode) -> bool:
        """The remote has a file where ours is to be created. Return whether that changed what is to do."""
        theirs = await self._refresher.lookup.node(rival.id)
        if theirs is None or theirs.trashed or inode.base is not None or not inode.is_linked:
            return False
        sent = await self._sent_before(inode, theirs)
        if _has(theirs, sent):
            self._record_content(inode, theirs, sent)
        elif self._conflict == "last-writer-wins":
            self._changes.give_node_to(inode, theirs)
            self._changes.conflicts.note(inode, ConflictKind.CREATE_CREATE, theirs)
        else:
            await self._aside.keep_both(inode, theirs)
        return True

    async def _sent_before(self, inode: Inode, theirs: RemoteNode) -> Sent:
        """Describe what the remote may have of ours: an earlier try, else the content as it stands."""
        earlier = self._uploads.earlier_attempt(inode, theirs.size, theirs.sha256)
        if earlier is not None:
            return earlier
        generation, size = inode.generation, inode.size
        return Sent(None, None, generation, size, await self._uploads.sha256(inode))


def _is_older(known: Inode, row: RemoteNode) -> bool:
    """Tell whether others changed what was removed here."""
    return not known.is_linked and known.base is not None and known.base.version != row.version


def _has(node: RemoteNode, sent: Sent) -> bool:
    return node.size == sent.size and node.sha256 in (None, sent.sha256)
