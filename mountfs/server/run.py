"""Runs the server in the foreground: socket, signals, start and stop in order."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import uvicorn

from mountfs.server.activity import WakeUps
from mountfs.server.app import build_app
from mountfs.server.endpoint import BASE_PATH, Services
from mountfs.server.errors import AddressInUse
from mountfs.server.housekeeping import (
    Background,
    resume_assemblies,
    sweep,
    sweep_regularly,
    watch_locks,
    without_end,
)
from mountfs.server.options import ServerOptions
from mountfs.server.startup import open_services, owned_folder

_GRACE_S = 2
_KEEP_ALIVE_S = 120
_HEARD_BYTES = 64 * 1024  # of what clients say by a WebSocket, which has no meaning
# It would write the address of each WebSocket, and a token is part of that.
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def serve(
    options: ServerOptions, announce: Callable[[str], None], *, ends: threading.Event | None = None
) -> None:
    """Serve until SIGINT, SIGTERM or `ends`; call `announce` with the base URL once requests are answered.

    Outside of the main thread there are no signals. Raises a `ServerError` when the server cannot start.
    """
    with owned_folder(options.data), _listening(options.host, options.port) as listener:
        asyncio.run(_serve(options, listener, announce, ends or threading.Event()))


async def _serve(
    options: ServerOptions, listener: socket.socket, announce: Callable[[str], None], ends: threading.Event
) -> None:
    background = Background()
    services = await open_services(options, background)
    try:
        await services.database.write(lambda tx: sweep(tx, options.activity_rows))
        background.start(without_end(partial(watch_locks, services)))
        background.start(without_end(partial(sweep_regularly, services)))
        await resume_assemblies(services)
        url = base_url(options.host, listener)
        server = _AnnouncingServer(_uvicorn_config(services), services.wake_ups, lambda: announce(url), ends)
        await server.serve([listener])
    finally:
        await background.close()
        await asyncio.to_thread(services.database.close)
        await asyncio.to_thread(services.blobs.close)


def base_url(host: str, listener: socket.socket) -> str:
    """The URL below which all routes lie."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}{BASE_PATH}/"


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol left open asyncio would not set TCP_NODELAY, and each answer would wait 40 ms.
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressInUse(f"cannot listen on {host}: {error.strerror}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(512)
        except OSError as error:
            why = "the address is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise AddressInUse(f"cannot listen on {host} port {port}: {why}") from error
        listener.setblocking(False)
        yield listener


def _uvicorn_config(services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        build_app(services),
        loop="asyncio",
        http="h11",
        ws="wsproto",
        ws_max_size=_HEARD_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


class _AnnouncingServer(uvicorn.Server):
    """Tells when it answers, and wakes the long polls before it waits for its connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        wake_ups: WakeUps,
        announce: Callable[[], None],
        ends: threading.Event,
    ) -> None:
        super().__init__(config)
        self._wake_ups = wake_ups
        self._announce = announce
        self._ends = ends

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._ends.is_set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._wake_ups.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGINT and SIGTERM without raising them again: `serve` returns to its caller."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.should_exit = True
