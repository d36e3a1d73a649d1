"""Reading content: a streamed range of one version, whether or not the service serves ranges."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import httpx
import trio

from mountfs.model.errors import NodeNotFound, ProtocolViolation, RemoteUnavailable
from mountfs.model.ids import NodeId, VersionId
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.details import details_of
from mountfs.remotes.fastio.error_map import Answer, accepted
from mountfs.remotes.fastio.http import named
from mountfs.remotes.fastio.request import Ask
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

REQUEST_ID: Final = "x-ve-reqid"
PARTIAL: Final = 206
UNSATISFIABLE: Final = 416
CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


class Reads(WorkspaceCalls):
    _range_seen = False
    """From then on a page of somebody on the way does not pass for content."""

    @property
    def serves_ranges(self) -> bool:
        return self._capabilities.get(Capability.RANGES) is not False

    @asynccontextmanager
    async def read(
        self, node: NodeId, version: VersionId | None, start: int, end: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As the port says; opening is retried, the stream is not. An empty range makes no call."""
        if start >= end:
            async with aclosing(_nothing()) as pieces:
                yield pieces
            return
        ask = self._read_ask(node, version, start, end)
        async with self._http.stream(ask) as response:
            try:
                arrives_at = self._first_byte(response, ask, start)
            except NodeNotFound as refused:
                await self._raise_if_present(node, version, refused)
                raise
            async with aclosing(_window(response, ask, start - arrives_at, end - start)) as pieces:
                yield pieces

    def _read_ask(self, node: NodeId, version: VersionId | None, start: int, end: int) -> Ask:
        query = {"version_id": version} if version else {}
        headers = {"Accept-Encoding": "identity"}
        if self.serves_ranges:
            headers["Range"] = f"bytes={start}-{end - 1}"
        path = self._node_path(node, "read")
        return Ask("GET", path, dict(query), headers=headers, abroad=True)

    async def _raise_if_present(self, node: NodeId, version: VersionId | None, refused: NodeNotFound) -> None:
        """Raise RemoteUnavailable where the service itself says that the content is there."""
        ask = Ask("GET", self._node_path(f"{node},{node}", "details"), {"output": "full"})
        told = details_of(await self._http.call(ask), ask, [node]).get(node)
        if told is not None and not told.trashed and version in (None, told.version):
            raise RemoteUnavailable(f"{refused.message}; but it is there") from refused

    def _first_byte(self, response: httpx.Response, ask: Ask, start: int) -> int:
        """Return the position in the file of the first byte that will come. Raises what a refusal means."""
        if response.status_code == UNSATISFIABLE:
            raise RemoteUnavailable(f"{ask}: the content ends before byte {start}")
        if not response.is_success:
            accepted(Answer(response.status_code, response.content), ask)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ProtocolViolation(f"{ask}: the content came encoded")
        if response.status_code != PARTIAL:
            if self._range_seen and REQUEST_ID not in response.headers:
                raise ProtocolViolation(f"{ask}: HTTP {response.status_code}, but not by the service")
            if REQUEST_ID in response.headers:
                self._capabilities.found(Capability.RANGES, False)
            else:
                self._capabilities.doubt(Capability.RANGES)
            return 0
        self._range_seen = True
        self._capabilities.found(Capability.RANGES, True)
        match = CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or int(match[1]) != start:
            raise ProtocolViolation(f"{ask}: the answer is not the range from {start}")
        return start


async def _nothing() -> AsyncGenerator[bytes, None]:
    for _ in range(0):
        yield b""


async def _window(response: httpx.Response, ask: Ask, skip: int, length: int) -> AsyncGenerator[bytes, None]:
    """Yield `length` bytes behind the first `skip`. Raises RemoteUnavailable where fewer come."""
    stream = response.aiter_raw()
    try:
        async for piece in stream:
            view = piece[skip : skip + length]
            skip = max(0, skip - len(piece))
            length -= len(view)
            if view:
                yield view
            if not length:
                return
    except httpx.RequestError as error:
        raise RemoteUnavailable(f"{ask}: the content broke off ({named(error)})") from error
    finally:
        await _abandon(stream)
    raise RemoteUnavailable(f"{ask}: the content ended {length} bytes early")


async def _abandon(stream: AsyncIterator[bytes]) -> None:
    """End the generators below the stream, wherever they wait: each passes the cancellation on and ends.

    Closing the outermost alone would leave the inner ones to the garbage collector. The connection of a
    body that has arrived whole stays usable; any other is closed.
    """
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        try:
            async for _ in stream:
                pass
        except httpx.RequestError:
            return
