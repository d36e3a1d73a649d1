"""The WebSocket that tells what changes as it happens, and the tokens for it."""

import asyncio
import logging
import math
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from mountfs.server.endpoint import Call, Services, answer, refusal
from mountfs.server.envelope import ApiError

logger = logging.getLogger(__name__)

GOING_AWAY = 1001
_LONG_S = 3600.0


async def channel_token(call: Call) -> Response:
    """`GET /websocket/auth/{entity}`: a token for the channel of one workspace."""
    services = call.services
    if not services.options.behaviour.websocket_auth:
        raise ApiError(404, 9992, "no such route")
    workspace = call.workspace_called(call.path("entity"), write=False)
    token, life_s = services.channel_tokens.issue(workspace.id)
    return answer({"token": token, "expires_in": life_s})


class PushSocket:
    """ASGI application of `/api/websocket/`. What it tells is told once: a client that is away misses it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        try:
            workspaces = self._heard_of(scope["query_string"].decode("latin-1"))
        except ApiError as error:
            await socket.send_denial_response(refusal(error, "GET", scope["path"]))
            return
        # Before the client knows that it hears: then nothing falls between.
        begin = await self._services.database.read(self._services.feed.present)
        await socket.accept()
        gone = asyncio.create_task(_until_gone(socket))
        telling = [asyncio.create_task(self._tell(socket, workspace, begin)) for workspace in workspaces]
        try:
            await asyncio.wait([gone, *telling], return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await socket.close(GOING_AWAY)
        finally:
            await _ended(gone, *telling)

    def _heard_of(self, query: str) -> Sequence[str]:
        """The workspaces that the token of this query hears of; raises what the handshake is refused with."""
        services, behaviour = self._services, self._services.options.behaviour
        if behaviour.websocket == "absent":
            raise ApiError(404, 9992, "no such route")
        token = _token_in(query, behaviour.websocket)
        services.gate.check_workspace(write=False)
        workspace = services.channel_tokens.entity(token)
        if workspace is not None:
            return [workspace]
        principal = services.credentials.principal(f"Bearer {token}")
        return [each.id for each in services.workspaces if principal.is_member(each.id)]

    async def _tell(self, socket: WebSocket, workspace: str, cursor: str) -> None:
        """Send what changes from the cursor on until the server ends."""
        services, behaviour = self._services, self._services.options.behaviour
        feed, read = services.feed, services.database.read
        told = 0
        while not services.wake_ups.closed:
            after = cursor
            news = await services.wake_ups.look_until(
                workspace,
                _LONG_S,
                lambda: read(lambda connection: feed.news(connection, workspace, after)),  # noqa: B023 - read at once
                lambda seen: bool(seen.keys),
                again_s=behaviour.news_late_s or math.inf,
            )
            cursor = news.cursor
            if not news.keys:
                continue
            told += 1
            if not behaviour.pushes_lost or told % behaviour.pushes_lost:
                await socket.send_json({"response": "activity", "activity": news.keys})


def _token_in(query: str, spelling: str) -> str:
    """The token of the address, spelled as the behaviour takes it; raises 401 where there is none."""
    named = parse_qs(query).get("token", [""])[0]
    bare = "" if named else unquote(query)
    token = {"token": named, "bare": bare}.get(spelling, named or bare)
    if not token:
        raise ApiError(401, 10011, "no token in the address")
    return token


async def _until_gone(socket: WebSocket) -> None:
    """What clients say has no meaning here."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _ended(*tasks: "asyncio.Task[None]") -> None:
    """End the tasks; a client that went while it was told something is no failure."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | RuntimeError):
            logger.error("a channel of changes failed", exc_info=outcome)
