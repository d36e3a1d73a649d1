"""The WebSocket of the service: both spellings of its address, and every way in which it ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Pong, Request, TextMessage

from mountfs.model.errors import NotOffered, RemoteUnavailable
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.remote import NewFile
from mountfs.remotes.fastio import FastioRemote, FastioService, FastioSettings
from mountfs.remotes.fastio.capabilities import Capabilities, Capability
from mountfs.remotes.fastio.settings import base_address, socket_address
from tests.t2_server.serving import ServerThread

NODE = "2aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
FRAME = '{"response":"activity","activity":["storage:2-AAAAAAAAAAAAAAAAAAAAAAAAAAAA","members"]}'
SETTINGS = FastioSettings(patience_s=5, attempts=2, socket_quiet_s=0.2, socket_answer_s=0.2)
PATIENT = FastioSettings(patience_s=20)
MINTED = {"result": True, "token": "of-the-channel"}
NO_ROUTE = {"result": False, "error": {"code": 9992, "text": "no such route"}}
DENIED = {"result": False, "error": {"code": 10011, "text": "no credential"}}

Peer = Callable[[WSConnection, trio.SocketStream], Awaitable[None]]


@pytest.fixture
async def remote(scripted: Any) -> AsyncIterator[FastioRemote]:
    service = FastioService(scripted.url, "own-token", settings=SETTINGS)
    yield service.remote("4")
    await service.aclose()


def upgrading(peer: Peer) -> Callable[[trio.SocketStream, Any], Awaitable[None]]:
    """Take the handshake as a server, and let `peer` have the connection."""

    async def step(stream: trio.SocketStream, server: Any) -> None:
        seen = await server.receive(stream)
        connection = WSConnection(ConnectionType.SERVER)
        lines = [f"{seen.method} {seen.target} HTTP/1.1", *(f"{k}: {v}" for k, v in seen.headers.items())]
        connection.receive_data("\r\n".join([*lines, "", ""]).encode())
        assert any(isinstance(event, Request) for event in connection.events())
        await stream.send_all(connection.send(AcceptConnection()))
        await peer(connection, stream)

    return step


async def says(connection: WSConnection, stream: trio.SocketStream, *messages: Event) -> None:
    for message in messages:
        await stream.send_all(connection.send(message))


async def first(remote: FastioRemote) -> frozenset[NodeId]:
    with trio.fail_after(60):
        async with remote.pushed() as told:
            return await anext(told)


async def test_frames_name_nodes_whatever_else_comes(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    async def peer(connection: WSConnection, stream: trio.SocketStream) -> None:
        strange = ["", "no json", "[]", '{"response":"hello"}', '{"response":"activity","activity":7}']
        strange += ['{"response":"activity","activity":["storage:?!","members"]}', '{"activity":["storage"]}']
        for text in strange:
            await says(connection, stream, TextMessage(text))
        half = len(FRAME) // 2
        await says(connection, stream, TextMessage(FRAME[:half], message_finished=False))
        await says(connection, stream, TextMessage(FRAME[half:]))
        await trio.sleep_forever()

    scripted.plays(acts.reply(200, MINTED), upgrading(peer))
    assert await first(remote) == {NODE}
    assert [request.target for request in scripted.seen] == [
        "/current/websocket/auth/4",
        "/api/websocket/?token=of-the-channel",
    ]
    assert "authorization" not in scripted.seen[1].headers


async def test_service_that_mints_no_token_gets_its_own(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    async def peer(connection: WSConnection, stream: trio.SocketStream) -> None:
        await says(connection, stream, TextMessage(FRAME))
        await trio.sleep_forever()

    scripted.plays(acts.reply(404, NO_ROUTE), acts.reply(401, DENIED), upgrading(peer))
    assert await first(remote) == {NODE}
    assert [request.target for request in scripted.seen[1:]] == [
        "/api/websocket/?token=own-token",
        "/api/websocket/?own-token",
    ]


async def test_ping_is_answered_and_keeps_the_channel(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    async def peer(connection: WSConnection, stream: trio.SocketStream) -> None:
        pings = 0
        await says(connection, stream, Ping(b"ours"))
        answered = False
        while pings < 3 or not answered:
            connection.receive_data(await stream.receive_some(1000))
            for event in connection.events():
                if isinstance(event, Ping):
                    pings += 1
                    await says(connection, stream, event.response())
                if isinstance(event, Pong):
                    assert event.payload == b"ours"
                    answered = True
        await says(connection, stream, TextMessage(FRAME))
        await trio.sleep_forever()

    scripted.plays(acts.reply(200, MINTED), upgrading(peer))
    assert await first(remote) == {NODE}


async def silent(connection: WSConnection, stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def closing(connection: WSConnection, stream: trio.SocketStream) -> None:
    await says(connection, stream, CloseConnection(1001))
    await trio.sleep_forever()


async def breaking(connection: WSConnection, stream: trio.SocketStream) -> None:
    await stream.aclose()


async def talking_nonsense(connection: WSConnection, stream: trio.SocketStream) -> None:
    await stream.send_all(b"\xff" * 100)
    await trio.sleep_forever()


async def talking_without_end(connection: WSConnection, stream: trio.SocketStream) -> None:
    while True:
        await says(connection, stream, TextMessage("x" * 60_000, message_finished=False))


@pytest.mark.parametrize("peer", [silent, closing, breaking, talking_nonsense, talking_without_end])
async def test_channel_that_ends_is_known_for_that(
    scripted: Any, remote: FastioRemote, acts: Any, peer: Peer
) -> None:
    scripted.plays(acts.reply(200, MINTED), upgrading(peer))
    began = trio.current_time()
    with pytest.raises(RemoteUnavailable):
        await first(remote)
    assert trio.current_time() - began < 20


@pytest.mark.parametrize("answer", [(404, NO_ROUTE), (403, DENIED), (200, {"result": True})])
async def test_service_without_a_channel_is_not_asked_again(
    scripted: Any, acts: Any, answer: tuple[int, Any]
) -> None:
    capabilities = Capabilities()
    service = FastioService(scripted.url, "own-token", settings=SETTINGS)
    remote = service.remote("4", capabilities=capabilities)
    scripted.plays(acts.reply(404, NO_ROUTE), acts.reply(*answer))
    for _ in range(2):
        with pytest.raises(NotOffered):
            await first(remote)
    assert capabilities.get(Capability.PUSH) is False
    assert len(scripted.seen) == 3, "one question for a token, two spellings"
    await service.aclose()


@pytest.mark.parametrize("status", [502, 503])
async def test_gateway_that_fails_says_nothing_of_the_channel(
    scripted: Any, acts: Any, remote: FastioRemote, status: int
) -> None:
    scripted.plays(acts.reply(200, MINTED), acts.reply(status, b"<html>"))
    with pytest.raises(RemoteUnavailable):
        await first(remote)


async def test_answer_to_another_handshake_is_none(scripted: Any, acts: Any, remote: FastioRemote) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": "somebody else's"}
    scripted.plays(acts.reply(200, MINTED), acts.reply(101, headers=headers))
    with pytest.raises(NotOffered):
        await first(remote)


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("https://api.fast.io/current/", "https://api.fast.io/api/websocket/?token=t"),
        ("https://go.fast.io/api/current/", "https://go.fast.io/api/websocket/?token=t"),
        ("http://127.0.0.1:7/current/", "http://127.0.0.1:7/api/websocket/?token=t"),
    ],
)
def test_channel_is_beside_the_api(base: str, address: str) -> None:
    assert str(socket_address(base_address(base, allow_insecure=False), "token=t")) == address


@pytest.mark.parametrize(
    "switches",
    [
        ("websocket=token",),
        ("websocket=bare",),
        ("websocket=token", "websocket_auth=false"),
        ("websocket=bare", "websocket_auth=false"),
        ("generation=older",),
    ],
)
async def test_every_kind_of_server_tells(tmp_path: Path, switches: tuple[str, ...]) -> None:
    with ServerThread(tmp_path / "data", *switches) as server:
        service = FastioService(server.url, server.token(), settings=PATIENT)
        remote = service.remote((await service.find_workspace("main")).id)
        with trio.fail_after(60):
            async with remote.pushed() as told:
                node = (await remote.create_folder(ROOT_NODE, "d")).id
                assert node in await anext(told)
                state = await remote.upload_small(NewFile(node, "f"), b"x", sha256(b"x").hexdigest())
                assert state.node in await anext(told)
        await service.aclose()


async def test_absent_channel_is_told_by_the_server(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data", "websocket=absent") as server:
        service = FastioService(server.url, server.token(), settings=PATIENT)
        with pytest.raises(NotOffered):
            await first(service.remote((await service.find_workspace("main")).id))
        await service.aclose()
