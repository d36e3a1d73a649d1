"""What the contract tests share: a server that follows a script, the embedded server, and the remotes."""

import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final, cast

import pytest
import trio

from mountfs.model.ids import NodeId
from mountfs.model.remote import NewFile, Remote, UploadState, UploadStatus
from mountfs.remotes.fastio import FastioService, FastioSettings
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace
from mountfs.server import read_behaviour
from mountfs.server.behaviour import Behaviour
from tests.server_variants import VARIANTS
from tests.t2_contract import real_service
from tests.t2_contract.real_service import RealWorkspace
from tests.t2_server.serving import ServerThread

GOLDEN = Path(__file__).parent / "golden"
SERVER_START_S = 20


@pytest.fixture
def golden() -> Callable[[str], bytes]:
    """Return the reader of golden answers, which are written from the specification."""
    return lambda name: (GOLDEN / f"{name}.json").read_bytes()


# A server that follows a script


@dataclass(frozen=True)
class SeenRequest:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Step = Callable[[trio.SocketStream, "ScriptedServer"], Awaitable[None]]


class ScriptedServer:
    """Plays one step of `script` for each request (the last one again and again), and keeps the requests."""

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.seen: list[SeenRequest] = []
        self.connections = 0
        self.hanging = trio.Event()
        self.url = ""

    def plays(self, *steps: Step) -> None:
        self.script = list(steps)

    def next_step(self) -> Step:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while stream.socket.fileno() != -1 and await stream.socket.recv(1, socket.MSG_PEEK):
                await self.next_step()(stream, self)
        except (OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.aclose()

    async def listen(self, nursery: trio.Nursery) -> None:
        serve = partial(trio.serve_tcp, self.handle, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/current/"

    async def receive(self, stream: trio.SocketStream) -> SeenRequest:
        """Read one request whole and keep it."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += await _some(stream)
        head, _, body = head.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += await _some(stream)
        method, target, _ = first.split(" ")
        self.seen.append(SeenRequest(method, target, headers, body))
        return self.seen[-1]


async def _some(stream: trio.SocketStream) -> bytes:
    got = await stream.receive_some(65536)
    if not got:
        raise EOFError
    return bytes(got)


def reply(status: int, body: bytes | dict[str, Any] = b"", headers: dict[str, str] | None = None) -> Step:
    """Answer; a dict goes out as JSON."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(content)}"]
    lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def raw(answer: bytes, *, close: bool = False) -> Step:
    async def step(stream: trio.SocketStream, server: ScriptedServer) -> None:
        await server.receive(stream)
        await stream.send_all(answer)
        if close:
            await stream.aclose()

    return step


async def hang(stream: trio.SocketStream, server: ScriptedServer) -> None:
    await server.receive(stream)
    server.hanging.set()
    await trio.sleep_forever()


async def reset_before_reading(stream: trio.SocketStream, server: ScriptedServer) -> None:
    _reset(stream)


async def reset_after_reading(stream: trio.SocketStream, server: ScriptedServer) -> None:
    await server.receive(stream)
    _reset(stream)


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@dataclass(frozen=True)
class Acts:
    """The steps of scripts; test modules cannot import them from here."""

    reply: Callable[..., Step] = field(default=reply)
    raw: Callable[..., Step] = field(default=raw)
    hang: Step = field(default=hang)
    reset_before_reading: Step = field(default=reset_before_reading)
    reset_after_reading: Step = field(default=reset_after_reading)


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
async def scripted(nursery: trio.Nursery) -> ScriptedServer:
    server = ScriptedServer()
    await server.listen(nursery)
    return server


@pytest.fixture
def naps() -> list[float]:
    """The pauses that the client made; `nap` makes them without taking the time."""
    return []


@pytest.fixture
def nap(naps: list[float]) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        await trio.lowlevel.checkpoint()

    return sleep


# The remotes under contract

SHORT: Final = ("newer", "older")
TRIED: Final = [
    name if name in SHORT else pytest.param(name, marks=pytest.mark.long, id=name) for name in VARIANTS
]


@dataclass(frozen=True)
class Embedded:
    url: str
    token: str


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Run the embedded server as a program of its own until the session ends."""
    with _running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session", params=["told", "absent"])
def enforcing_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Embedded]:
    """Run one whose locks refuse the changes of others, and tell that they do, or only HTTP 409."""
    switches = ("--behave", "locks=enforced", "--behave", f"reasons={request.param}")
    with _running(tmp_path_factory.mktemp("enforcing"), *switches) as server:
        yield server


@contextmanager
def _running(folder: Path, *switches: str) -> Iterator[Embedded]:
    data, log = folder / "data", folder / "log"
    command = [sys.executable, "-m", "mountfs.server", "--data", str(data), *switches]
    command += ["--listen", "127.0.0.1:0", "--workspace", "main", "--min-lock-seconds", "1"]
    with log.open("wb") as errors:
        server = Popen(command, stdout=PIPE, stderr=errors)
    try:
        yield Embedded(_base_url(server, log), (data / "token").read_text().strip())
    finally:
        server.terminate()
        server.wait(SERVER_START_S)
        assert server.stdout is not None
        server.stdout.close()


def _base_url(server: "Popen[bytes]", log: Path) -> str:
    assert server.stdout is not None
    line = server.stdout.readline().decode()
    words = [word for word in line.split() if word.startswith("http")]
    if not words:
        pytest.fail(f"no base URL in {line!r}; " + log.read_text()[-2000:])
    return words[0]


Connect = Callable[[], AbstractAsyncContextManager[Remote]]


SHOWN_AFTER_S: Final = 0.2
"""How long what is new is missing in listings here, where a variant has that take any time."""


def _switches(variant: str) -> tuple[str, ...]:
    lags = read_behaviour(VARIANTS[variant]).visible_after_s > 0
    return (*VARIANTS[variant], *([f"visible_after_s={SHOWN_AFTER_S}"] if lags else []))


class VariantServers:
    """Embedded servers by how they behave, each started when it is first asked for."""

    def __init__(self, folder: Callable[[], Path], stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._running: dict[str, Embedded] = {}

    def get(self, name: str) -> Embedded:
        if name not in self._running:
            self._running[name] = self._start(_switches(name), apart=name in SHORT)
        return self._running[name]

    def _start(self, switches: tuple[str, ...], *, apart: bool) -> Embedded:
        """Start one as a program of its own, or in a thread, which is faster where there are many."""
        if apart:
            options = [word for switch in switches for word in ("--behave", switch)]
            return self._stack.enter_context(_running(self._folder(), *options))
        server = self._stack.enter_context(ServerThread(self._folder() / "data", *switches))
        return Embedded(server.url, server.token())


@pytest.fixture(scope="session")
def variant_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VariantServers]:
    with ExitStack() as stack:
        yield VariantServers(lambda: tmp_path_factory.mktemp("variant"), stack)


@pytest.fixture(scope="session")
def real_workspace() -> Iterator[RealWorkspace]:
    with real_service.temporary_workspace(
        os.environ[real_service.URL], os.environ[real_service.TOKEN]
    ) as made:
        yield made


@pytest.fixture(params=["memory", *TRIED, *(["real"] if real_service.is_asked_for() else [])])
def under_contract(request: pytest.FixtureRequest) -> str:
    """Return the name of what the test is about."""
    return str(request.param)


@pytest.fixture
def promised(under_contract: str) -> Behaviour:
    """Return what the service promises, where services differ: of the real one, all that is hoped for."""
    return read_behaviour(_switches(under_contract) if under_contract in VARIANTS else ())


@pytest.fixture
def connect(under_contract: str, promised: Behaviour, request: pytest.FixtureRequest) -> Connect:
    """Return how to connect one more client to the workspace of this test."""
    if under_contract == "real":
        real: RealWorkspace = request.getfixturevalue("real_workspace")
        return partial(_over_a_socket, real.url, real.token, real.folder_name)
    if under_contract == "memory":
        workspace = MemoryWorkspace()

        @asynccontextmanager
        async def in_memory() -> AsyncIterator[Remote]:
            made = MemoryRemote(workspace)
            made.has_push = True
            yield made

        return in_memory
    servers: VariantServers = request.getfixturevalue("variant_servers")
    server = servers.get(under_contract)
    connected = partial(_over_a_socket, server.url, server.token)
    if not promised.visible_after_s:
        return connected

    @asynccontextmanager
    async def patient() -> AsyncIterator[Remote]:
        async with connected() as remote:
            yield cast("Remote", PatientRemote(remote, promised.visible_after_s))

    return patient


class PatientRemote:
    """Lists when what was done before is to be seen in listings."""

    def __init__(self, remote: Remote, shown_after_s: float) -> None:
        self._remote = remote
        self._shown_after_s = shown_after_s

    def __getattr__(self, name: str) -> object:
        listing = name in {"list_folder", "newest", "inventory", "survey"}
        return partial(self._later, name) if listing else getattr(self._remote, name)

    async def _later(self, name: str, *arguments: object) -> object:
        await trio.sleep(self._shown_after_s)
        return await getattr(self._remote, name)(*arguments)


@asynccontextmanager
async def _over_a_socket(url: str, token: str, workspace: str = "main") -> AsyncIterator[Remote]:
    lease_min_s = 1 if workspace == "main" else FastioSettings().lease_min_s
    service = FastioService(url, token, settings=FastioSettings(patience_s=20, lease_min_s=lease_min_s))
    try:
        found = await service.find_workspace(workspace)
        yield service.remote(found.id)
    finally:
        await service.aclose()


@pytest.fixture
def connect_enforced(enforcing_server: Embedded) -> Connect:
    """Return how to connect to a server whose locks refuse the changes of others."""
    return partial(_over_a_socket, enforcing_server.url, enforcing_server.token)


@pytest.fixture
async def remote(connect: Connect) -> AsyncIterator[Remote]:
    async with connect() as one:
        yield one


@pytest.fixture
async def other(connect: Connect) -> AsyncIterator[Remote]:
    """Another client of the same workspace."""
    async with connect() as one:
        yield one


Store = Callable[[NodeId, str, bytes], Awaitable[NodeId]]


@pytest.fixture
def store(remote: Remote) -> Store:
    """Return how to store a small file, through to its end."""
    return lambda parent, name, content: _stored(remote, NewFile(parent, name), content)


async def _stored(remote: Remote, place: NewFile, content: bytes) -> NodeId:
    state = await remote.upload_small(place, content, sha256(content).hexdigest())
    state = await settled(remote, state)
    assert state.status is UploadStatus.STORED, state
    assert state.node is not None
    return state.node


async def settled(remote: Remote, state: UploadState) -> UploadState:
    """Wait for a file to be in its folder: what is complete, but nowhere yet, is on its way there."""
    with trio.fail_after(20):
        while state.status in {UploadStatus.WORKING, UploadStatus.ASSEMBLED}:
            state = await remote.upload_state(state.id, wait_s=5)
    return state
