"""Connections that are used again: which, for how long, how many, and what goes over them."""

import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from trio.testing import MockClock, wait_all_tasks_blocked

from mountfs.model.errors import RemoteUnavailable
from mountfs.remotes.fastio.connection_pool import ConnectionPool
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.http_connection import TOGETHER_BYTES, HttpConnection
from mountfs.remotes.fastio.request import Ask, form
from mountfs.remotes.fastio.settings import FastioSettings

IDLE_S: Final = 4.0
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE: Final = {"text": "a" * 200_000}
TIMEOUTS: Final = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}


class Body(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def request(url: str, *pieces: bytes, **timeouts: float) -> httpx.Request:
    headers = {"Host": "test", "Content-Length": str(sum(map(len, pieces)))}
    extensions = {"timeout": {**TIMEOUTS, **timeouts}}
    return httpx.Request("POST", url, headers=headers, stream=Body(*pieces), extensions=extensions)


@asynccontextmanager
async def pooled(most: int = 4) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(most, IDLE_S, 65536, None)
    try:
        yield pool
    finally:
        await pool.aclose()


async def ask(connections: ConnectionPool, url: str, **timeouts: float) -> bytes:
    response = await connections.handle_async_request(request(url, **timeouts))
    return await response.aread()


async def test_one_connection_serves_one_request_after_the_other(scripted: Any, acts: Any) -> None:
    scripted.plays(acts.raw(ANSWER))
    async with pooled() as pool:
        assert [await ask(pool, scripted.url) for _ in range(5)] == [b"ok"] * 5
    assert scripted.connections == 1


async def test_the_connection_that_was_used_last_is_used_next(scripted: Any, acts: Any) -> None:
    used = []

    async def note(stream: trio.SocketStream, server: Any) -> None:
        await server.receive(stream)
        used.append(stream.socket.getpeername())
        await stream.send_all(ANSWER)

    scripted.plays(note)
    async with pooled() as pool:
        first, second = [await pool.handle_async_request(request(scripted.url)) for _ in range(2)]
        await first.aread()
        await second.aread()
        await ask(pool, scripted.url)
        await ask(pool, scripted.url)
    assert used[0] != used[1]
    assert used[2:] == [used[1]] * 2


async def test_a_connection_that_was_idle_too_long_is_not_used_again(
    scripted: Any, acts: Any, mock_clock: MockClock
) -> None:
    scripted.plays(acts.raw(ANSWER))
    async with pooled() as pool:
        await ask(pool, scripted.url)
        mock_clock.jump(IDLE_S / 2)
        await ask(pool, scripted.url)
        assert scripted.connections == 1
        mock_clock.jump(IDLE_S + 1)
        await ask(pool, scripted.url)
    assert scripted.connections == 2


async def test_a_connection_that_grew_old_while_it_was_taken_back_is_not_used_again(
    scripted: Any, acts: Any, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was stopped just then, or the machine slept."""
    begin_anew = HttpConnection.begin_anew

    def and_sleep(connection: HttpConnection) -> bool:
        is_ready = begin_anew(connection)
        mock_clock.jump(IDLE_S + 1)
        return is_ready

    monkeypatch.setattr(HttpConnection, "begin_anew", and_sleep)
    scripted.plays(acts.raw(ANSWER))
    async with pooled() as pool:
        assert [await ask(pool, scripted.url) for _ in range(2)] == [b"ok"] * 2
    assert scripted.connections == 2


async def test_a_connection_that_the_service_closed_is_not_used_again(scripted: Any, acts: Any) -> None:
    closed = trio.Event()

    async def answer_and_close(stream: trio.SocketStream, server: Any) -> None:
        await acts.raw(ANSWER, close=True)(stream, server)
        closed.set()

    scripted.plays(answer_and_close, acts.raw(ANSWER))
    async with pooled() as pool:
        await ask(pool, scripted.url)
        await closed.wait()
        assert await ask(pool, scripted.url) == b"ok"
    assert scripted.connections == 2


@pytest.mark.parametrize("left", ["unread", "cancelled", "refused"])
async def test_a_connection_whose_answer_was_not_read_to_its_end_is_closed(
    scripted: Any, acts: Any, left: str
) -> None:
    scripted.plays(acts.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), acts.raw(ANSWER))
    async with pooled(most=1) as pool:
        response = await pool.handle_async_request(request(scripted.url, read=0.05))
        if left == "cancelled":
            with trio.CancelScope() as scope:
                scope.cancel()
                await response.aread()
        elif left == "refused":
            with pytest.raises(httpx.ReadTimeout):
                await response.aread()
        await response.aclose()
        assert await ask(pool, scripted.url) == b"ok"
    assert scripted.connections == 2


async def test_requests_beyond_the_limit_wait_for_their_turn_with_a_bound(scripted: Any, acts: Any) -> None:
    scripted.plays(acts.raw(ANSWER))
    async with pooled(most=1) as pool:
        response = await pool.handle_async_request(request(scripted.url))
        with trio.fail_after(TIMEOUTS["connect"] / 2), pytest.raises(httpx.PoolTimeout):
            await ask(pool, scripted.url, pool=0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, pool, scripted.url)
            await wait_all_tasks_blocked()
            await response.aread()
    assert scripted.connections == 1


async def test_a_connection_that_cannot_be_made_takes_no_turn(scripted: Any, acts: Any) -> None:
    scripted.plays(acts.raw(ANSWER))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        async with pooled(most=1) as pool:
            for _ in range(2):
                with pytest.raises(httpx.ConnectError):
                    await ask(pool, nowhere)
            assert await ask(pool, scripted.url) == b"ok"


async def test_connections_end_with_the_pool(scripted: Any, acts: Any) -> None:
    ended = trio.Event()

    async def answer(stream: trio.SocketStream, server: Any) -> None:
        await acts.raw(ANSWER)(stream, server)
        assert not await stream.receive_some(1)
        ended.set()

    scripted.plays(answer)
    async with pooled() as pool:
        response = await pool.handle_async_request(request(scripted.url))
        await pool.aclose()
        assert await response.aread() == b"ok"
        with trio.fail_after(5):
            await ended.wait()


async def test_no_more_connections_stay_than_may_be_used(acts: Any, nursery: trio.Nursery) -> None:
    """Not even where a service redirects to others."""
    ended = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        while await stream.receive_some(65536):
            await stream.send_all(ANSWER)
        ended.set()

    start = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
    listeners = [(await nursery.start(start))[0] for _ in range(2)]
    first, second = [f"http://127.0.0.1:{each.socket.getsockname()[1]}/" for each in listeners]
    async with pooled(most=1) as pool:
        await ask(pool, first)
        await ask(pool, second)
        with trio.fail_after(5):
            await ended.wait()


@pytest.fixture
async def first_pieces(nursery: trio.Nursery) -> "FirstPieces":
    server = FirstPieces()
    listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
    server.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
    return server


class FirstPieces:
    """Keeps what arrived first of a request, and answers at the end of it."""

    def __init__(self) -> None:
        self.first = b""
        self.has_large = trio.Event()
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        arrived = b""
        async for piece in stream:
            self.first = self.first or bytes(piece)
            arrived += piece
            if len(arrived) > TOGETHER_BYTES:
                self.has_large.set()
            if arrived.endswith(b"end"):
                await stream.send_all(ANSWER)


async def test_a_small_body_goes_out_with_its_head(first_pieces: FirstPieces) -> None:
    async with pooled() as pool:
        response = await pool.handle_async_request(request(first_pieces.url, b"in pieces, ", b"to the end"))
        assert await response.aread() == b"ok"
    assert first_pieces.first.startswith(b"POST / HTTP/1.1\r\n")
    assert first_pieces.first.endswith(b"\r\n\r\nin pieces, to the end")


async def test_a_large_body_goes_out_as_it_comes(first_pieces: FirstPieces) -> None:
    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield bytes(TOGETHER_BYTES + 1)
            await first_pieces.has_large.wait()
            yield b"end"

    asked = request(first_pieces.url)
    asked.headers["Content-Length"] = str(TOGETHER_BYTES + 4)
    asked.stream = Slow()
    async with pooled() as pool:
        with trio.fail_after(5):
            response = await pool.handle_async_request(asked)
            assert await response.aread() == b"ok"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for `localhost` that vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "localhost.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
async def secured_port(nursery: trio.Nursery, certificate: Path) -> int:
    """Where a service is reached by TLS, as HTTP/1.1."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols(["h2", "http/1.1"])

    async def serve(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):  # whoever does not trust it goes
            while came := await secured.receive_some(65536):
                assert secured.selected_alpn_protocol() == "http/1.1"
                told = LARGE if b"/large/" in came else {"id": "7"}
                body = json.dumps({"result": True, **told}).encode()
                await secured.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def asked_by_tls(host: str, port: int, path: str = "check/") -> dict[str, Any]:
    settings = FastioSettings(attempts=1, patience_s=5)
    http = Http(httpx.URL(f"https://{host}:{port}/current/"), "token", settings)
    try:
        for _ in range(2):
            answer = await http.payload(Ask("POST", path, body=form({"a": "b"})))
        return answer
    finally:
        await http.aclose()


async def test_a_service_that_shows_its_certificate_is_asked_by_tls(
    secured_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert await asked_by_tls("localhost", secured_port) == {"id": "7"}


async def test_a_large_answer_comes_by_tls(
    secured_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert await asked_by_tls("localhost", secured_port, "large/") == LARGE


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
async def test_a_service_that_cannot_show_who_it_is_gets_no_request(
    secured_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(RemoteUnavailable, match="no connection"):
        await asked_by_tls(host, secured_port)


@pytest.fixture
async def tunnels(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a proxy was asked for, which the environment names for everything that goes by TLS."""
    asked: list[bytes] = []

    async def serve(client: trio.SocketStream) -> None:
        head = bytes(await client.receive_some(65536))
        asked.append(head.partition(b" HTTP/1.1\r\n")[0])
        server = await trio.open_tcp_stream("127.0.0.1", int(asked[-1].rpartition(b":")[2]))
        await client.send_all(b"HTTP/1.1 200 Connected\r\n\r\n")
        async with server, trio.open_nursery() as both:
            both.start_soon(pump, client, server)
            await pump(server, client)
            both.cancel_scope.cancel()

    async def pump(source: trio.SocketStream, target: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for piece in source:
                await target.send_all(piece)

    listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    return asked


async def test_a_proxy_of_the_environment_carries_what_goes_by_tls(
    tunnels: list[bytes], secured_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert await asked_by_tls("localhost", secured_port) == {"id": "7"}
    assert tunnels == [b"CONNECT localhost:%d" % secured_port]
