"""Hooks: programs and receivers that are told, that fail, and that hang."""

import hashlib
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mountfs.daemon import hooks
from mountfs.daemon.hooks import Hooks
from mountfs.daemon.settings import HookSettings, Secret
from mountfs.model.errors import RemoteUnavailable, RequestRefused
from mountfs.remotes.webhook import Webhook, signature
from mountfs.rules.backoff import Backoff
from mountfs.rules.happenings import Happenings, Kind
from tests.t6_system.machine import wait_until

_KEEP = """
import json, os, sys
event = json.load(sys.stdin)
names = ("MOUNTFS_EVENT", "MOUNTFS_PATH", "MOUNTFS_FILE", "MOUNTFS_MOUNTPOINT", "MOUNTFS_TOKEN")
told = {name: os.environ.get(name) for name in names}
with open(sys.argv[1], "a") as kept:
    kept.write(json.dumps({"event": event, "told": told, "cwd": os.getcwd()}) + "\\n")
"""

_HANGS = """
import os, signal, time
with open({pids!r}, "a") as pids:
    pids.write(f"{{os.getpid()}} ")
os.fork() or signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(99)
"""


@asynccontextmanager
async def _running(happenings: Happenings, *settings: HookSettings) -> AsyncIterator[Hooks]:
    made = Hooks(settings, happenings, mountpoint=Path("/mnt/w"))
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


def _command(kept: Path, *on: str, match: tuple[str, ...] = ()) -> HookSettings:
    return HookSettings(on=on, match=match, run=(sys.executable, "-c", _KEEP, str(kept)))


async def test_program_is_told_of_what_it_asked_for_and_has_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOUNTFS_TOKEN", "secret")
    happenings, kept = Happenings(), tmp_path / "kept"
    async with _running(happenings, _command(kept, "confirmed", "failed", match=("*.json",))) as running:
        happenings.tell(Kind.CONFIRMED, b"results/a.json", version="v1")
        happenings.tell(Kind.CONFIRMED, b"results/a.txt")
        happenings.tell(Kind.CHANGED, b"b.json")
        happenings.tell(Kind.FAILED, b"c.json", reason="too big")
        await running.finish()
    told = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(each["event"]["event"], each["event"]["path"]) for each in told] == [
        ("confirmed", "results/a.json"),
        ("failed", "c.json"),
    ]
    assert told[0]["event"]["version"] == "v1"
    assert told[0]["told"] == {
        "MOUNTFS_EVENT": "confirmed",
        "MOUNTFS_PATH": "results/a.json",
        "MOUNTFS_FILE": "/mnt/w/results/a.json",
        "MOUNTFS_MOUNTPOINT": "/mnt/w",
        "MOUNTFS_TOKEN": None,
    }
    assert told[0]["cwd"] == "/"


def _sessions_alive() -> set[int]:
    """Return the sessions that have a process which is more than a remainder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, _group, session, *_ = path.read_text().rpartition(") ")[2].split()
            if state != "Z":
                found.add(int(session))
    return found


async def test_program_that_hangs_is_ended_with_its_children_and_the_next_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "KILL_AFTER_S", 0.1)
    pids = tmp_path / "pids"
    hangs = _HANGS.format(pids=str(pids))
    slow = HookSettings(on=("changed",), run=(sys.executable, "-c", hangs), timeout_s=0.8)
    absent = HookSettings(on=("changed",), run=("/nonexistent/program",))
    happenings = Happenings()
    async with _running(happenings, slow, absent) as running:
        happenings.tell(Kind.CHANGED, b"a")
        happenings.tell(Kind.CHANGED, b"b")
        await running.finish()
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    gone = partial(wait_until, lambda: not _sessions_alive() & set(started), limit_s=10)
    await trio.to_thread.run_sync(gone)
    assert "took longer than 0.8 s" in caplog.text
    assert "cannot be run: No such file" in caplog.text


async def test_too_many_events_for_a_slow_hook_lose_the_oldest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    happenings, kept = Happenings(), tmp_path / "kept"
    made = Hooks([_command(kept, "changed", match=("last",))], happenings, mountpoint=Path("/mnt"))
    for number in range(hooks.MOST_WAITING + 3):
        happenings.tell(Kind.CHANGED, b"%d" % number)
    happenings.tell(Kind.CHANGED, b"last")
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        await made.finish()
        nursery.cancel_scope.cancel()
    assert "4 events were not told" in caplog.text
    assert len(kept.read_text().splitlines()) == 1


async def test_hooks_follow_a_new_configuration(tmp_path: Path) -> None:
    def told(name: str) -> list[str]:
        kept = tmp_path / name
        lines = kept.read_text().splitlines() if kept.exists() else []
        return [json.loads(line)["event"]["path"] for line in lines]

    happenings = Happenings()
    stays, goes, comes = (_command(tmp_path / name, "changed") for name in ("stays", "goes", "comes"))
    async with _running(happenings, stays, goes) as running:
        happenings.tell(Kind.CHANGED, b"first")
        running.follow([comes, stays])
        happenings.tell(Kind.CHANGED, b"second")
        await running.finish()
        # Given up, it still tells what happened before.
        await trio.to_thread.run_sync(partial(wait_until, lambda: told("goes") == ["first"], limit_s=20))
        running.follow([])
        happenings.tell(Kind.CHANGED, b"third")
        await running.finish()
    assert (told("stays"), told("comes")) == (["first", "second"], ["second"])
    assert told("goes") == ["first"]


# Webhooks.


@asynccontextmanager
async def _receiver(answers: list[bytes]) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Answer each request with the next status line, on a real socket; keep what came."""
    got: list[tuple[dict[str, str], bytes]] = []

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")[1:]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive_some()
            got.append((headers, body))
            status = answers.pop(0)
            await stream.send_all(
                b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/hook", got
        nursery.cancel_scope.cancel()


async def test_webhook_is_signed_and_repeated_with_the_same_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "RETRY", Backoff(first_s=0.01, most_s=0.01))
    happenings = Happenings()
    async with _receiver([b"503 Later", b"429 Slower", b"204 Done"]) as (url, got):
        hook = HookSettings(on=("conflict",), url=url, secret=Secret("s3cret"))
        async with _running(happenings, hook) as running:
            happenings.tell(Kind.CONFLICT, b"a", kind="edit/edit")
            await running.finish()
    assert len(got) == 3
    assert len({headers["mountfs-delivery"] for headers, _ in got}) == 1
    headers, body = got[-1]
    assert json.loads(body)["kind"] == "edit/edit"
    at, _, digest = headers["mountfs-signature"].removeprefix("t=").partition(",v1=")
    assert abs(int(at) - time.time()) < 60
    assert digest == hmac.new(b"s3cret", at.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert signature(b"s3cret", int(at), body) == headers["mountfs-signature"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"404 None", RequestRefused), (b"302 Elsewhere", RequestRefused), (b"500 Broken", RemoteUnavailable)],
)
async def test_refusals_of_a_receiver(answer: bytes, error: type[Exception]) -> None:
    async with _receiver([answer]) as (url, got):
        webhook = Webhook(url, "s")
        with pytest.raises(error):
            await webhook.post("1", b"{}")
        await webhook.aclose()
    assert len(got) == 1


async def test_receiver_that_is_away_is_told_in_vain_and_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "RETRY", Backoff(first_s=0.001, most_s=0.001))
    happenings = Happenings()
    hook = HookSettings(on=("changed",), url="http://127.0.0.1:1/", secret=Secret("s"))
    async with _running(happenings, hook) as running:
        happenings.tell(Kind.CHANGED, b"a")
        await running.finish()
    assert "was not told of changed of a: no answer" in caplog.text


def test_the_end_waits_for_hooks_no_longer_than_its_limit() -> None:
    async def check() -> None:
        happenings = Happenings()
        hook = HookSettings(on=("changed",), url="http://127.0.0.1:1/", secret=Secret("s"))
        async with _running(happenings, hook) as running:
            happenings.tell(Kind.CHANGED, b"a")
            before = trio.current_time()
            await running.finish()
            # The clock runs twenty times as fast: a busy machine takes some of its seconds.
            assert trio.current_time() - before <= hooks.END_LIMIT_S * 2

    trio.run(check, clock=MockClock(rate=20))
