"""The WebSocket of the server, seen by a client of the protocol alone."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from tests.t2_server.conftest import StartServer
from tests.t2_server.serving import DEADLINE_S, Api, error_of


class Listener:
    """One WebSocket; `refused` is the status of a handshake that was not accepted."""

    def __init__(self, url: str, query: str, path: str = "/api/websocket/") -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), DEADLINE_S)
        self._frames = WSConnection(ConnectionType.CLIENT)
        host = f"{address.hostname}:{address.port}"
        self._socket.sendall(self._frames.send(Request(host=host, target=f"{path}?{query}")))
        first = self._next()
        self.refused = first.status_code if isinstance(first, RejectConnection) else None
        if self.refused:
            self.close()
        else:
            assert isinstance(first, AcceptConnection), first

    def _next(self) -> Any:
        while True:
            event = next(self._frames.events(), None)
            if event is not None:
                return event
            self._frames.receive_data(self._socket.recv(65536) or None)

    def told(self) -> list[str]:
        """The text of the next frame."""
        event = self._next()
        assert isinstance(event, TextMessage), event
        return [event.data]

    def ended(self) -> bool:
        return isinstance(self._next(), CloseConnection)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(api: Api, query: str | None = None) -> Iterator[Listener]:
    token = api.get(f"websocket/auth/{api.workspace}")["token"] if query is None else None
    listener = Listener(str(api.http.base_url), query or f"token={token}")
    try:
        yield listener
    finally:
        listener.close()


def test_each_change_is_one_frame(api: Api) -> None:
    api.upload("before", b"")
    with listening(api) as listener:
        node = api.upload("file", b"content")
        frame = '{"response":"activity","activity":["storage:' + node + '"]}'
        assert listener.told() == [frame]
        api.delete(f"{api.storage}{node}/delete/")
        assert listener.told() == [frame]


def test_token_hears_of_its_workspace_only(api: Api) -> None:
    with listening(api) as listener:
        own, api.workspace = api.workspace, "main"
        api.upload("elsewhere", b"x")
        api.workspace = own
        node = api.upload("here", b"")
        assert node in listener.told()[0]


def test_bearer_hears_of_all_it_reaches(api: Api) -> None:
    bearer = api.http.headers["authorization"].removeprefix("Bearer ")
    for query in (f"token={bearer}", bearer):
        with listening(api, query) as listener:
            assert api.upload(f"for {query[:5]}", b"") in listener.told()[0]


@pytest.mark.parametrize(
    "query", ["", "token=", "token=nobody", "nobody", "token=channel.4.99999999999.forged"]
)
def test_unknown_token_is_refused(api: Api, query: str) -> None:
    assert Listener(str(api.http.base_url), query).refused == 401


def test_channel_token_is_no_bearer(api: Api) -> None:
    token = api.get(f"websocket/auth/{api.workspace}")["token"]
    refused = api.http.get("user/auth/check/", headers={"authorization": f"Bearer {token}"})
    assert error_of(refused, 401)["code"] == 10011


def test_no_token_for_what_the_caller_does_not_reach(api: Api) -> None:
    assert error_of(api.http.get("websocket/auth/4000000000000000009"), 401)["code"] == 10545


def test_other_addresses_have_no_socket(api: Api) -> None:
    assert Listener(str(api.http.base_url), "", "/current/ping/").refused == 403


def test_lost_frames_are_lost(start_server: StartServer) -> None:
    server = start_server("--behave", "pushes_lost=2")
    with server.api() as api, listening(api) as listener:
        nodes = []
        for number in range(3):
            nodes.append(api.upload(f"file {number}", b""))
            if number != 1:
                assert nodes[-1] in listener.told()[0]


def test_spelling_is_kept_to(start_server: StartServer) -> None:
    server = start_server("--behave", "websocket=bare", "--behave", "websocket_auth=false")
    with server.api() as api:
        assert error_of(api.http.get(f"websocket/auth/{api.workspace}"), 404)["code"] == 9992
        assert Listener(server.url, f"token={server.token()}").refused == 401
        with listening(api, server.token()):
            pass


def test_server_that_ends_says_so(start_server: StartServer) -> None:
    server = start_server()
    with server.api() as api, listening(api) as listener:
        server.stop()
        assert listener.ended()
