"""One HTTP/1.1 connection: h11 tells what the bytes mean, trio moves them.

A call suspends twice, to send and to receive. httpcore's connection also takes locks, tells tracers, and
sends the body of a request by itself. The bytes of a large body whose length was told mean nothing but
themselves, and pass h11 by: from the socket to whoever reads, without a copy in between.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11
import httpx
import trio

HEAD_MAX: Final = 100 * 1024
"""In bytes: what a service may tell before the body."""

TOGETHER_BYTES: Final = 64 * 1024
"""A body up to this goes out with the head: a packet of its own costs both sides another turn."""

HEAD_RECEIVE_BYTES: Final = 64 * 1024
"""So much is taken at once until the head is here: most answers are whole then, and little of a large body is
among what h11 copies."""

NO_BODY: Final = frozenset({204, 304})

BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

Timeouts = Mapping[str, float]


class HttpConnection:
    """Has one request at a time. Errors are httpx.RequestError, and what the body of the request raises;
    after one, or when cancelled, it can only be closed."""

    def __init__(self, stream: trio.abc.Stream, socket: trio.socket.SocketType, receive_bytes: int) -> None:
        """`socket` is below the stream; `receive_bytes`: how much of what has arrived is taken at once."""
        self._stream = stream
        self._socket = socket
        self._receive_bytes = receive_bytes
        self._http = _h11_connection()
        self._body: _KnownBody | None = None
        """Where the body passes h11 by."""
        self._idle_since = 0.0

    def begin_anew(self) -> bool:
        """Be ready for the next request; return False where the last exchange was not completed."""
        if self._body is not None:
            if self._http.our_state is not h11.DONE or self._body.missing:
                return False
            self._http, self._body = _h11_connection(), None  # that one waits for the body for ever
        elif self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        else:
            self._http.start_next_cycle()
        self._idle_since = trio.current_time()
        return True

    def idle_s(self) -> float:
        """Return how long ago that was."""
        return trio.current_time() - self._idle_since

    def is_ended(self) -> bool:
        """Tell of an idle one whether the service closed it: nothing else arrives unasked."""
        return self._socket.is_readable()

    def close(self) -> None:
        self._socket.close()

    async def exchange(self, request: httpx.Request, timeouts: Timeouts) -> h11.Response:
        """Send the request and return the head of its answer; `body_piece` returns the rest."""
        # A service may refuse a request before it has all of it: its answer tells why.
        with suppress(httpx.WriteError):
            try:
                await self._send(request, timeouts["write"])
            except h11.LocalProtocolError as error:
                raise httpx.LocalProtocolError(str(error)) from error
        while True:
            event = await self._next_event(timeouts["read"])
            if isinstance(event, h11.Response):
                self._body = _known_body(request.method, event, self._http.trailing_data[0])
                return event

    async def body_piece(self, timeout_s: float) -> bytes | None:
        """Return the next of the body, None behind its end."""
        if self._body is not None:
            return await self._known_piece(self._body, timeout_s)
        while True:
            event = await self._next_event(timeout_s)
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if event is h11.PAUSED or isinstance(event, h11.EndOfMessage):
                return None

    async def _known_piece(self, body: "_KnownBody", timeout_s: float) -> bytes | None:
        if not body.missing:
            return None
        if body.began:
            piece, body.began = body.began, b""
        else:
            piece = bytes(await self._receive(min(body.missing, self._receive_bytes), timeout_s))
            if not piece:
                raise httpx.RemoteProtocolError(f"closed {body.missing} bytes before the end of the body")
        body.missing -= len(piece)
        return piece

    async def _send(self, request: httpx.Request, timeout_s: float) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream), "what sends it is asynchronous"
        target = request.extensions.get("target", request.url.raw_path)
        waiting = self._encoded(
            h11.Request(method=request.method, target=target, headers=request.headers.raw)
        )
        async for piece in request.stream:
            encoded = self._encoded(h11.Data(data=piece))
            if len(waiting) + len(encoded) > TOGETHER_BYTES:
                await self._write(waiting, timeout_s)
                waiting = b""
            if len(encoded) > TOGETHER_BYTES:
                await self._write(encoded, timeout_s)
            else:
                waiting += encoded
        await self._write(waiting + self._encoded(h11.EndOfMessage()), timeout_s)

    def _encoded(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bytes:
        return self._http.send(event) or b""

    async def _write(self, encoded: bytes, timeout_s: float) -> None:
        if not encoded:
            return
        try:
            with trio.move_on_after(timeout_s):
                await self._stream.send_all(encoded)
                return
        except BROKEN as error:
            raise httpx.WriteError(str(error)) from error
        raise httpx.WriteTimeout("")

    async def _next_event(self, timeout_s: float) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # NEED_DATA is a class, which mypy does not narrow by `is`
            is_head = self._http.their_state is h11.SEND_RESPONSE
            most = HEAD_RECEIVE_BYTES if is_head else self._receive_bytes
            arrived = await self._receive(most, timeout_s)
            if not arrived and is_head:
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
            self._http.receive_data(bytes(arrived))

    async def _receive(self, most: int, timeout_s: float) -> bytes | bytearray:
        try:
            with trio.move_on_after(timeout_s):
                return await self._stream.receive_some(most)
        except BROKEN as error:
            raise httpx.ReadError(str(error)) from error
        raise httpx.ReadTimeout("")


@dataclass(slots=True)
class _KnownBody:
    """`missing` bytes are to be handed on; `began`, which came with the head, are the first of them."""

    missing: int
    began: bytes


def _h11_connection() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)


def _known_body(method: str, head: h11.Response, began: bytes) -> _KnownBody | None:
    """Return the body where its length was told, in a way that h11 would go by, and some is still to come.

    What is here already is faster told by h11, which keeps the connection's state as well."""
    # Names are in lower case, and h11 refuses an answer that tells two lengths.
    told = dict(head.headers)
    length = int(told.get(b"content-length", b"0"))
    if method == "HEAD" or head.status_code in NO_BODY or b"transfer-encoding" in told:
        return None
    if length <= len(began):
        return None
    return _KnownBody(length, began)
