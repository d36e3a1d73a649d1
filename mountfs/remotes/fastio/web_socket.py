"""A WebSocket over a connection that HTTP handed over: texts that come, and pings that tell whether anybody
is still there. The frames are wsproto's matter."""

from base64 import b64encode
from collections import deque
from secrets import token_bytes
from typing import Any, Final

import httpcore
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from mountfs.model.errors import RemoteUnavailable

READ_BYTES: Final = 64 * 1024
TEXT_MAX: Final = 1024 * 1024
"""In characters. What is longer is no news of this service."""

BROKEN: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


def new_key() -> str:
    """Return the nonce of a handshake."""
    return b64encode(token_bytes(16)).decode()


def handshake_headers(key: str) -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }


def is_accepted(key: str, told: str) -> bool:
    """Tell whether the answer to a handshake comes from somebody who understood it."""
    return told == generate_accept_token(key.encode()).decode()


class WebSocket:
    """`stream` is the connection behind its handshake; whoever opened it closes it.

    When nothing came for `quiet_s` a ping asks, and when nothing comes for `answer_s` after that the
    connection is taken for dead: one that nobody ended tells so in no other way.
    """

    def __init__(self, stream: Any, *, quiet_s: float, answer_s: float) -> None:
        self._stream = stream
        self._quiet_s = quiet_s
        self._answer_s = answer_s
        self._frames = Connection(ConnectionType.CLIENT)
        self._texts: deque[str] = deque()
        self._unfinished: list[str] = []

    async def text(self) -> str:
        """Return the next text. Raises RemoteUnavailable when there comes none any more. Cancelling it
        between two texts loses none."""
        while not self._texts:
            try:
                await self._hear()
            except BROKEN as error:
                raise RemoteUnavailable(f"the WebSocket broke ({type(error).__name__})") from error
            except (LocalProtocolError, RemoteProtocolError, UnicodeDecodeError) as error:
                raise RemoteUnavailable(f"the WebSocket makes no sense ({error})") from error
        return self._texts.popleft()

    async def _hear(self) -> None:
        try:
            came = await self._stream.read(READ_BYTES, timeout=self._quiet_s)
        except httpcore.ReadTimeout:
            await self._send(Ping())
            came = await self._answer()
        self._frames.receive_data(came or None)
        for event in self._frames.events():
            await self._take(event)

    async def _answer(self) -> bytes:
        try:
            answer: bytes = await self._stream.read(READ_BYTES, timeout=self._answer_s)
        except httpcore.ReadTimeout:
            raise RemoteUnavailable(
                f"the WebSocket was silent, a ping unanswered {self._answer_s} s"
            ) from None
        return answer

    async def _take(self, event: Event) -> None:
        match event:
            case TextMessage(data=data, message_finished=finished):
                self._unfinished.append(data)
                if sum(map(len, self._unfinished)) > TEXT_MAX:
                    raise RemoteUnavailable("the WebSocket sends what is no news")
                if finished:
                    self._texts.append("".join(self._unfinished))
                    self._unfinished = []
            case Ping():
                await self._send(event.response())
            case CloseConnection():
                raise RemoteUnavailable(f"the WebSocket was closed ({event.code})")

    async def _send(self, event: Ping | Pong) -> None:
        await self._stream.write(self._frames.send(event), timeout=self._answer_s)
