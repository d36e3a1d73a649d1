"""An HTTP proxy on a real socket that spoils chosen or random requests: see `scripts.lib.faults` for how.

It takes a request whole, and passes it on and the answer back, or does what a planned fault does. A WebSocket
that no fault is planned for goes through as it comes.
"""

import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPMessage, parse_headers
from typing import Final
from urllib.parse import urlsplit

GATEWAY_LIMIT_S: Final = 120
HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})

_NODE: Final = r"workspace/[^/]+/storage/[^/]+/"
_ROUTES: Final[Sequence[tuple[str, str, str, bytes]]] = (
    ("upload_batch", "POST", r"upload/batch/", b""),
    ("open_upload", "POST", r"upload/", b"&size="),
    ("upload_small", "POST", r"upload/", b""),
    ("send_chunk", "POST", r"upload/[^/]+/chunk/", b""),
    ("complete_upload", "POST", r"upload/[^/]+/complete/", b""),
    ("upload_limits", "GET", r"upload/limits/.*", b""),
    ("upload_state", "GET", r"upload/[^/]+/details/", b""),
    ("cancel_upload", "DELETE", r"upload/[^/]+/", b""),
    ("list_folder", "GET", _NODE + r"list/", b""),
    ("nodes", "GET", _NODE + r"details/", b""),
    ("read", "GET", _NODE + r"read/", b""),
    ("create_folder", "POST", _NODE + r"createfolder/", b""),
    ("commit", "POST", _NODE + r"update/", b"from="),
    ("rename", "POST", _NODE + r"update/", b""),
    ("move", "POST", _NODE + r"move/", b""),
    ("add_file", "POST", _NODE + r"addfile/", b""),
    ("trash", "DELETE", _NODE + r"delete/", b""),
    ("versions", "GET", _NODE + r"versions/", b""),
    ("changes", "GET", r"activity/poll/[^/]+/", b""),
    ("changed_lately", "GET", r"events/search/", b""),
    ("survey", "GET", r"org/[^/]+/events/changes/", b""),
    ("survey", "GET", r"workspace/[^/]+/details/", b""),
    ("pushed", "GET", r"websocket/auth/[^/]+", b""),
    ("pushed", "GET", r"/api/websocket/", b""),
)
"""Which method of `mountfs.model.remote.Remote` makes a request: its name, verb, path, a word of the form."""


@dataclass(frozen=True)
class Request:
    """`path` is what follows the base of the API."""

    verb: str
    target: str
    path: str
    headers: HTTPMessage
    body: bytes

    @property
    def method(self) -> str:
        """Return the method of the port that this request is, "other" for what is none."""
        for name, verb, path, word in _ROUTES:
            if verb == self.verb and re.fullmatch(path, self.path) and (word in self.body or not word):
                return name
        return "other"


@dataclass
class Response:
    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)


class Exchange:
    """One request between a client and the server. A fault decides what becomes of it."""

    def __init__(self, proxy: "FaultyProxy", request: Request, client: socket.socket) -> None:
        self.request = request
        self.is_open = True
        self._proxy = proxy
        self._client = client

    def forward(self, body: bytes | None = None) -> Response:
        """Let the server have the request, with this body instead of its own; return the answer."""
        asked = self.request
        sent = asked.body if body is None else body
        return self._proxy.ask(asked.verb, asked.target, sent, dict(asked.headers.items()))

    def ask(self, verb: str, path: str) -> Response:
        """Ask something else of the server, with the credential of this request."""
        headers = {"authorization": self.request.headers.get("authorization", "")}
        return self._proxy.ask(verb, self._proxy.base + path, b"", headers)

    def tunnel(self) -> None:
        """Let both sides talk until one of them ends."""
        self.is_open = False
        self._proxy.join(self.request, self._client)

    def answer(self, response: Response) -> None:
        self.send(response, response.body)

    def send(self, response: Response, body: bytes) -> None:
        """Send the head of the response as it is, with this body: shorter than announced, or in parts."""
        lines = [f"HTTP/1.1 {response.status} Word", f"Content-Length: {len(response.body)}"]
        lines += [f"{key}: {value}" for key, value in response.headers]
        self._client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def send_more(self, part: bytes) -> None:
        self._client.sendall(part)

    def close(self) -> None:
        """End the connection behind what was sent."""
        self.is_open = False

    def reset(self) -> None:
        """End the connection with an error for the other side."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_open = False

    def hang(self) -> None:
        """Wait until `FaultyProxy.heal`; what the client asked for is not answered then either."""
        self._proxy.wait_healed()
        self.reset()

    def pause(self, seconds: float) -> None:
        """Wait, at most until `FaultyProxy.heal`."""
        self._proxy.wait_healed(seconds)


Fault = Callable[[Exchange], None]


@dataclass
class _Planned:
    fault: Fault
    methods: frozenset[str]
    times: int | None
    skip: int
    chance: random.Random | None = None
    probability: float = 1.0

    def takes(self, method: str) -> bool:
        if (self.methods and method not in self.methods) or self.times == 0:
            return False
        if self.chance is not None and self.chance.random() >= self.probability:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultyProxy:
    """Listens on loopback from its making to `close`; each connection has a thread of its own.

    `seen` counts the requests by method of the port, `spoiled` those that a fault was applied to, `carried`
    the bytes of bodies that reached the server ("up") and came from it ("down").
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.base = parts.path.rstrip("/") + "/"
        self.seen: Counter[str] = Counter()
        self.spoiled: Counter[str] = Counter()
        self.carried: Counter[str] = Counter()
        self._plans: list[_Planned] = []
        self._lock = threading.Lock()
        self._healed = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._address = ("127.0.0.1", 0)
        self.set_refusing(False)
        self.url = f"{parts.scheme}://127.0.0.1:{self._address[1]}{self.base}"

    # What goes wrong.

    def plan(self, fault: Fault, *methods: str, times: int | None = 1, skip: int = 0) -> None:
        """Spoil the next `times` requests of these methods (none named: of any; None: all until `heal`)
        behind `skip` that pass. Plans made first are looked at first."""
        with self._lock:
            self._plans.append(_Planned(fault, frozenset(methods), times, skip))

    def plan_at_random(self, seed: int, probability: float, faults: Sequence[Fault], *methods: str) -> None:
        """Spoil requests of these methods with this probability, each with one of the faults."""
        chance = random.Random(seed)

        def one_of_them(exchange: Exchange) -> None:
            with self._lock:
                fault = chance.choice(faults)
            fault(exchange)

        with self._lock:
            planned = _Planned(one_of_them, frozenset(methods), None, 0, chance, probability)
            self._plans.append(planned)

    def set_refusing(self, refusing: bool) -> None:
        """Begin or end to refuse connections. Those that are there break when it begins."""
        if refusing and self._listener is not None:
            with self._lock:
                listener, self._listener = self._listener, None
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self._break_all()
        elif not refusing and self._listener is None:
            self._listener = socket.create_server(self._address, backlog=128)
            self._address = self._listener.getsockname()[:2]
            self._start(self._accept, self._listener)

    def heal(self) -> None:
        """Drop all plans, take connections, and end what hangs."""
        with self._lock:
            self._plans.clear()
            healed, self._healed = self._healed, threading.Event()
        healed.set()
        self.set_refusing(False)

    def wait_healed(self, seconds: float = GATEWAY_LIMIT_S) -> None:
        self._healed.wait(seconds)

    def close(self) -> None:
        self.heal()
        self.set_refusing(True)
        for thread in self._threads:
            thread.join(20)

    # Passing on.

    def ask(self, verb: str, target: str, body: bytes, headers: dict[str, str]) -> Response:
        """Ask the server, on a connection of its own."""
        server = HTTPConnection(*self._target, timeout=GATEWAY_LIMIT_S)
        server.connect()
        link = server.sock
        with self._lock:
            self._open.add(link)
            if self._listener is None:
                link.shutdown(socket.SHUT_RDWR)
        try:
            kept = {key: value for key, value in headers.items() if key.lower() not in HOP_BY_HOP}
            server.request(verb, target, body if body or verb == "POST" else None, kept)
            answer = server.getresponse()
            given = [(key, value) for key, value in answer.getheaders() if key.lower() not in HOP_BY_HOP]
            content = answer.read()
            with self._lock:
                self.carried["up"] += len(body)
                self.carried["down"] += len(content)
            return Response(answer.status, content, given)
        finally:
            with self._lock:
                self._open.discard(link)
            server.close()

    def join(self, request: Request, client: socket.socket) -> None:
        """Give the server the head of the request, and pass on what comes from either side."""
        with socket.create_connection(self._target, GATEWAY_LIMIT_S) as server:
            with self._lock:
                self._open.add(server)
            lines = [f"{request.verb} {request.target} HTTP/1.1"]
            lines += [f"{key}: {value}" for key, value in request.headers.items()]
            try:
                server.settimeout(None)
                server.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()
            finally:
                with self._lock:
                    self._open.discard(server)

    def _start(self, work: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(client)
            self._start(self._serve, client)

    def _break_all(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        source = client.makefile("rb")
        try:
            is_open = True
            while is_open and (first := source.readline()):
                verb, target, _ = first.decode("latin-1").split()
                headers = parse_headers(source)
                body = source.read(int(headers.get("content-length", "0")))
                path = urlsplit(target).path.removeprefix(self.base)
                is_open = self._treat(Exchange(self, Request(verb, target, path, headers, body), client))
        except (OSError, ValueError, HTTPException):
            pass
        finally:
            with self._lock:
                self._open.discard(client)
            source.close()
            client.close()

    def _treat(self, exchange: Exchange) -> bool:
        """Return whether the connection goes on."""
        method = exchange.request.method
        with self._lock:
            self.seen[method] += 1
            planned = next((plan for plan in self._plans if plan.takes(method)), None)
            if planned is not None:
                self.spoiled[method] += 1
        if planned is not None:
            planned.fault(exchange)
        elif exchange.request.headers.get("upgrade", "").lower() == "websocket":
            exchange.tunnel()
        else:
            exchange.answer(exchange.forward())
        return exchange.is_open


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until it ends, and let both sides know."""
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
