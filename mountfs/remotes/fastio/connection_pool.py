"""Connections that are kept for the next request: a transport as httpx wants it, without httpcore's pool.

That one looks at all its connections several times for each request.
"""

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import httpx
import trio

from mountfs.remotes.fastio.http_connection import HttpConnection

DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}

Origin = tuple[bytes, bytes, int | None]
Result = TypeVar("Result")


class ConnectionPool(httpx.AsyncBaseTransport):
    """At most `most` requests at a time, and as many connections; idle ones are used again for `idle_s`."""

    def __init__(self, most: int, idle_s: float, receive_bytes: int, tls: ssl.SSLContext | None) -> None:
        self._most = most
        self._idle_s = idle_s
        self._receive_bytes = receive_bytes
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        self._turns = trio.Semaphore(most)
        self._idle: list[tuple[Origin, HttpConnection]] = []
        """The last used last."""
        self._closed = False

    async def aclose(self) -> None:
        """Close what is idle now, and the others when their requests are done."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].close()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx says. Sends `extensions["target"]`, where there is one, instead of the path of the URL."""
        timeouts = request.extensions["timeout"]
        await self._take_turn(timeouts["pool"])
        connection: HttpConnection | None = None
        try:
            origin = (request.url.raw_scheme, request.url.raw_host, request.url.port)
            connection = self._take_idle(origin) or await self._connect(origin, timeouts["connect"])
            head = await connection.exchange(request, timeouts)
        except BaseException:
            if connection is not None:
                connection.close()
            self._turns.release()
            raise
        body = _Body(connection, timeouts["read"], lambda: self._take_back(origin, connection))
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=body)

    async def _take_turn(self, timeout_s: float) -> None:
        try:
            self._turns.acquire_nowait()
        except trio.WouldBlock:
            with trio.move_on_after(timeout_s) as patience:
                await self._turns.acquire()
            if patience.cancelled_caught:
                raise httpx.PoolTimeout("") from None

    def _take_idle(self, origin: Origin) -> HttpConnection | None:
        """Return the one that was used last: the others end when they are not needed."""
        for position in reversed(range(len(self._idle))):
            if self._idle[position][0] == origin:
                connection = self._idle.pop(position)[1]
                if connection.idle_s() <= self._idle_s and not connection.is_ended():
                    return connection
                connection.close()
        return None

    def _take_back(self, origin: Origin, connection: HttpConnection) -> None:
        self._turns.release()
        if self._closed or not connection.begin_anew():
            connection.close()
            return
        self._idle.append((origin, connection))
        while self._idle and (self._idle[0][1].idle_s() > self._idle_s or len(self._idle) > self._most):
            self._idle.pop(0)[1].close()

    async def _connect(self, origin: Origin, timeout_s: float) -> HttpConnection:
        scheme, host, port = origin[0], origin[1].decode("ascii"), origin[2] or DEFAULT_PORTS[origin[0]]
        stream = await _connected(partial(trio.open_tcp_stream, host, port), timeout_s)
        if scheme == b"http":
            return HttpConnection(stream, stream.socket, self._receive_bytes)
        assert self._tls is not None, "the service is reached by TLS, or nothing is"
        secured = trio.SSLStream(stream, self._tls, server_hostname=host, https_compatible=True)
        try:
            await _connected(secured.do_handshake, timeout_s)
        except BaseException:
            stream.socket.close()
            raise
        return HttpConnection(secured, stream.socket, self._receive_bytes)


class _Body(httpx.AsyncByteStream):
    """The body of an answer; `done` is called once, when it was read to its end or is closed. No async
    generator: one that is left unfinished would be reported by trio when it is collected."""

    def __init__(self, connection: HttpConnection, timeout_s: float, done: Callable[[], None]) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._done: Callable[[], None] | None = done

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        if self._done is None:
            raise StopAsyncIteration
        piece = await self._connection.body_piece(self._timeout_s)
        if piece is None:
            self._end()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done()


async def _connected(connect: Callable[[], Awaitable[Result]], timeout_s: float) -> Result:
    try:
        with trio.move_on_after(timeout_s):
            return await connect()
    except (OSError, trio.BrokenResourceError) as error:
        raise httpx.ConnectError(str(error)) from error
    raise httpx.ConnectTimeout("")
