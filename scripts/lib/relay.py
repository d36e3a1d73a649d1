"""A TCP proxy in a process of its own: delays, drops, cuts and counts; and `Relay`, the handle on it.

The delay is of the round trip: half of it is added to each direction, to every piece of data by itself, so
that the throughput of a connection stays as it is. A new connection costs a round trip before its first
byte sets out, as the handshake of TCP does.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

PIECE: Final = 256 * 1024

IN_FLIGHT: Final = 64 * 1024 * 1024
"""Bytes of one direction that may be on their way: at 40 ms more than any network of this speed holds, so
that it never is what limits a connection, and bounded where the receiver does not read."""


class RelayProxy:
    """Listens at one address and passes everything on to one port of loopback."""

    def __init__(self, target_port: int, delay_ms: float = 0.0) -> None:
        self.delay_ms = delay_ms
        self.received_bytes = 0
        """From the target to its clients."""
        self.sent_bytes = 0
        self.dropping = False
        """What comes is swallowed: both ends wait, as they do where a network loses everything."""
        self._target_port = target_port
        self._open: set[asyncio.StreamWriter] = set()

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> tuple[asyncio.Server, int]:
        """Return the server and its port; port 0 is any that is free."""
        server = await asyncio.start_server(self._serve, host, port, limit=PIECE)
        return server, int(server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        for writer in self._open:
            writer.transport.abort()

    def set_dropping(self, dropping: bool) -> None:
        """Begin or end to swallow; what was swallowed is gone, so the connections end with it."""
        if self.dropping and not dropping:
            self.cut()
        self.dropping = dropping

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port, limit=PIECE)
        except OSError:
            writer.close()
            return
        self._open |= {writer, back}
        connected = time.monotonic() + self.delay_ms / 1000
        try:
            await asyncio.gather(
                self._pass(reader, back, connected, sends=True),
                self._pass(there, writer, connected, sends=False),
            )
        finally:
            self._open -= {writer, back}

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, connected: float, *, sends: bool
    ) -> None:
        pending = InFlight()
        delivery = asyncio.create_task(self._deliver(pending, target))
        with suppress(OSError):
            while piece := await source.read(PIECE):
                if sends:
                    self.sent_bytes += len(piece)
                else:
                    self.received_bytes += len(piece)
                if not self.dropping:
                    begin = max(connected, time.monotonic())
                    await pending.put(begin + self.delay_ms / 2000, piece)
        await pending.put(0.0, b"")
        await delivery

    async def _deliver(self, pending: "InFlight", target: asyncio.StreamWriter) -> None:
        broken = False
        while True:
            due, piece = await pending.get()
            if not piece:
                break
            if broken:
                continue
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            try:
                target.write(piece)
                await target.drain()
            except OSError:
                broken = True
        with suppress(OSError):
            target.close()


class InFlight:
    """What is on its way in one direction, each piece with when it is due; bounded by bytes, not by pieces:
    small ones that follow each other quickly must not be slower than large ones."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def put(self, due: float, piece: bytes) -> None:
        await self._has_room.wait()
        self._pieces.put_nowait((due, piece))
        self._count(len(piece))

    async def get(self) -> tuple[float, bytes]:
        due, piece = await self._pieces.get()
        self._count(-len(piece))
        return due, piece

    def _count(self, change: int) -> None:
        self._bytes += change
        if self._bytes < IN_FLIGHT:
            self._has_room.set()
        else:
            self._has_room.clear()


class Relay:
    """A proxy as a child process, ruled by lines: `delay MS`, `cut`, `drop`, `pass` and `count`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.port = port

    @classmethod
    def started(
        cls, target_port: int, host: str = "127.0.0.1", prefix: Sequence[str] = (), port: int = 0
    ) -> Self:
        """Start it; `prefix` is a command that runs it elsewhere, for example in a network of its own."""
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*prefix, sys.executable, "-m", "scripts.lib.relay", str(target_port), host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        assert process.stdout is not None
        return cls(process, int(process.stdout.readline()))

    def set_delay_ms(self, delay_ms: float) -> None:
        """Returns when it holds for what comes from now on."""
        self._ask(f"delay {delay_ms}")

    def cut(self) -> None:
        """Reset every connection."""
        self._ask("cut")

    def set_dropping(self, dropping: bool) -> None:
        """Swallow everything, until told otherwise; then the connections that lost something are reset."""
        self._ask("drop" if dropping else "pass")

    def received_bytes(self) -> int:
        """Bytes that came from the server so far."""
        return int(self._ask("count"))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


async def _main(target_port: int, host: str, port: int) -> None:
    proxy = RelayProxy(target_port)
    _server, listened = await proxy.listen(host, port)
    print(listened, flush=True)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), os.fdopen(0, "rb"))
    while line := (await orders.readline()).decode():
        match line.split():
            case ["delay", delay_ms]:
                proxy.delay_ms = float(delay_ms)
            case ["cut"]:
                proxy.cut()
            case ["drop" | "pass" as order]:
                proxy.set_dropping(order == "drop")
        print(proxy.received_bytes, flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
