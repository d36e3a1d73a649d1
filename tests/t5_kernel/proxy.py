"""A way to the server that counts what passes, and that can be held up or cut."""

import contextlib
import re
import socket
import threading
from typing import Final

PORTION: Final = 64 * 1024
_CHUNK: Final = re.compile(rb"POST \S*/upload/([\w-]+)/chunk/\?(?:\S*&)?order=(\d+)")
_LONGEST_MATCH: Final = 400


class Proxy:
    """Forwards bytes between any number of clients and one server.

    `sent` and `received` count the bytes to and from the server, `chunks` has the upload and the order of
    each chunk that a request announced, `transcript` the beginning of what was sent.
    """

    TRANSCRIPT_BYTES = 64 * 1024 * 1024

    def __init__(self, url: str) -> None:
        host, port = url.split("/")[2].split(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        own = self._listener.getsockname()[1]
        self.url = url.replace(f":{port}/", f":{own}/")
        self._lock = threading.Condition()
        self._budget: int | None = None
        self._is_cut = False
        self._closed = False
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.sent = 0
        self.received = 0
        self.chunks: list[tuple[str, int]] = []
        self.transcript = bytearray()
        self._start(self._accept)

    def hold_after(self, count: int) -> None:
        """Let so many more bytes pass to the server, then none until `let_pass`."""
        with self._lock:
            self._budget = count

    def let_pass(self) -> None:
        with self._lock:
            self._budget = None
            self._lock.notify_all()

    def cut(self) -> None:
        """Drop all connections, and refuse new ones until `mend`."""
        with self._lock:
            self._is_cut = True
            self._drop_all()

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._drop_all()
            self._lock.notify_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)

    def _drop_all(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._is_cut:
                    raise ConnectionRefusedError
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
                if self._is_cut or self._closed:
                    self._drop_all()
            left = [2]
            self._start(self._forward, client, server, True, left)
            self._start(self._forward, server, client, False, left)

    def _forward(self, source: socket.socket, target: socket.socket, upwards: bool, left: list[int]) -> None:
        tail = b""
        try:
            while portion := source.recv(PORTION):
                if upwards:
                    tail = self._note(tail, portion)
                    self._wait_allowed(len(portion))
                else:
                    with self._lock:
                        self.received += len(portion)
                target.sendall(portion)
        except OSError:
            pass
        with self._lock:
            for connection in (source, target):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            left[0] -= 1
            if not left[0]:
                self._open -= {source, target}
                source.close()
                target.close()

    def _note(self, tail: bytes, portion: bytes) -> bytes:
        """Count; return the end of what was seen, in which a request may have begun."""
        seen = tail + portion
        with self._lock:
            self.sent += len(portion)
            if len(self.transcript) < self.TRANSCRIPT_BYTES:
                self.transcript += portion
            # The order may be cut off at the end: what is not followed by anything comes again.
            found = [match for match in _CHUNK.finditer(seen) if match.end() < len(seen)]
            self.chunks += [(match[1].decode(), int(match[2])) for match in found]
        rest = max(found[-1].end() if found else 0, len(seen) - _LONGEST_MATCH)
        return seen[rest:]

    def _wait_allowed(self, count: int) -> None:
        with self._lock:
            while self._budget is not None and self._budget < count and not self._closed:
                self._lock.wait()
            if self._budget is not None:
                self._budget -= count
