"""Spans: off they cost nothing, on they reach a collector, and none has a path."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings, Secret
from mountfs.daemon.traces import traced
from mountfs.model import tracing

_IMPORTS = """
import sys, mountfs.daemon.runner, mountfs.daemon.compose
loaded = {name.split(".")[0] for name in sys.modules}
heavy = {"opentelemetry", "prometheus_client", "starlette", "uvicorn"} & loaded
assert not heavy, heavy
"""


def _settings(folder: Path, url: str) -> MountSettings:
    return MountSettings(
        url="", workspace="main", mountpoint=folder, cache_dir=folder, token=Secret("t"), traces_url=url
    )


class Kept:
    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, str | int]]] = []

    @contextmanager
    def span(self, name: str, details: dict[str, str | int]) -> Iterator[None]:
        self.spans.append((name, details))
        yield


def test_spans_go_where_they_are_sent_and_else_nowhere() -> None:
    kept = Kept()
    tracing.install(kept)
    try:
        with tracing.span("send", ino=7):
            pass
    finally:
        tracing.install(None)
    with tracing.span("send", ino=8):
        pass
    assert kept.spans == [("send", {"ino": 7})]


def test_nothing_is_imported_where_it_is_off(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, timeout=60)
    with traced(_settings(tmp_path, "")):
        pass


def test_missing_libraries_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {"opentelemetry", *(name for name in sys.modules if name.startswith("opentelemetry."))}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationRefused, match="not installed"), traced(_settings(tmp_path, "http://x")):
        pass


async def test_spans_reach_a_collector(tmp_path: Path) -> None:
    got = b""
    arrived = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal got
        async with stream:
            async for piece in stream:
                got += piece
                if b"request" in got and b"\r\n\r\n" in got:
                    arrived.set()
                    await stream.send_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    return

    def work(url: str) -> None:
        with (
            traced(_settings(tmp_path, url)),
            tracing.span("send", ino=7),
            tracing.span("request", route="GET x"),
        ):
            pass

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = listener.socket.getsockname()[1]
        await trio.to_thread.run_sync(work, f"http://127.0.0.1:{port}/v1/traces")
        with trio.fail_after(20):
            await arrived.wait()
        nursery.cancel_scope.cancel()
    assert b"mountfs.route" in got or b"gzip" in got
