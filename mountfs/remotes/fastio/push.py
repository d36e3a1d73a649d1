"""Hearing of changes as they happen, by a WebSocket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import quote

from mountfs.model.errors import (
    AccessDenied,
    CredentialRefused,
    NodeNotFound,
    NotOffered,
    ProtocolViolation,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.ids import NodeId
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.request import Ask, path_of
from mountfs.remotes.fastio.web_socket import WebSocket
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

SPELLINGS: Final = ("token={}", "{}")
"""How the token stands in the query: the sources tell of both."""

REFUSED: Final = (
    AccessDenied,
    CredentialRefused,
    NodeNotFound,
    NotOffered,
    ProtocolViolation,
    RequestRefused,
)


class Push(WorkspaceCalls):
    @asynccontextmanager
    async def pushed(self) -> AsyncIterator[AsyncIterator[frozenset[NodeId]]]:
        """As the port says. That the service has no such channel is remembered."""
        if self._capabilities.get(Capability.PUSH) is False:
            raise NotOffered("the service was found to have no WebSocket")
        async with AsyncExitStack() as stack:
            try:
                socket = await self._open(stack, await self._channel_token())
            except RemoteUnavailable:
                raise
            except REFUSED as error:
                self._capabilities.found(Capability.PUSH, False)
                raise NotOffered(f"no WebSocket: {error.message}") from error
            self._capabilities.found(Capability.PUSH, True)
            yield _Told(socket)

    async def _channel_token(self) -> str:
        """Return a token for the channel of this workspace alone; where the service makes none, our own,
        which goes to the same host as with every request."""
        path = path_of("websocket", "auth", self._workspace_id).rstrip("/")
        try:
            return wire.channel_token(await self._http.payload(Ask("GET", path)))
        except RemoteUnavailable:
            raise
        except REFUSED:
            return await self._http.token()

    async def _open(self, stack: AsyncExitStack, token: str) -> WebSocket:
        refusal: RemoteError | None = None
        for spelling in SPELLINGS:
            try:
                return await stack.enter_async_context(
                    self._http.web_socket(spelling.format(quote(token, safe="")))
                )
            except RemoteUnavailable:
                raise
            except REFUSED as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal


class _Told:
    """What the frames name; frames without a node, and those of other kinds, are passed over."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def __aiter__(self) -> "_Told":
        return self

    async def __anext__(self) -> frozenset[NodeId]:
        while True:
            nodes = wire.pushed_nodes(await self._socket.text())
            if nodes:
                return nodes
