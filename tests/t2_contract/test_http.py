"""The shell around httpx, against a server that misbehaves on request."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio

from mountfs.model.content_source import PIECE_BYTES, BytesSource
from mountfs.model.errors import (
    CredentialRefused,
    OutcomeUnknown,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import Ask, FilePart, Repeat, form, multipart
from mountfs.remotes.fastio.settings import FastioSettings

TOKEN = "secret-token-of-the-test"
OK = {"result": True, "id": "7"}
QUICK = FastioSettings(patience_s=5, attempts=4, connect_s=1, read_s=0.2, backoff_base_s=1, backoff_cap_s=4)

READ = Ask("GET", "user/auth/check/")
CHANGE = Ask("POST", "workspace/4/storage/2a/move/", body=form({"parent": "root"}), repeat=Repeat.UNSENT)
REPEATABLE = Ask("POST", "upload/5a/complete/", body=form({}))


@pytest.fixture
async def http(scripted: Any, nap: Callable[[float], Awaitable[None]]) -> AsyncIterator[Http]:
    shell = Http(httpx.URL(scripted.url), TOKEN, QUICK, sleep=nap, jitter=lambda: 0.5)
    yield shell
    await shell.aclose()


async def test_bearer_and_envelope_travel(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(200, OK, {"x-ve-reqid": "r1"}))
    assert await http.payload(READ) == {"id": "7"}
    assert scripted.seen[0].target == "/current/user/auth/check/"
    assert scripted.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_commas_stay_literal_and_queries_are_escaped(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(200, OK))
    await http.payload(Ask("GET", "storage/2a,2b/details/", {"lastactivity": "a b&c=/"}))
    assert scripted.seen[0].target == "/current/storage/2a,2b/details/?lastactivity=a+b%26c%3D%2F"


async def test_change_without_a_body_says_that_it_has_none(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(200, OK))
    await http.payload(Ask("POST", "upload/5a/complete/"))
    assert scripted.seen[0].headers["content-length"] == "0"


@pytest.mark.parametrize("trouble", ["reset_before_reading", "reset_after_reading", "hang"])
async def test_reads_survive_one_broken_connection(
    scripted: Any, http: Http, acts: Any, trouble: str
) -> None:
    scripted.plays(getattr(acts, trouble), acts.reply(200, OK))
    assert await http.payload(READ) == {"id": "7"}


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_reads_and_safe_changes_survive_a_gateway(
    scripted: Any, http: Http, acts: Any, naps: list[float], status: int
) -> None:
    for ask in (READ, REPEATABLE):
        scripted.plays(acts.reply(status, b"<html>gateway</html>"), acts.reply(200, OK))
        assert await http.payload(ask) == {"id": "7"}
    assert naps == [0.5, 0.5]


async def test_each_answer_is_told_with_its_route_and_what_has_none_is_not(
    scripted: Any, http: Http, acts: Any, naps: list[float]
) -> None:
    told: list[tuple[str, float]] = []
    http.answered = lambda route, seconds: told.append((route, seconds))
    scripted.plays(
        acts.reply(503, b"later"), acts.reset_after_reading, acts.reply(200, OK), acts.reply(200, OK)
    )
    await http.payload(READ)
    await http.payload(replace(READ, wait_s=1))
    assert [route for route, _ in told] == [READ.route, READ.route]
    assert all(0 < seconds < 60 for _, seconds in told)


@pytest.mark.parametrize("trouble", ["reset_before_reading", "reset_after_reading", "hang"])
async def test_change_whose_answer_is_lost_is_not_repeated(
    scripted: Any, http: Http, acts: Any, trouble: str
) -> None:
    scripted.plays(getattr(acts, trouble), acts.reply(200, OK))
    with pytest.raises(OutcomeUnknown, match=r"POST workspace/4/storage/2a/move/: .*may have happened"):
        await http.payload(CHANGE)
    assert scripted.connections == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_change_answered_by_a_gateway_is_not_repeated(
    scripted: Any, http: Http, acts: Any, status: int
) -> None:
    scripted.plays(acts.reply(status, b"<html>gateway</html>"), acts.reply(200, OK))
    with pytest.raises(OutcomeUnknown):
        await http.payload(CHANGE)
    assert len(scripted.seen) == 1


async def test_change_is_repeated_after_429_as_late_as_told(
    scripted: Any, http: Http, acts: Any, naps: list[float]
) -> None:
    told = {"result": False, "error": {"code": 10368, "params": {"retry_after_seconds": 3}}}
    scripted.plays(acts.reply(429, told), acts.reply(200, OK))
    assert await http.payload(CHANGE) == {"id": "7"}
    assert naps == [3.5]


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"Retry-After": "3"}, 3.5),
        ({"x-ve-limit-avail": "0", "x-ve-limit-expires": "{epoch}"}, 3.5),
        ({"x-ve-limit-avail": "0", "x-ve-limit-expires": "{words}"}, 3.5),
        ({"X-Rate-Limit-Available": "0", "X-Rate-Limit-Expiry": "{epoch}"}, 3.5),
        ({"x-ve-limit-avail": "0", "x-ve-limit-expires": "soon"}, 0.5),
        ({}, 0.5),
    ],
)
async def test_429_without_a_hint_in_the_body(
    scripted: Any, http: Http, acts: Any, naps: list[float], headers: dict[str, str], pause_s: float
) -> None:
    at = datetime.now(UTC) + timedelta(seconds=3)
    told = {"epoch": str(at.timestamp()), "words": at.strftime("%Y-%m-%d %H:%M:%S.%f UTC")}
    filled = {key: value.format(**told) for key, value in headers.items()}
    scripted.plays(acts.reply(429, b"busy", filled), acts.reply(200, OK))
    await http.payload(READ)
    assert naps == [pytest.approx(pause_s, abs=0.4)]


async def test_hint_beyond_the_patience_gives_up_at_once(
    scripted: Any, http: Http, acts: Any, naps: list[float]
) -> None:
    told = {"result": False, "error": {"params": {"retry_after_seconds": 600}}}
    scripted.plays(acts.reply(429, told))
    with pytest.raises(RateLimited) as caught:
        await http.payload(READ)
    assert caught.value.retry_after_s == 600
    assert naps == []


async def test_limit_headers_are_kept(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(200, OK, {"x-ve-limit-avail": "41", "x-ve-limit-max": "60"}))
    await http.payload(READ)
    assert http.rate_limit is not None
    assert (http.rate_limit.available, http.rate_limit.maximum) == (41, 60)


async def test_refused_connections_end_in_one_clear_error(
    nap: Callable[[float], Awaitable[None]], naps: list[float]
) -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        shell = Http(httpx.URL(f"http://127.0.0.1:{port}/"), TOKEN, QUICK, sleep=nap, jitter=lambda: 0.5)
        for ask in (READ, CHANGE):
            naps.clear()
            with pytest.raises(RemoteUnavailable, match=r"no connection .*after 4 attempts") as caught:
                await shell.payload(ask)
            assert type(caught.value) is RemoteUnavailable
            assert naps == [0.5, 1.0, 2.0]
        await shell.aclose()


async def test_patience_bounds_the_whole_call(scripted: Any, acts: Any) -> None:
    scripted.plays(acts.hang)
    settings = FastioSettings(patience_s=0.3, read_s=60)
    shell = Http(httpx.URL(scripted.url), TOKEN, settings)
    with trio.fail_after(10), pytest.raises(RemoteUnavailable, match="in time"):
        await shell.payload(READ)
    await shell.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"nonsense\r\n\r\n",
    ],
)
async def test_truncated_and_garbled_answers_count_as_lost(
    scripted: Any, http: Http, acts: Any, answer: bytes
) -> None:
    scripted.plays(acts.raw(answer, close=True), acts.reply(200, OK))
    assert await http.payload(READ) == {"id": "7"}
    scripted.plays(acts.raw(answer, close=True), acts.reply(200, OK))
    with pytest.raises(OutcomeUnknown):
        await http.payload(CHANGE)


async def test_chunked_answers_are_read_whole(scripted: Any, http: Http, acts: Any) -> None:
    chunks = b'8\r\n{"result\r\n14\r\n": true, "id": "7"}\n\r\n0\r\n\r\n'
    scripted.plays(acts.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
    assert await http.payload(READ) == {"id": "7"}


async def test_pages_of_a_proxy(scripted: Any, http: Http, acts: Any) -> None:
    page = b"<html>Bad Gateway</html>"
    scripted.plays(acts.reply(502, page, {"Content-Type": "text/html"}))
    with pytest.raises(RemoteUnavailable, match=r"HTTP 502.*after 4 attempts"):
        await http.payload(READ)
    scripted.plays(acts.reply(403, page, {"Content-Type": "text/html"}))
    with pytest.raises(ProtocolViolation, match="HTTP 403 without a JSON object"):
        await http.payload(READ)


async def test_redirect_to_another_host_never_carries_the_bearer(
    scripted: Any, http: Http, acts: Any, nursery: trio.Nursery
) -> None:
    elsewhere = type(scripted)()
    elsewhere.plays(acts.reply(200, OK))
    await elsewhere.listen(nursery)
    scripted.plays(acts.reply(307, b"", {"Location": elsewhere.url + "x/?token=t"}))
    with pytest.raises(ProtocolViolation, match="token must not go"):
        await http.payload(READ)
    assert elsewhere.seen == []


async def test_redirect_on_the_same_host_is_followed_for_reads_only(
    scripted: Any, http: Http, acts: Any
) -> None:
    scripted.plays(acts.reply(302, b"", {"Location": "/v2/check/"}), acts.reply(200, OK))
    assert await http.payload(READ) == {"id": "7"}
    assert scripted.seen[1].target == "/v2/check/"
    assert scripted.seen[1].headers["authorization"] == f"Bearer {TOKEN}"
    scripted.plays(acts.reply(307, b"", {"Location": "/v2/check/"}), acts.reply(200, OK))
    with pytest.raises(ProtocolViolation, match="a change is redirected"):
        await http.payload(CHANGE)


async def test_answer_of_a_day_that_no_calendar_has_is_an_answer(
    scripted: Any, http: Http, acts: Any
) -> None:
    scripted.plays(acts.reply(200, OK, {"Date": "Sat, 01 Jan 99999999999999 00:00:00 GMT"}))
    assert (await http.call(READ)).server_time_ns == 0


async def test_redirects_in_circles_end(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(302, b"", {"Location": "/again/"}))
    with pytest.raises(ProtocolViolation, match="more than 3 times"):
        await http.payload(READ)


async def test_token_is_in_no_log_and_no_error(
    scripted: Any, http: Http, acts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scripted.plays(acts.reply(503), acts.reply(200, OK, {"x-ve-reqid": "r77"}))
    await http.payload(Ask("DELETE", "workspace/4/storage/2a/lock/", {"lock_token": "lock-secret"}))
    scripted.plays(acts.reply(503))
    with pytest.raises(RemoteUnavailable) as caught:
        await http.payload(READ)
    told = caplog.text + str(caught.value) + repr(http)
    assert "request r77" in told
    assert TOKEN not in told
    assert "lock-secret" not in told


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "\u00e4"])
async def test_impossible_tokens_are_refused_without_being_told(token: str) -> None:
    with pytest.raises(CredentialRefused) as caught:
        Http(httpx.URL("http://localhost/"), token, QUICK)
    assert not token or token not in str(caught.value)


async def test_body_goes_out_whole_and_again_in_a_repeat(scripted: Any, http: Http, acts: Any) -> None:
    content = bytes(range(256)) * 4096
    body = multipart({"name": "a"}, FilePart("chunk", 'na"me\r\n\u00e4', BytesSource(content)))
    scripted.plays(acts.reset_after_reading, acts.reply(200, OK))
    await http.payload(Ask("POST", "upload/5a/chunk/", body=body))
    first, second = (one.body for one in scripted.seen)
    assert first == second
    assert first.count(content) == 1
    assert 'filename="na%22me%0D%0A\u00e4"'.encode() in first
    assert len(body) == len(first)


async def test_answer_before_the_body_was_taken_is_heard(scripted: Any, http: Http, acts: Any) -> None:
    async def refuse_early(stream: trio.SocketStream, server: Any) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Big\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await stream.send_eof()
        with trio.move_on_after(2):
            while await stream.receive_some(65536):
                pass
        await stream.aclose()

    scripted.plays(refuse_early)
    body = multipart({}, FilePart("chunk", "a", BytesSource(bytes(8 * 1024 * 1024))))
    answer = await http.call(Ask("POST", "upload/", body=body, repeat=Repeat.UNSENT))
    assert answer.status == 413


async def test_cancelled_calls_give_their_connections_back(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.hang)
    for _ in range(40):
        scripted.hanging = trio.Event()
        async with trio.open_nursery() as calls:
            calls.start_soon(http.payload, READ)
            await scripted.hanging.wait()
            calls.cancel_scope.cancel()
    scripted.plays(acts.reply(200, OK))
    assert await http.payload(READ) == {"id": "7"}


async def test_content_is_sent_in_slices_and_never_copied_whole() -> None:
    body = multipart({"name": "a"}, FilePart("chunk", "a", BytesSource(bytes(3 * PIECE_BYTES + 1))))
    sizes = [len(piece) async for piece in body.pieces()]
    assert sum(sizes) == len(body)
    assert max(sizes) == PIECE_BYTES


async def test_long_polls_do_not_take_the_connections_of_calls(scripted: Any, http: Http, acts: Any) -> None:
    polling = 0

    async def by_target(stream: trio.SocketStream, server: Any) -> None:
        nonlocal polling
        request = await server.receive(stream)
        if "poll" in request.target:
            polling += 1
            if polling == 64:
                server.hanging.set()
            await trio.sleep_forever()
        await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"result": true, "id": "7"}')

    scripted.plays(by_target)
    async with trio.open_nursery() as polls:
        for _ in range(64):
            polls.start_soon(http.payload, Ask("GET", "poll/", wait_s=60))
        with trio.fail_after(10):
            await scripted.hanging.wait()
            assert await http.payload(READ) == {"id": "7"}
        polls.cancel_scope.cancel()


async def test_statuses_that_a_request_calls_final_are_answers(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(504, b"late"))
    answer = await http.call(Ask("GET", "poll/", wait_s=1, final=frozenset({504})))
    assert answer.status == 504
