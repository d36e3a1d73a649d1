"""Upload sessions: in one call, or chunk by chunk."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import ceil
from typing import Final

from mountfs.model.content_source import BytesSource, ContentSource
from mountfs.model.errors import (
    AccessDenied,
    ArrivedSpoiled,
    FileTooBig,
    NodeNotFound,
    OutcomeUnknown,
    ProtocolViolation,
    RemoteUnavailable,
    RequestRefused,
    UploadVanished,
)
from mountfs.model.ids import UploadId
from mountfs.model.remote import NewFile, Placement, UploadLimits, UploadState, UploadStatus
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import Ask, FilePart, Refusals, Repeat, form, multipart, path_of
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

STATE_WAIT_MAX_S: Final = 60
SPOILED_AGAIN: Final = 2
"""How often a chunk is sent again that did not arrive as it was sent, before the upload counts as failed."""

OF_SESSION: Final = Refusals(absent=UploadVanished)


class Promptness:
    """Whether this service has assembled an upload of one call when it answers that. It does not say so, and
    need not be so each time. It is presumed after an upload that was found assembled, and never again once
    that was wrong: what is presumed is placed unasked, and asked for only where that is refused."""

    def __init__(self) -> None:
        self._last_was_prompt = False
        self._was_wrong = False
        self._presumed: set[UploadId] = set()

    def presume(self, upload: UploadId) -> bool:
        """Return whether the upload counts as assembled; it is to be settled then."""
        is_prompt = self._last_was_prompt and not self._was_wrong
        if is_prompt:
            self._presumed.add(upload)
        return is_prompt

    def is_presumed(self, upload: UploadId) -> bool:
        return upload in self._presumed

    def settle(self, upload: UploadId) -> None:
        """It was placed, or is of no use any more. Harmless for others."""
        self._presumed.discard(upload)

    def found(self, *, assembled: bool) -> None:
        """What the first question after an upload told."""
        self._last_was_prompt = assembled

    def refused(self, *, assembled: bool) -> None:
        """One that was presumed could not be placed; what the question after that told. It may have become
        so since: the next ones are asked for, at least."""
        self._last_was_prompt = False
        self._was_wrong |= not assembled


class Uploads(WorkspaceCalls):
    def __init__(
        self, http: Http, workspace_id: str, client_info: Mapping[str, str], capabilities: Capabilities
    ) -> None:
        super().__init__(http, workspace_id, client_info, capabilities)
        self._promptness = Promptness()

    async def upload_limits(self) -> UploadLimits:
        query = {"action": "create", "instance_id": self._workspace_id}
        limits = wire.upload_limits(await self._http.payload(Ask("GET", path_of("upload", "limits"), query)))
        try:
            told = await self._http.payload(Ask("GET", path_of("upload", "limits", "extensions")))
        except (NodeNotFound, AccessDenied, ProtocolViolation, RequestRefused):
            return limits  # a service without this route refuses names when it gets them
        return replace(limits, refused_suffixes=wire.refused_suffixes(told))

    async def upload_small(self, place: Placement, content: bytes, sha256: str) -> UploadState:
        fields = self._fields(place, len(content), sha256)
        body = multipart(fields, FilePart("chunk", place.name, BytesSource(content)))
        try:
            payload = await self._http.payload(
                Ask("POST", path_of("upload"), body=body, repeat=Repeat.UNSENT)
            )
        except (RequestRefused, FileTooBig):
            if content:
                raise
            return await self._upload_empty(place, sha256)
        told = wire.upload_state(payload)
        if told is not None:
            return told
        upload = wire.upload_id(payload)
        if isinstance(place, NewFile):
            return await self._state_after(upload)
        if self._promptness.presume(upload):
            return UploadState(upload, UploadStatus.ASSEMBLED, "", {}, None)
        state = await self._state_after(upload)
        self._promptness.found(assembled=state.status is UploadStatus.ASSEMBLED)
        return state

    async def _upload_empty(self, place: Placement, sha256: str) -> UploadState:
        """Send a file without bytes by a session without chunks: not every service takes an empty chunk."""
        upload = await self.open_upload(place, 0, sha256)
        await self.complete_upload(upload)
        return await self._state_after(upload)

    async def open_upload(self, place: Placement, size: int, sha256: str) -> UploadId:
        body = form(self._fields(place, size, sha256))
        ask = Ask("POST", path_of("upload"), body=body, repeat=Repeat.UNSENT)
        return wire.upload_id(await self._http.payload(ask))

    async def send_chunk(self, upload: UploadId, order: int, content: ContentSource, sha256: str) -> None:
        query = {"order": str(order), "size": str(content.size), "hash": sha256, "hash_algo": "sha256"}
        body = multipart({}, FilePart("chunk", f"chunk-{order}", content))
        ask = Ask("POST", path_of("upload", upload, "chunk"), query, body=body, refusals=OF_SESSION)
        for _ in range(SPOILED_AGAIN):
            with suppress(ArrivedSpoiled):
                await self._send_or_find_done(ask, upload, {order: content.size})
                return
        await self._send_or_find_done(ask, upload, {order: content.size})

    async def complete_upload(self, upload: UploadId) -> None:
        ask = Ask("POST", path_of("upload", upload, "complete"), body=form({}), refusals=OF_SESSION)
        await self._send_or_find_done(ask, upload)

    async def upload_state(self, upload: UploadId, *, wait_s: float = 0) -> UploadState:
        wait = min(STATE_WAIT_MAX_S, ceil(wait_s))
        query = {"wait": str(wait)} if wait > 0 else {}
        path = path_of("upload", upload, "details")
        payload = await self._http.payload(Ask("GET", path, query, wait_s=wait, refusals=OF_SESSION))
        state = wire.upload_state(payload)
        if state is None:
            raise ProtocolViolation(f"GET {path}: the answer tells no state")
        return state

    async def cancel_upload(self, upload: UploadId) -> None:
        self._promptness.settle(upload)
        try:
            await self._http.payload(Ask("DELETE", path_of("upload", upload), refusals=OF_SESSION))
        except UploadVanished:
            return

    def _fields(self, place: Placement, size: int, sha256: str) -> dict[str, str]:
        fields = {
            "name": wire.sendable_name(place.name),
            "size": str(size),
            "action": "create",
            "hash": sha256,
            "hash_algo": "sha256",
        }
        if isinstance(place, NewFile):
            fields |= {
                "instance_id": self._workspace_id,
                "folder_id": place.parent,
                "profile_type": "workspace",
            }
        return fields

    async def _send_or_find_done(
        self, ask: Ask, upload: UploadId, chunk: Mapping[int, int] | None = None
    ) -> None:
        """Send what moves a session on. A refusal by one that is past it already, or has this chunk (its
        order with its size), is success: the service may assemble on its own, and a repeat may follow an
        answer that was lost. That the bytes are the same too, the hash of the whole holds."""
        try:
            await self._http.payload(ask)
        except RequestRefused:
            state = await self.upload_state(upload)
            has_it = chunk is not None and chunk.items() <= state.chunks.items()
            if state.status is UploadStatus.FAILED or (state.status is UploadStatus.RECEIVING and not has_it):
                raise

    async def _state_after(self, upload: UploadId) -> UploadState:
        """Return the state of a session whose content has arrived, even if it cannot be read just now."""
        try:
            return await self.upload_state(upload)
        except UploadVanished as error:
            raise OutcomeUnknown(f"upload {upload}: accepted, then forgotten") from error
        except RemoteUnavailable:
            return UploadState(upload, UploadStatus.WORKING, "", {}, None)
