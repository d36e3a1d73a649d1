"""Slowing down before the limit, and not asking where nothing is given."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import trio

from mountfs.model.errors import QuotaExceeded, RateLimited
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.pace import Hold, Pace
from mountfs.remotes.fastio.request import Ask, Repeat, form
from mountfs.remotes.fastio.retrying import RateLimit
from mountfs.remotes.fastio.settings import FastioSettings

OK = {"result": True, "id": "7"}
READ = Ask("GET", "user/auth/check/")
CHANGE = Ask("POST", "workspace/4/storage/2a/move/", body=form({"parent": "root"}), repeat=Repeat.UNSENT)
UNPAID = {"result": False, "error": {"code": 1696, "text": "credits are used up"}}
FULL = {"result": False, "error": {"code": 1685, "text": "storage is full"}}


def test_plenty_costs_nothing() -> None:
    pace = Pace()
    pace.note(RateLimit(100, 200, 10), now=0)
    assert [pace.wait_s(0) for _ in range(80)] == [0] * 80


def test_what_is_left_is_spread_until_the_limit_is_renewed() -> None:
    pace = Pace()
    pace.note(RateLimit(4, 100, 10), now=0)
    waits = [pace.wait_s(0) for _ in range(6)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert max(waits) <= 10
    assert 1.5 <= waits[1] <= 2.5
    assert pace.wait_s(10) == 0, "the limit is renewed"


def test_limit_without_a_maximum_or_an_end_is_understood() -> None:
    pace = Pace()
    pace.note(RateLimit(0, None, None), now=0)
    assert pace.wait_s(0) == 60


def test_after_a_refusal_nobody_asks_before_its_time() -> None:
    pace = Pace()
    pace.note_refusal(3, now=0)
    assert pace.wait_s(1) == 2
    assert pace.wait_s(4) == 0


def test_hold_lets_one_try_after_ever_longer_times() -> None:
    hold = Hold()
    assert hold.refusal(0) == ""
    hold.note_refusal("unpaid", 0)
    assert [hold.refusal(at) for at in (1, 14)] == ["unpaid", "unpaid"]
    assert [hold.refusal(15), hold.refusal(15)] == ["", "unpaid"]
    hold.note_refusal("unpaid", 15)
    assert hold.refusal(40) == "unpaid"
    assert hold.refusal(46) == ""
    hold.lift()
    assert hold.refusal(47) == ""


def test_hold_begins_alike_however_many_were_refused_together() -> None:
    hold = Hold()
    for _ in range(10):
        hold.note_refusal("unpaid", 0)
    assert [hold.refusal(14), hold.refusal(15)] == ["unpaid", ""]
    hold.note_refusal("unpaid", 44)
    assert hold.refusal(45) == "", "what was under way for long puts nothing off"


@pytest.fixture
async def http(scripted: Any, nap: Callable[[float], Awaitable[None]]) -> AsyncIterator[Http]:
    shell = Http(httpx.URL(scripted.url), "token", FastioSettings(patience_s=5, attempts=2), sleep=nap)
    yield shell
    await shell.aclose()


async def test_requests_slow_down_before_the_service_refuses(
    scripted: Any, http: Http, acts: Any, naps: list[float]
) -> None:
    headers = {"x-ve-limit-avail": "2", "x-ve-limit-max": "60", "x-ve-limit-expires": "4000000000"}
    scripted.plays(acts.reply(200, OK, {**headers, "x-ve-limit-avail": "50"}))
    for _ in range(3):
        await http.payload(READ)
    assert naps == []
    scripted.plays(acts.reply(200, OK, headers))
    await http.payload(READ)
    await http.payload(READ)
    with pytest.raises(RateLimited, match="left alone"):
        await http.payload(READ)
    assert len(scripted.seen) == 5
    await http.payload(replace(READ, paced=False))


async def test_other_buckets_are_counted_by_themselves(scripted: Any, http: Http, acts: Any) -> None:
    batch = Ask("POST", "upload/batch/", body=form({}))
    told = {"result": False, "error": {"params": {"retry_after_seconds": 600}}}
    scripted.plays(acts.reply(429, told))
    with pytest.raises(RateLimited):
        await http.payload(batch)
    with pytest.raises(RateLimited, match="not sent"):
        await http.payload(batch)
    scripted.plays(acts.reply(200, OK))
    await http.payload(READ)
    assert len(scripted.seen) == 2


async def test_account_that_gets_nothing_is_asked_seldom(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(402, UNPAID))
    for _ in range(5):
        for ask in (READ, CHANGE):
            with pytest.raises(QuotaExceeded, match="credits are used up"):
                await http.payload(ask)
    assert len(scripted.seen) == 1
    await http.call(replace(READ, paced=False))
    assert len(scripted.seen) == 2, "a lock is given back all the same"


async def test_want_of_room_for_one_change_holds_no_other(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(402, FULL))
    for _ in range(2):
        with pytest.raises(QuotaExceeded, match="storage is full"):
            await http.payload(CHANGE)
    assert len(scripted.seen) == 2
    scripted.plays(acts.reply(200, OK))
    await http.payload(READ)


async def test_credits_that_are_there_again_lift_the_hold(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(402, UNPAID))
    with pytest.raises(QuotaExceeded):
        await http.payload(READ)
    http._hold._tries_at = 0
    scripted.plays(acts.reply(200, OK))
    await http.payload(READ)
    await http.payload(CHANGE)
    assert len(scripted.seen) == 3


async def test_content_may_come_from_elsewhere_but_the_token_stays(
    scripted: Any, http: Http, acts: Any, nursery: trio.Nursery
) -> None:
    elsewhere = type(scripted)()
    elsewhere.plays(acts.reply(200, b"content"))
    await elsewhere.listen(nursery)
    scripted.plays(acts.reply(307, b"", {"Location": elsewhere.url + "blob?sig=1"}))
    async with http.stream(replace(READ, abroad=True)) as response:
        assert await response.aread() == b"content"
    assert scripted.seen[0].headers["authorization"] == "Bearer token"
    assert "authorization" not in elsewhere.seen[0].headers
    scripted.plays(acts.reply(307, b"", {"Location": "http://192.0.2.1/blob"}))
    with pytest.raises(Exception, match="token must not go"):
        async with http.stream(replace(READ, abroad=True)):
            pass
