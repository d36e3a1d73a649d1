"""Small new files of one folder on their way to the remote in one call."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from mountfs.model.errors import (
    AccessDenied,
    CredentialRefused,
    QuotaExceeded,
    RemoteError,
    RemoteUnavailable,
)
from mountfs.model.ids import Ino, NodeId
from mountfs.model.remote import BatchFile, NewFile, Remote, UploadLimits, UploadState
from mountfs.sync.cached_range import ContentChanged
from mountfs.tree.inode import Inode

FILE_BYTES: Final = 256 * 1024
"""Above this a call of its own costs little beside the content."""

BATCH_FILES: Final = 200
BATCH_BYTES: Final = 4 * 1024 * 1024
"""What one batch may hold in memory: as much as a single call."""

ALONE_AT_ONCE: Final = 8

FOR_ALL: Final = (RemoteUnavailable, AccessDenied, CredentialRefused, QuotaExceeded)
"""Refusals of a batch that each of its files would meet as well."""


def folder_of_new_file(inode: Inode) -> NodeId | None:
    """Return where the file would be created, if it is one that may go in a batch."""
    if not inode.is_file_there or inode.base is not None or inode.unsealed or inode.unanswered:
        return None
    if inode.parent is None or inode.size > FILE_BYTES:
        return None
    return inode.parent.node


@dataclass(slots=True, eq=False)
class _HandedIn:
    """`answer` None: this one has to go alone."""

    file: BatchFile
    is_wanted: Callable[[], bool]
    answered: trio.Event = field(default_factory=trio.Event)
    answer: UploadState | Exception | None = None

    def settle(self, answer: UploadState | Exception | None) -> None:
        self.answer = answer
        self.answered.set()


class Batch:
    """Each member takes its own step, with all of the checks of that step, and hands in its content where
    the call would be that sends it; or it leaves. The call is made when nobody is still on the way.

    `run` has to be running. A refusal of one file in a batch tells less than an answer of its own, so such
    a file is sent again, alone.
    """

    def __init__(
        self,
        remote: Remote,
        folder: NodeId,
        members: Iterable[Ino],
        committed: Callable[[], Awaitable[None]],
    ) -> None:
        """`committed`: returns when the journal has what was recorded of those that were handed in."""
        self.folder = folder
        self._committed = committed
        self._remote = remote
        self._coming = set(members)
        self._handed_in: list[_HandedIn] = []
        self._limits: UploadLimits | None = None
        self._complete = trio.Event()
        self._alone = trio.CapacityLimiter(ALONE_AT_ONCE)

    def expects(self, ino: Ino) -> bool:
        """Tell whether this member may hand in its content: once, as long as it has not left."""
        return ino in self._coming

    async def upload(
        self, ino: Ino, file: BatchFile, is_wanted: Callable[[], bool], limits: UploadLimits
    ) -> UploadState:
        """Hand in the content of a member that is expected, and wait for what became of it.

        Raises ContentChanged, with nothing sent, where `is_wanted` is false when the call is made; and
        what the single call raises.
        """
        handed = _HandedIn(file, is_wanted)
        self._limits = limits
        self._handed_in.append(handed)
        self.leave(ino)
        await handed.answered.wait()
        if isinstance(handed.answer, Exception):
            raise handed.answer
        if handed.answer is not None:
            return handed.answer
        async with self._alone:
            if not is_wanted():
                raise ContentChanged
            place = NewFile(self.folder, file.name)
            return await self._remote.upload_small(place, file.content, file.sha256)

    def leave(self, ino: Ino) -> None:
        """Nothing more comes of this member. May be said again."""
        self._coming.discard(ino)
        if not self._coming:
            self._complete.set()

    async def run(self) -> None:
        """Send what the members hand in; returns when each of them has its answer."""
        await self._complete.wait()
        try:
            await self._committed()
        except Exception as error:
            for handed in self._handed_in:
                handed.settle(error)
            return
        for group in self._groups():
            wanted = [handed for handed in group if handed.is_wanted()]
            for handed in group:
                if handed not in wanted:
                    handed.settle(ContentChanged())
            await self._send(wanted)

    def _groups(self) -> Iterator[list[_HandedIn]]:
        """Split what came into what the remote takes in one call."""
        limits = self._limits
        if limits is None:
            return
        group: list[_HandedIn] = []
        size = 0
        for handed in self._handed_in:
            size += len(handed.file.content)
            if group and (len(group) >= limits.batch_files or size > limits.batch_bytes):
                yield group
                group, size = [], len(handed.file.content)
            group.append(handed)
        yield group

    async def _send(self, group: Sequence[_HandedIn]) -> None:
        answers: Sequence[UploadState | Exception | None] = [None] * len(group)
        if len(group) > 1:
            try:
                told = await self._remote.upload_batch(self.folder, [handed.file for handed in group])
                answers = [_answer(one) for one in told]
            except Exception as error:
                answers = [_answer(error)] * len(group)
        for handed, answer in zip(group, answers, strict=True):
            handed.settle(answer)


def _answer(told: UploadState | Exception) -> UploadState | Exception | None:
    """Return what a member is told; None where only the call of its own tells enough."""
    if isinstance(told, RemoteError) and not isinstance(told, FOR_ALL):
        return None
    return told
