"""Sending the content of a file, and settling what the remote has instead; long, as each settling leads to
the others."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import trio

from mountfs.model.conflict import ConflictKind
from mountfs.model.entry import Base
from mountfs.model.errors import (
    MountfsError,
    NameRefused,
    NodeNotFound,
    OutcomeUnknown,
    RemoteUnavailable,
    UploadFailed,
    VersionMismatch,
)
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.model.remote import NewFile, Remote
from mountfs.rules import creation, names
from mountfs.rules.fence import Fence
from mountfs.rules.happenings import Detail, Kind
from mountfs.rules.steps import Step, next_step
from mountfs.sync.cached_range import ContentChanged
from mountfs.sync.content import FileContent
from mountfs.sync.created_files import CreatedFiles, as_placed
from mountfs.sync.places import Places
from mountfs.sync.refresher import Refresher
from mountfs.sync.setting_aside import SettingAside
from mountfs.sync.step_outcome import Outcome, WaitFor
from mountfs.sync.uploads import ContentUploads, Sent
from mountfs.tree import local_changes
from mountfs.tree.conflicts import base_of
from mountfs.tree.inode import Inode
from mountfs.tree.remote_changes import RemoteChanges
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

ConflictPolicy = Literal["keep-both", "last-writer-wins"]


class ContentSteps:
    """The steps of `StepExecutor` that are about content; the same holds for them."""

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
        self._aside = aside
        self._fence = fence
        self._created = CreatedFiles(tree, remote, refresher)
        self.places = Places(tree)
        self.conflict = conflict
        self._lease_clock = lease_clock

    async def upload_new(self, inode: Inode, parent: NodeId, name: str) -> Outcome | WaitFor:
        """Create the file on the remote, at a place that nothing else of ours has there."""
        folder = inode.parent
        if folder is not None and not self._refresher.is_fresh(folder):
            # The API cannot create exclusively: look before, as well as it can be done.
            await self._refresher.compare(folder)
        if await self._settle_known_rival(inode):
            return Outcome.AGAIN
        blocker = self.places.blocker(inode, parent, name)
        if blocker is not None:
            # On its way there since, while was looked at what is there.
            return WaitFor(blocker)
        self._tree.unanswered[parent, name] = inode
        try:
            sent = await self._uploads.send(inode, NewFile(parent, name))
        except RemoteUnavailable:
            # It may be there all the same: that is looked into before anything else is done.
            raise
        except (MountfsError, ContentChanged):
            self.answered(inode)
            raise
        if sent.node is None:
            return await self._place(inode, sent)
        with self._refresher.confirming(sent.node):
            return await self._confirm_new(inode, sent.node, (parent, name), sent)

    async def _confirm_new(
        self, inode: Inode, made: NodeId, place: tuple[NodeId, str], sent: Sent
    ) -> Outcome:
        parent, name = place
        lookup = self._refresher.lookup
        if sent.together and self._refresher.live_since is not None:
            node, asked = await lookup.made(made, parent)
        else:
            asked = trio.current_time()
            node = await lookup.node(made, new_in=parent)
        if node is None or not _has(node, sent):
            # What the folder lists may be older than the node.
            node = await lookup.node(made)
        if node is not None and node.name != name and _has(node, sent):
            node = await self._one_of_two(node, name, sent)
        if node is not None and node.id != made:
            return self._confirm(inode, node, sent)
        outcome = await self._confirm_created(inode, node, sent)
        if inode.node == made:
            self._refresher.note_made(made, asked)
        return outcome

    async def _one_of_two(self, made: RemoteNode, name: str, sent: Sent) -> RemoteNode:
        """The service gave ours another name, as others have this one: with the same bytes, as of a file to
        lock, theirs is the file that both mean."""
        rows = await self._remote.list_folder(made.parent)
        theirs = next((row for row in rows if row.name == name and row.kind is NodeKind.FILE), None)
        if theirs is None or not _has(theirs, sent):
            return made
        await self._remote.trash(made.id)
        return theirs

    async def upload_version(self, inode: Inode) -> Outcome | WaitFor:
        if self._fence.is_condemned(inode.ino):
            return await self._settle_lost_lease(inode)
        outcome = await self._keep_what_the_remote_had(inode) or await self._commit_known(inode)
        return outcome or await self._place(inode, await self._uploads.send(inode, None))

    async def _commit_known(self, inode: Inode) -> Outcome | None:
        """Make a version of content that the remote has already, as that of another file or of an earlier
        version; None where it has not."""
        sent = await self._uploads.known_content(inode)
        base = inode.base
        if sent is None or base is None or base.version is None:
            return None
        if next_step(replace(self._tree.situation(inode), unsealed=False)) is not Step.UPLOAD_VERSION:
            return Outcome.AGAIN
        window_s = self._fence.commit_window_s(inode.ino, self._lease_clock())
        if not window_s:
            return Outcome.LATER
        with trio.move_on_after(window_s):
            try:
                committed = await self._remote.commit_known(base.node, sent.sha256, base.version)
            except VersionMismatch:
                return await self._settle_mismatch(inode, sent, base.node)
            if committed is None:
                return None
            return await self._confirm_committed(inode, committed, sent, base.version)
        raise OutcomeUnknown(f"the lock on {inode.path()!r} ended before its new version was confirmed")

    async def _keep_what_the_remote_had(self, inode: Inode) -> Outcome | None:
        """Make a file clean that was written to but has the bytes of its base; None where it has others, or
        the remote has.

        Others are told that it was written: whoever removes it there without knowing lets it stay then. Where
        it was removed before, raises NodeNotFound, and the file is still to be sent.
        """
        base, generation = inode.base, inode.generation
        if base is None or base.sha256 is None or base.size != inode.size:
            return None
        if await self._uploads.sha256(inode) != base.sha256:
            return None
        asked = inode.touched_at
        while inode.touched_at >= asked:
            # An answer counts only if nothing younger was merged while it was on its way.
            asked = trio.current_time()
            theirs = await self._refresher.lookup.node(base.node)
        if theirs is None or theirs.trashed or theirs.version != base.version:
            return None
        if inode.base is not base or not _is_as_sealed(inode, generation):
            return Outcome.AGAIN
        base = await self._tell_of_writing(inode, theirs)
        if inode.base is not base or not _is_as_sealed(inode, generation):
            return Outcome.AGAIN
        inode.touched_at = trio.current_time()
        inode.content_dirty = False
        self._content.confirmed(inode)
        self._tell_confirmed(inode)
        self._tree.save(inode)
        await self._uploads.forget(inode)
        return Outcome.AGAIN

    async def _tell_of_writing(self, inode: Inode, theirs: RemoteNode) -> Base | None:
        """Leave a mark in the free text; return the base that the file has with it."""
        base = inode.base
        if base is None or not self._tree.shares_attributes:
            return base
        self._tree.set_base(inode, replace(base, text=theirs.text))
        text = inode.retold(written_again=True)
        # Known before it is there: whatever becomes of the answer, the mark is no write of others.
        told = replace(base, text=text)
        self._tree.set_base(inode, told)
        self._tree.save(inode)
        if text == theirs.text:
            return told
        await self._tree.journal.committed()
        node = await self._remote.describe(base.node, text)
        if inode.base is told:
            told = replace(told, modified_ns=max(node.modified_ns, 0))
            self._tree.set_base(inode, told)
        return told

    def _tell_confirmed(self, inode: Inode) -> None:
        base = inode.base
        assert base is not None
        told: dict[str, Detail] = {"size_bytes": inode.size, "version": base.version or "", "node": base.node}
        self._tree.happenings.tell(Kind.CONFIRMED, inode.path(), **told)

    async def _place(self, inode: Inode, sent: Sent) -> Outcome | WaitFor:
        """Put what was sent where the entry belongs by now."""
        assert sent.upload is not None
        situation = self._tree.situation(inode)
        step = next_step(replace(situation, unsealed=False))
        base = inode.base
        if step is Step.UPLOAD_NEW and situation.parent_node is not None:
            place = (situation.parent_node, situation.name)
            # Nothing was created so far: nobody is to wait for that.
            self.answered(inode)
            blocker = self.places.blocker(inode, *place)
            if blocker is not None:
                return WaitFor(blocker)
            if inode.ino in self._changes.rivals:
                # It came while this was sent.
                return Outcome.AGAIN
            self._tree.unanswered[place] = inode
            try:
                node = await self._remote.add_file(*place, sent.upload)
            except RemoteUnavailable:
                raise
            except MountfsError:
                self.answered(inode)
                raise
            return await self._confirm_created(inode, node, sent)
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
                committed = await self._remote.commit(node, sent.upload, base, sha256=sent.sha256)
            except VersionMismatch:
                return await self._settle_mismatch(inode, sent, node)
            return await self._confirm_committed(inode, committed, sent, base)
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

    def _confirm(
        self, inode: Inode, node: RemoteNode | None, sent: Sent, *, replaced: VersionId | None = None
    ) -> Outcome:
        """Success is only what the workspace shows with equal size and hash."""
        if node is None or not _has(node, sent):
            raise UploadFailed(f"the workspace does not show what was sent of {inode.path()!r}")
        base = inode.base
        makes_none = node.sha256 is not None and (node.id, node.version) == (inode.node, replaced)
        if makes_none and base is not None and base.sha256 is None and inode.content_dirty:
            # Equal bytes make no version: others are still to be told of this write.
            self._tree.set_base(inode, replace(base, sha256=node.sha256))
            return Outcome.AGAIN
        self._record_content(inode, node, sent, replaced=replaced)
        return Outcome.AGAIN

    async def _confirm_committed(
        self, inode: Inode, node: RemoteNode, sent: Sent, replaced: VersionId
    ) -> Outcome:
        """Like `_confirm`, of a version: others may have made one on it before the workspace showed ours."""
        ours = None if _has(node, sent) else await self._created.placed_on(node, replaced, sent)
        if ours is None:
            return self._confirm(inode, node, sent, replaced=replaced)
        self._record_content(inode, ours, sent, replaced=replaced)
        await self._refresher.look_at([node.id])
        return Outcome.AGAIN

    def _record_content(
        self, inode: Inode, node: RemoteNode, sent: Sent, *, replaced: VersionId | None = None
    ) -> None:
        """`replaced`: the version that was committed on."""
        self._fence.has_changed(node.id, locked=node.locked)
        owner = self._tree.by_node.get(node.id)
        if inode.base is None and owner is None and self._is_removed(node, replaced):
            # By others, who did not know of it: what was sent is to be made anew.
            self._uploads.ended(inode)
            self.answered(inode)
            return
        if inode.base is None and owner is not None and owner is not inode and owner.name != inode.name:
            self._check_not_merged(inode, owner, node)
        if inode.base is None and (owner is None or owner.pending is None):
            self._changes.give_node_to(inode, node)
        elif inode.base is not None and inode.base.node == node.id:
            self._tree.set_base(inode, base_of(node))
        elif owner is not None:
            # A file renamed over this one has its node by now, and may have sent a version itself already.
            self._uploads.loosen(inode)
            self.answered(inode)
            if replaced is None or (owner.base is not None and owner.base.version == replaced):
                self._tree.set_base(owner, base_of(node))
                owner.touched_at = trio.current_time()
                self._tree.save(owner)
            return
        else:
            # This file took over another node while it was created.
            self._uploads.loosen(inode)
            self.answered(inode)
            local_changes.leave_behind(self._tree, base_of(node))
            return
        self._uploads.ended(inode)
        self.answered(inode)
        inode.touched_at = trio.current_time()
        if inode.generation == sent.generation and inode.is_linked:
            inode.content_dirty = False
            self._content.confirmed(inode)
            self._tell_confirmed(inode)
        self._tree.save(inode)

    def _is_removed(self, node: RemoteNode, replaced: VersionId | None) -> bool:
        """Tell whether a node that no entry has was removed while what was sent to it was on its way: by
        itself, or with its folder."""
        return replaced is not None or node.trashed or node.parent not in self._tree.by_node

    def _check_not_merged(self, inode: Inode, owner: Inode, node: RemoteNode) -> None:
        """Raise NameRefused where the workspace put the file over one of another name, which it took for the
        same: that one has its content as the version before."""
        are_siblings = owner.is_linked and inode.is_linked and owner.parent is inode.parent
        if are_siblings and names.folded(owner.name) == names.folded(inode.name):
            self._uploads.ended(inode)
            self.answered(inode)
            raise NameRefused(f"the workspace takes it for the same name as {node.name!r}")

    async def _settle_mismatch(self, inode: Inode, sent: Sent, node: NodeId) -> Outcome:
        """The remote has moved on from the version of the node that this content was based on."""
        base = inode.base
        if base is None or base.node != node:
            # A program gave the node to another file while the commit was on its way.
            return Outcome.AGAIN
        theirs = await self._refresher.lookup.node(base.node)
        if theirs is not None and not theirs.trashed and _has(theirs, sent):
            # Our own earlier try, whose answer was lost, or the same bytes from elsewhere.
            self._record_content(inode, theirs, sent)
        elif not inode.is_linked or inode.base is not base:
            # What a program did meanwhile is looked at anew: by now the node may be that of another entry.
            pass
        elif theirs is None or theirs.trashed:
            self._changes.remove(inode)
        elif base.sha256 is not None and (base.sha256, base.size) == (theirs.sha256, theirs.size):
            self._tree.set_base(inode, replace(base, version=theirs.version))
        elif self._tree.open_uploads.may_have_made(theirs):
            # Sent for the file that this one replaced, before its answer was lost.
            self._tree.set_base(inode, base_of(theirs))
        elif self.conflict == "last-writer-wins":
            self._changes.conflicts.note(inode, ConflictKind.EDIT_EDIT, theirs, base=base)
            self._tree.set_base(inode, replace(base, version=theirs.version))
        elif inode.unsealed or inode.generation != sent.generation:
            # A program changes it just now: what is kept aside is what it leaves.
            raise ContentChanged
        else:
            await self._aside.keep_both(inode, theirs)
        return Outcome.AGAIN

    async def _confirm_created(self, inode: Inode, node: RemoteNode | None, sent: Sent) -> Outcome:
        """Like `_confirm`, of a node that was created, or so it seemed: where others had made it before, with
        nothing showing that here, theirs becomes the present content again, and is a rival of ours."""
        made = await self._created.look(inode, node, sent) if node is not None else None
        if node is None or made is None or (made.over is None and made.is_present):
            return self._confirm(inode, node, sent)
        if made.over is None:
            # Others changed it since.
            self._record_content(inode, as_placed(node, made.ours, sent), sent)
            await self._refresher.look_at([node.id])
            return Outcome.AGAIN
        wins = sent.size > 0 and self.conflict == "last-writer-wins" and _is_to_be_created(inode)
        if made.is_present and wins:
            theirs = replace(node, version=made.over.id, size=made.over.size or 0, sha256=made.over.sha256)
            self._changes.conflicts.note(inode, ConflictKind.CREATE_CREATE, theirs)
            return self._confirm(inode, node, sent)
        log.warning("%r: others had created it before, which nothing showed", inode.path())
        if made.is_present:
            node = await self._created.bring_back(node, made.over)
        self._uploads.ended(inode)
        self.answered(inode)
        if _is_to_be_created(inode):
            self._changes.rivals[inode.ino] = node
        else:
            await self._refresher.look_at([node.id])
        return Outcome.AGAIN

    async def _settle_known_rival(self, inode: Inode) -> bool:
        """Return whether there was one and that changed what is to do. If it raises, that is still to be
        done."""
        rival = self._changes.rivals.get(inode.ino)
        if rival is None:
            return False
        is_changed = await self._settle_rival(inode, rival)
        if self._changes.rivals.get(inode.ino) is rival:
            del self._changes.rivals[inode.ino]
        return is_changed

    async def _settle_rival(self, inode: Inode, rival: RemoteNode) -> bool:
        """The remote has a file where ours is to be created. Return whether that changed what is to do."""
        theirs = await self._refresher.lookup.node(rival.id)
        if theirs is None or theirs.trashed or not _is_to_be_created(inode):
            return False
        sent = await self._sent_before(inode, theirs)
        if _has(theirs, sent) and self._uploads.earlier_attempt(inode, theirs.size, theirs.sha256):
            await self._confirm_created(inode, theirs, sent)
        elif _has(theirs, sent):
            self._record_content(inode, theirs, sent)
        elif not _is_to_be_created(inode):
            # What a program did meanwhile is looked at anew.
            pass
        elif self._tree.open_uploads.may_have_made(theirs):
            # Sent for a file that was here before: this one is its next version.
            self._changes.give_node_to(inode, theirs)
            self._tree.save(inode)
        elif sent.size and self.conflict == "last-writer-wins":
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

    async def settle_answer(self, inode: Inode, answer: RemoteNode) -> None:
        """Take over what an upload without an answer came to, if the remote has it."""
        if inode.content_dirty and not inode.unsealed and inode.base and answer.version != inode.base.version:
            sent = await self._sent_before(inode, answer)
            if _has(answer, sent):
                self._record_content(inode, answer, sent)

    async def claim(self, inode: Inode, parent: NodeId, name: str) -> None:
        """Take the node there for this file's, if it has just what was sent of it; where the file has another
        node by now, that one is of no use any more."""
        try:
            rows = await self._remote.list_folder(parent)
        except NodeNotFound as error:
            folder = await self._refresher.lookup.node(parent)
            if folder is not None and not folder.trashed:
                # Told to be there after all: what it holds is not known to be gone.
                raise RemoteUnavailable(f"{error.message}; but it is there") from error
            return
        row = next((row for row in rows if row.name == name), None)
        theirs = await self._refresher.lookup.node(row.id) if row is not None else None
        if theirs is None or theirs.trashed or theirs.id == inode.node:
            return
        sent = self._uploads.earlier_attempt(inode, theirs.size, theirs.sha256)
        owner = self._tree.by_node.get(theirs.id)
        if sent is not None and (owner is None or owner.pending is None):
            await self._confirm_created(inode, theirs, sent)
        else:
            self.answered(inode)
            await self._refresher.look_at([theirs.id])

    def answered(self, inode: Inode) -> None:
        """It is known by now what the remote created for this file, if anything."""
        inode.unanswered = False
        self._uploads.answered(inode)
        self._tree.unanswered.forget(inode)


def _has(node: RemoteNode, sent: Sent) -> bool:
    return creation.has_content(node, sent.size, sent.sha256)


def _is_as_sealed(inode: Inode, generation: int) -> bool:
    return inode.generation == generation and not inode.unsealed and inode.is_linked


def _is_to_be_created(inode: Inode) -> bool:
    return inode.base is None and inode.is_linked
