"""Serves an ASGI application beside the mount: in a thread of its own, with an event loop of its own.

The application asks the mount through `AskMount`, whose calls run on the mount's thread one at a time.
"""

import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from mountfs.daemon.errors import ConfigurationRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

_T = TypeVar("_T")

ANSWER_LIMIT_S: Final = 10.0
END_LIMIT_S: Final = 5.0


class AskMount:
    """Calls of another thread into the mount's event loop. To be made on that loop's thread.

    Raises trio.RunFinishedError once the loop has ended, TimeoutError for what takes too long.
    """

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()

    def now(self, call: Callable[[], _T]) -> _T:
        """Return what the call returns; it must not wait."""
        return trio.from_thread.run_sync(call, trio_token=self._token)

    def patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return what the call returns, that may wait."""

        async def bounded() -> _T:
            with trio.fail_after(ANSWER_LIMIT_S):
                return await call()

        try:
            return trio.from_thread.run(bounded, trio_token=self._token)
        except trio.TooSlowError as error:
            raise TimeoutError from error


def bind(address: str) -> socket.socket:
    """Return a socket that listens at HOST:PORT. Raises ConfigurationRefused."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
            listener.listen(16)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationRefused(
            f"nothing can listen at {address}: {error.strerror}", hint="choose another port"
        ) from error
    return listener


@asynccontextmanager
async def serving(app: "ASGIApp", listener: socket.socket) -> AsyncIterator[None]:
    """Serve within the block. What goes wrong while serving is logged, and leaves the mount alone."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> "Iterator[None]":
            """Signals are for the mount."""
            yield

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)

    def run() -> None:
        try:
            server.run(sockets=[listener])
        except Exception:
            log.exception("the server at %s ended", listener.getsockname())

    # A daemon thread: it must not keep a process whose mount has ended.
    thread = threading.Thread(target=run, name="viewers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, END_LIMIT_S)
        listener.close()
