"""The body of an answer on one connection: what it is, what it costs, and what is left of the connection."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import pytest
import trio

from mountfs.remotes.fastio.http_connection import HEAD_RECEIVE_BYTES, HttpConnection

RECEIVE_BYTES: Final = 256 * 1024
BODY: Final = random.Random(1).randbytes(3 * 1024 * 1024 + 7)
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(BODY)
TIMEOUTS: Final = {"read": 5.0, "write": 5.0}


class Nothing(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(0):
            yield b""


class NotedStream(trio.abc.Stream):
    """Notes what came."""

    def __init__(self, below: trio.SocketStream) -> None:
        self._below = below
        self.came: list[bytes | bytearray] = []

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.came.append(await self._below.receive_some(max_bytes))
        return self.came[-1]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._below.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._below.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._below.aclose()


class Client:
    """A connection, and its other end, which plays the service."""

    def __init__(self) -> None:
        near, far = trio.socket.socketpair()
        self.stream, self.service = NotedStream(trio.SocketStream(near)), trio.SocketStream(far)
        self.connection = HttpConnection(self.stream, near, RECEIVE_BYTES)

    async def pieces(self, *answer: bytes, method: str = "GET", ends: bool = False) -> list[bytes]:
        """Ask, and return the body of this answer; each part of it is sent when the one before has gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer, answer, ends)
            asked = httpx.Request(method, "http://test/", headers={"Host": "test"}, stream=Nothing())
            await self.connection.exchange(asked, TIMEOUTS)
            pieces = []
            while (piece := await self.connection.body_piece(5.0)) is not None:
                pieces.append(piece)
            return pieces

    async def _answer(self, answer: tuple[bytes, ...], ends: bool) -> None:
        await self.service.receive_some(65536)
        for part in answer:
            await self.service.send_all(part)
        if ends:
            await self.service.aclose()


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    client = Client()
    try:
        yield client
    finally:
        client.connection.close()
        await client.service.aclose()


async def test_a_large_body_is_handed_on_as_it_was_received(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as client:
        parser, parsed = client.connection._http, list[int]()
        receive_data = parser.receive_data

        def note(data: bytes) -> None:
            parsed.append(len(data))
            receive_data(data)

        monkeypatch.setattr(parser, "receive_data", note)
        pieces = await client.pieces(HEAD + b"\r\n" + BODY)
        assert sum(parsed) <= HEAD_RECEIVE_BYTES
        assert b"".join(pieces) == BODY
        received = {id(piece) for piece in client.stream.came}
        copied = sum(len(piece) for piece in pieces if id(piece) not in received)
        assert copied <= HEAD_RECEIVE_BYTES
        assert all(len(piece) <= RECEIVE_BYTES for piece in pieces)


@pytest.mark.parametrize("began", [0, 1, HEAD_RECEIVE_BYTES, len(BODY) - 1, len(BODY)])
async def test_a_connection_serves_one_body_after_the_other_however_they_come(began: int) -> None:
    async with connected() as client:
        for _ in range(3):
            assert b"".join(await client.pieces(HEAD + b"\r\n" + BODY[:began], BODY[began:])) == BODY
            assert client.connection.begin_anew()
            assert b"".join(await client.pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) == b"ok"
            assert client.connection.begin_anew()


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Connection: close\r\n",
        HEAD + b"Connection: Keep-Alive, Close\r\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_a_connection_that_the_service_will_close_is_not_used_again(head: bytes) -> None:
    async with connected() as client:
        assert b"".join(await client.pieces(head + b"\r\n", BODY)) == BODY
        assert not client.connection.begin_anew()


async def test_a_body_that_ends_early_is_an_error_and_ends_the_connection() -> None:
    async with connected() as client:
        with pytest.RaisesGroup(httpx.RemoteProtocolError):
            await client.pieces(HEAD + b"\r\n", BODY[:-1], ends=True)
        assert not client.connection.begin_anew()


async def test_what_comes_behind_a_body_ends_the_connection() -> None:
    async with connected() as client:
        assert b"".join(await client.pieces(HEAD + b"\r\n", BODY + b"more")) == BODY
        assert client.connection.is_ended()


async def test_a_length_that_is_not_that_of_the_body_is_not_waited_for() -> None:
    async with connected() as client:
        assert await client.pieces(HEAD + b"\r\n", method="HEAD") == []
        assert client.connection.begin_anew()
        assert await client.pieces(HEAD.replace(b"200 OK", b"304 Not Modified") + b"\r\n") == []
        assert client.connection.begin_anew()
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nok\r\n0\r\n\r\n"
        assert b"".join(await client.pieces(chunked)) == b"ok"
