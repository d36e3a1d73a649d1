"""Sending the content of one file: in one call, or in chunks that survive a crash."""

import errno
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from mountfs.model.entry import SEALED, OpenUpload
from mountfs.model.errors import StorageError, UploadFailed, UploadVanished
from mountfs.model.ids import Ino, NodeId, UploadId
from mountfs.model.remote import BatchFile, NewFile, Remote, Unplaced, UploadLimits, UploadState, UploadStatus
from mountfs.rules import chunks, names
from mountfs.sync.batches import Batch
from mountfs.sync.cached_range import ContentChanged, is_unchanged
from mountfs.sync.content import FileContent
from mountfs.sync.still_content import SealedState, sealed_state
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

NO_SESSION: Final = UploadId("")
"""In the journal: sent in one call, which nothing can be gone on with."""

SMALL_READS_AT_ONCE: Final = 16
"""How many small files are open at a time to be read, of all that are on their way."""

STATE_WAIT_S: Final = 30.0
"""How long one question for the state of an upload waits for a change."""


@dataclass(slots=True)
class Transfer:
    """One upload under way, for the status."""

    inode: Inode
    size: int
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What the remote took: the upload, None where the remote had it before, and the node where it was
    placed already."""

    upload: UploadId | None
    node: NodeId | None
    generation: int
    size: int
    sha256: str
    together: bool = False
    """Many files went in the same call."""


class ContentUploads:
    """Sends exactly what stood at the last seal of a file, or raises ContentChanged."""

    def __init__(self, tree: Tree, remote: Remote, content: FileContent) -> None:
        self._remote = remote
        self._journal = tree.journal
        self._content = content
        self._limits: UploadLimits | None = None
        self._asking_limits = trio.Lock()
        self._open_uploads = tree.open_uploads
        self._hashes: dict[Ino, tuple[int, int, str]] = {}
        """Generation, size and hash of what is being sent."""
        self.transfers: dict[Ino, Transfer] = {}
        self.sent_bytes = 0
        """How many bytes of content the remote took, since the start."""
        self._batches: dict[Ino, Batch] = {}
        self._small_reads = trio.CapacityLimiter(SMALL_READS_AT_ONCE)

    def load(self, uploads: Iterable[OpenUpload], tree: Tree) -> None:
        """Take up what an earlier run began; the entries are in the tree."""
        for upload in uploads:
            self._open_uploads[upload.ino] = upload
            inode = tree.inodes.get(upload.ino)
            if inode is not None and upload.place is not None:
                inode.unanswered = True
                tree.unanswered[upload.place] = inode
            if inode is not None and inode.sealed == SEALED and upload.generation == inode.generation:
                inode.sealed = upload.sha256

    async def limits(self) -> UploadLimits:
        """Return what one upload may be; asked once."""
        if self._limits is None:
            async with self._asking_limits:
                self._limits = self._limits or await self._remote.upload_limits()
        return self._limits

    async def check(self, inode: Inode) -> None:
        """Raise FileTooBig or NameRefused where the remote would not take the file as it is now."""
        limits = await self.limits()
        names.check_suffix(_display_name(inode), limits.refused_suffixes)
        chunks.chunk_bytes(inode.size, limits)

    async def send(self, inode: Inode, place: NewFile | None) -> Sent:
        """Send the content; to `place` in the call that sends it where one call does, else unplaced.

        Raises ContentChanged, StorageError, and what the remote says. A large upload that is cut off goes
        on where it stopped when it is sent again unchanged, also after a crash.
        """
        limits = await self.limits()
        await self.check(inode)
        if self._known_hash(inode) is None:
            await self._content.settle(inode)
        self.transfers[inode.ino] = Transfer(inode, inode.size)
        try:
            if inode.size <= limits.single_call_bytes:
                sent = await self._send_small(inode, place)
                self.sent_bytes += sent.size
                return sent
            async with self._content.held(inode), sealed_state(inode, self._content) as state:
                return await self._send_chunked(state, limits)
        finally:
            del self.transfers[inode.ino]

    @asynccontextmanager
    async def batch(self, folder: NodeId, inodes: Sequence[Inode]) -> AsyncIterator[Batch]:
        """Within, new files among these that `send` is to place in the folder go together.

        Each of them has to leave the batch when it is done.
        """
        batch = Batch(self._remote, folder, [inode.ino for inode in inodes], self._journal.committed)
        self._batches |= {inode.ino: batch for inode in inodes}
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(batch.run)
                yield batch
        finally:
            for inode in inodes:
                # One that failed early may be in a later batch by now.
                if self._batches.get(inode.ino) is batch:
                    del self._batches[inode.ino]

    def goes_together(self, inode: Inode) -> bool:
        """Tell whether it is one of a batch under way."""
        return inode.ino in self._batches

    async def sha256(self, inode: Inode) -> str:
        """Return the hash of the content as it stands. Raises ContentChanged, StorageError."""
        await self._content.settle(inode)
        async with self._content.held(inode):
            state = SealedState(inode, self._content)
            content = state.range(0, state.size)
            known = self._known_hash(inode)
            if known is not None:
                return known
            digest = await content.sha256()
        if inode.sending:
            self._hashes[inode.ino] = state.generation, state.size, digest
        return digest

    def _known_hash(self, inode: Inode) -> str | None:
        """Return the hash of the state that the file has, None where nobody asked since its seal.
        Where it was, the content is settled: what is written past the daemon makes another generation."""
        known = self._hashes.get(inode.ino)
        return known[2] if known is not None and known[:2] == (inode.generation, inode.size) else None

    async def known_content(self, inode: Inode) -> Sent | None:
        """Describe content that would take several calls to send, in case the remote has it already; None
        where it is small, or half of it is sent. Raises ContentChanged, StorageError."""
        if inode.size <= (await self.limits()).single_call_bytes or self.has_session(inode):
            return None
        generation, size = inode.generation, inode.size
        sha256 = await self.sha256(inode)
        if inode.generation != generation:
            raise ContentChanged
        self._note(OpenUpload(inode.ino, generation, NO_SESSION, 0, size, sha256))
        await self._journal.committed()
        return Sent(None, None, generation, size, sha256)

    def ended(self, inode: Inode) -> None:
        """The content is where it belongs: a chunked upload of it need not be gone on with."""
        self._hashes.pop(inode.ino, None)
        if self._open_uploads.pop(inode.ino, None) is not None:
            self._journal.erase_upload(inode.ino)

    def loosen(self, inode: Inode) -> None:
        """What was sent of this file is, or will be, shown by the node of another: remember it as ours."""
        known = self._open_uploads.pop(inode.ino, None)
        if known is not None:
            self._keep_loose(known)
            self._journal.erase_upload(inode.ino)

    def answered(self, inode: Inode) -> None:
        """It is known what came of a call that may have created this file: that is not to be asked again."""
        known = self._open_uploads.get(inode.ino)
        if known is not None and known.place is not None:
            self._open_uploads[inode.ino] = known = replace(known, place=None)
            self._journal.record_upload(known)

    def earlier_attempt(self, inode: Inode, size: int, sha256: str | None) -> Sent | None:
        """Return what was sent of this file before, if the remote has just that; its answer was lost."""
        known = self._open_uploads.get(inode.ino)
        if known is None or (known.size, known.sha256) != (size, sha256):
            return None
        return Sent(None, None, known.generation, known.size, known.sha256)

    def unanswered_place(self, inode: Inode) -> tuple[NodeId, str] | None:
        """Return where an earlier call may have created this file, unknown to us."""
        known = self._open_uploads.get(inode.ino)
        return known.place if known is not None and inode.unanswered else None

    def has_session(self, inode: Inode) -> bool:
        """Tell whether a chunked upload of this file can be gone on with."""
        known = self._open_uploads.get(inode.ino)
        return known is not None and known.upload != NO_SESSION

    async def forget(self, inode: Inode) -> None:
        """Give up a chunked upload that is of no use any more."""
        self._hashes.pop(inode.ino, None)
        known = self._open_uploads.pop(inode.ino, None)
        if known is not None:
            self._keep_loose(known)
            self._journal.erase_upload(inode.ino)
            if known.upload != NO_SESSION:
                await self._remote.cancel_upload(known.upload)

    @property
    def has_open(self) -> bool:
        """Whether the journal knows of an upload that was begun and not ended."""
        return bool(self._open_uploads)

    async def cancel_unneeded(self, tree: Tree) -> None:
        """Give up the chunked uploads of content that is not to be sent any more.

        Raises what the remote says; what is left then is given up by a later call.
        """
        for ino, known in list(self._open_uploads.items()):
            inode = tree.inodes.get(ino)
            if known.upload == NO_SESSION or (inode is not None and _needs_upload(inode)):
                continue
            await self._remote.cancel_upload(known.upload)
            if self._open_uploads.get(ino) is known:
                del self._open_uploads[ino]
                self._journal.erase_upload(ino)

    async def _send_small(self, inode: Inode, place: NewFile | None) -> Sent:
        state, content = await self._read_small(inode)
        generation, size = state.generation, state.size
        sha256 = hashlib.sha256(content).hexdigest()
        _check_sealed(inode, sha256)
        # If the answer is lost, with this process or on its way, the remote's content is known for ours.
        at = (place.parent, place.name) if place is not None else None
        self._note(OpenUpload(inode.ino, generation, NO_SESSION, 0, size, sha256, at))
        inode.unanswered = place is not None
        if place is None:
            await self._journal.committed()
            told = await self._remote.upload_small(Unplaced(_display_name(inode)), content, sha256)
        else:
            told = await self._create(state, place.parent, BatchFile(place.name, content, sha256))
        told = await self._await_end(told, lambda s: s.status is UploadStatus.STORED or place is None)
        return Sent(told.id, told.node, generation, size, sha256, together=self.goes_together(inode))

    async def _read_small(self, inode: Inode) -> tuple[SealedState, bytes]:
        try:
            # Without a turn of the event loop where nobody has to wait.
            self._small_reads.acquire_nowait()
        except trio.WouldBlock:
            await self._small_reads.acquire()
        try:
            async with self._content.held(inode), sealed_state(inode, self._content) as state:
                return state, await state.range(0, state.size).whole()
        finally:
            self._small_reads.release()

    async def _create(self, state: SealedState, folder: NodeId, file: BatchFile) -> UploadState:
        """Send a new file, unless it is not to be there any more: then raise ContentChanged."""
        inode = state.inode

        def is_wanted() -> bool:
            self._content.notice(inode)
            is_current = state.is_copy or is_unchanged(inode, state.generation)
            return is_current and _lies_at(inode, folder, file.name)

        batch = self._batches.get(inode.ino)
        try:
            if batch is not None and batch.folder == folder and batch.expects(inode.ino):
                return await batch.upload(inode.ino, file, is_wanted, await self.limits())
            await self._journal.committed()
            if not is_wanted():
                raise ContentChanged
        except ContentChanged:
            self.ended(inode)
            raise
        return await self._remote.upload_small(NewFile(folder, file.name), file.content, file.sha256)

    async def _send_chunked(self, state: SealedState, limits: UploadLimits) -> Sent:
        inode, generation, size = state.inode, state.generation, state.size
        chunks.chunk_bytes(size, limits)  # refuses what is too big, before minutes go into its hash
        sha256 = await (state.range(0, size).sha256() if state.is_copy else self.sha256(inode))
        _check_sealed(inode, sha256)
        session, todo = await self._session(inode, generation, size, sha256, limits)
        transfer = self.transfers[inode.ino]
        transfer.sent = size - sum(chunk.end - chunk.start for chunk in todo)
        try:
            await self._send_chunks(state, session, todo, limits.parallel_chunks)
            await self._remote.complete_upload(session.upload)
            told = await self._remote.upload_state(session.upload)
            told = await self._await_end(told, lambda s: True)
        except (UploadFailed, UploadVanished, ContentChanged):
            await self.forget(inode)
            raise
        return Sent(told.id, None, generation, size, sha256)

    async def _session(
        self, inode: Inode, generation: int, size: int, sha256: str, limits: UploadLimits
    ) -> tuple[OpenUpload, list[chunks.Chunk]]:
        """Return the session to send to, and the chunks that it is still to get."""
        known = self._open_uploads.get(inode.ino)
        if known is not None and known.upload != NO_SESSION:
            if (known.generation, known.size, known.sha256) == (generation, size, sha256):
                try:
                    state = await self._remote.upload_state(known.upload)
                except UploadVanished:
                    pass
                else:
                    if state.status is not UploadStatus.FAILED:
                        todo = _still_to_come(known, state)
                        log.info("going on with the upload of %r: %d chunks to go", inode.path(), len(todo))
                        return known, todo
            await self.forget(inode)
        chunk = chunks.chunk_bytes(size, limits)
        upload = await self._remote.open_upload(Unplaced(_display_name(inode)), size, sha256)
        session = OpenUpload(inode.ino, generation, upload, chunk, size, sha256)
        self._note(session)
        await self._journal.committed()
        return session, chunks.missing(size, chunk, {})

    def _keep_loose(self, attempt: OpenUpload) -> None:
        """Nobody learnt what became of this, and the node it was for may be another entry's by now."""
        loose = replace(attempt, ino=self._journal.new_ino(), upload=NO_SESSION, place=None)
        self._open_uploads[loose.ino] = loose
        self._journal.record_upload(loose)

    def _is_kept(self, attempt: OpenUpload) -> bool:
        sent = (attempt.size, attempt.sha256)
        others = (each for each in self._open_uploads.values() if each.ino != attempt.ino)
        return any((each.size, each.sha256) == sent for each in others)

    def _note(self, attempt: OpenUpload) -> None:
        """The journal has to have it before the remote gets anything of it."""
        earlier = self._open_uploads.get(attempt.ino)
        if earlier is not None and not self._is_kept(earlier):
            # Also where it is the same content: the end of this attempt tells nothing of the earlier one,
            # which may have been for another node.
            self._keep_loose(earlier)
        self._open_uploads[attempt.ino] = attempt
        self._journal.record_upload(attempt)

    async def _send_chunks(
        self, state: SealedState, session: OpenUpload, todo: list[chunks.Chunk], parallel: int
    ) -> None:
        remaining = iter(todo)
        transfer = self.transfers[state.inode.ino]

        async def send_next() -> None:
            for chunk in remaining:
                content = state.range(chunk.start, chunk.end - chunk.start)
                digest = await content.sha256()
                await self._remote.send_chunk(session.upload, chunk.order, content, digest)
                transfer.sent += content.size
                self.sent_bytes += content.size

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(min(parallel, len(todo))):
                    nursery.start_soon(send_next)
        except BaseExceptionGroup as group:
            raise _most_telling(group) from group

    async def _await_end(self, state: UploadState, is_end: Callable[[UploadState], bool]) -> UploadState:
        """Wait until the remote has done its part: stored, or assembled where `is_end` takes that."""
        while True:
            if state.status is UploadStatus.FAILED:
                raise UploadFailed(
                    f"the workspace could not take the upload: {state.message or 'no reason given'}"
                )
            if state.status in (UploadStatus.STORED, UploadStatus.ASSEMBLED) and is_end(state):
                return state
            state = await self._remote.upload_state(state.id, wait_s=STATE_WAIT_S)


def _still_to_come(session: OpenUpload, state: UploadState) -> list[chunks.Chunk]:
    # One that takes none any more has them all, and need not tell of them.
    is_receiving = state.status is UploadStatus.RECEIVING
    return chunks.missing(session.size, session.chunk_bytes, state.chunks) if is_receiving else []


def _check_sealed(inode: Inode, sha256: str) -> None:
    """Raise StorageError where the disk gives other bytes than were closed."""
    if inode.sealed not in (None, SEALED, sha256):
        inode.suspect = True
        raise StorageError(
            f"the cache gives other bytes of {inode.path()!r} than were written",
            errno=errno.EIO,
            hint="close the file everywhere: then it is looked at again, and set aside if it is damaged",
        )


def _needs_upload(inode: Inode) -> bool:
    return inode.sending or (inode.is_linked and inode.content_dirty)


def _lies_at(inode: Inode, folder: NodeId, name: str) -> bool:
    return inode.parent is not None and inode.parent.node == folder and inode.name == names.from_remote(name)


def _display_name(inode: Inode) -> str:
    return names.to_remote(inode.name)


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Several chunks may fail at once, most of them by cancellation: name one cause."""
    causes = [cause for cause in _flatten(group) if not isinstance(cause, trio.Cancelled)]
    return causes[0] if causes else group


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    causes: list[BaseException] = []
    for cause in group.exceptions:
        causes += _flatten(cause) if isinstance(cause, BaseExceptionGroup) else [cause]
    return causes
