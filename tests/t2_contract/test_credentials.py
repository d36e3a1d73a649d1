"""Logins: signing in by OAuth, renewing in time and after a refusal, and what is no reason to."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio

from mountfs.model.errors import (
    AccessDenied,
    CredentialRefused,
    LoginEnded,
    ProtocolViolation,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.login import Login
from mountfs.remotes.fastio.credential import LoginToken
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.oauth import OAuth, address_told, login_of
from mountfs.remotes.fastio.request import Ask, Repeat, form
from mountfs.remotes.fastio.settings import FastioSettings

BASE = httpx.URL("https://api.fast.io/current/")
OK = {"result": True, "id": "7"}
DEAD = {"result": False, "error": {"code": 10011, "text": "dead"}}
STRANGER = {"result": False, "error": {"code": 10545, "text": "no member"}}
READ = Ask("GET", "user/auth/check/")
CHANGE = Ask("POST", "workspace/4/storage/2a/move/", body=form({"parent": "root"}), repeat=Repeat.UNSENT)
QUICK = FastioSettings(patience_s=5, attempts=2, connect_s=1, read_s=1, backoff_base_s=0.01)
LOGIN = Login("http://x/current", "old", "refresh-1", 0, 1000, "c1")


class Kept:
    """A store in memory."""

    def __init__(self, login: Login | None) -> None:
        self.login = login
        self.held = 0

    def load(self) -> Login | None:
        return self.login

    def save(self, login: Login) -> None:
        self.login = login

    def remove(self) -> bool:
        self.login = None
        return True

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        self.held += 1
        yield
        self.held -= 1


class Renewals:
    """Gives new tokens, or fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None

    async def __call__(self, login: Login) -> Login:
        self.asked.append(login.refresh_token)
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        number = len(self.asked) + 1
        return replace(
            login, access_token=f"new-{number}", refresh_token=f"refresh-{number}", expires_at_s=10_000
        )


@pytest.fixture
def kept() -> Kept:
    return Kept(LOGIN)


@pytest.fixture
def renewals() -> Renewals:
    return Renewals()


def login_token(kept: Kept, renewals: Renewals, now_s: float) -> LoginToken:
    assert kept.login is not None
    return LoginToken(kept.login, kept, renewals, clock=lambda: now_s)


async def test_token_is_renewed_shortly_before_its_end_and_once_for_all(
    kept: Kept, renewals: Renewals
) -> None:
    assert await login_token(kept, renewals, 879).token() == "old"
    credential = login_token(kept, renewals, 881)
    told: list[str] = []

    async def ask() -> None:
        told.append(await credential.token())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert told == ["new-2"] * 5
    assert renewals.asked == ["refresh-1"]
    assert kept.login is not None
    assert kept.login.refresh_token == "refresh-2"
    assert kept.held == 0


async def test_what_another_process_renewed_is_taken(kept: Kept, renewals: Renewals) -> None:
    credential = login_token(kept, renewals, 999)
    kept.login = replace(LOGIN, access_token="theirs", refresh_token="refresh-9", expires_at_s=5000)
    assert await credential.token() == "theirs"
    assert await credential.instead_of("old") == "theirs"
    assert renewals.asked == []


async def test_old_token_serves_while_the_service_is_away_until_its_end(
    kept: Kept, renewals: Renewals
) -> None:
    renewals.error = RemoteUnavailable("away")
    assert await login_token(kept, renewals, 999).token() == "old"
    with pytest.raises(RemoteUnavailable):
        await login_token(kept, renewals, 1001).token()


async def test_login_that_has_ended_is_asked_for_once(kept: Kept, renewals: Renewals) -> None:
    renewals.error = LoginEnded("over")
    credential = login_token(kept, renewals, 1001)
    for _ in range(3):
        with pytest.raises(LoginEnded):
            await credential.token()
    assert renewals.asked == ["refresh-1"]
    kept.login = replace(LOGIN, access_token="signed in again", expires_at_s=5000)
    kept.login = replace(kept.login, access_token="again", refresh_token="refresh-5")
    assert await credential.token() == "again"


async def test_signing_out_ends_it(kept: Kept, renewals: Renewals) -> None:
    credential = login_token(kept, renewals, 1001)
    kept.login = None
    with pytest.raises(LoginEnded, match="signed out"):
        await credential.token()


@pytest.fixture
async def http(
    scripted: Any, kept: Kept, renewals: Renewals, nap: Callable[[float], Awaitable[None]]
) -> AsyncIterator[Http]:
    shell = Http(httpx.URL(scripted.url), login_token(kept, renewals, 0), QUICK, sleep=nap)
    yield shell
    await shell.aclose()


@pytest.mark.parametrize("ask", [READ, CHANGE])
async def test_refused_token_is_renewed_and_the_request_sent_again(
    scripted: Any, http: Http, acts: Any, renewals: Renewals, ask: Ask
) -> None:
    scripted.plays(acts.reply(401, DEAD), acts.reply(200, OK))
    assert await http.payload(ask) == {"id": "7"}
    assert [one.headers["authorization"] for one in scripted.seen] == ["Bearer old", "Bearer new-2"]


async def test_token_is_renewed_once_for_one_request(
    scripted: Any, http: Http, acts: Any, renewals: Renewals
) -> None:
    scripted.plays(acts.reply(401, DEAD))
    with pytest.raises(CredentialRefused):
        await http.payload(READ)
    assert len(scripted.seen) == 2
    assert len(renewals.asked) == 1


async def test_not_being_a_member_is_no_reason_to_renew(
    scripted: Any, http: Http, acts: Any, renewals: Renewals
) -> None:
    scripted.plays(acts.reply(401, STRANGER))
    with pytest.raises(AccessDenied):
        await http.payload(READ)
    assert len(scripted.seen) == 1
    assert renewals.asked == []


async def test_streams_renew_as_well(scripted: Any, http: Http, acts: Any) -> None:
    scripted.plays(acts.reply(401, DEAD), acts.reply(200, b"content"))
    async with http.stream(READ) as response:
        assert await response.aread() == b"content"


# Signing in, against a script and against the embedded server.


async def test_sign_in_asks_for_one_workspace_and_checks_what_comes_back(
    scripted: Any, acts: Any, golden: Callable[[str], bytes]
) -> None:
    oauth = OAuth(scripted.url, settings=QUICK)
    scripted.plays(acts.reply(200, golden("oauth_authorize")))
    sign_in = await oauth.begin("c1", "http://127.0.0.1:5/callback", reach="workspace", writing=True)
    asked = {key: value[0] for key, value in parse_qs(urlsplit(scripted.seen[0].target).query).items()}
    assert "authorization" not in scripted.seen[0].headers
    assert (asked["scope_type"], asked["access_mode"], asked["code_challenge_method"]) == (
        "workspace",
        "rw",
        "S256",
    )
    assert len(sign_in.verifier) >= 43
    assert sign_in.verifier not in str(scripted.seen) + repr(sign_in)
    assert sign_in.address == "http://127.0.0.1/login?request=1"
    assert sign_in.code_from(f"code=c&state={asked['state']}") == "c"
    assert sign_in.code_of("c") == "c"
    assert sign_in.code_of(f"http://127.0.0.1:5/callback?state={asked['state']}&code=c") == "c"
    for query, why in (
        ("code=c&state=other", "another sign-in"),
        ("code=c", "another sign-in"),
        (f"error=access_denied&state={asked['state']}", "access_denied"),
        (f"state={asked['state']}", "without a code"),
    ):
        with pytest.raises(RequestRefused, match=why):
            sign_in.code_from(query)
    scripted.plays(acts.reply(200, golden("oauth_token")))
    login = await oauth.redeem(sign_in, "c")
    sent = parse_qs(scripted.seen[-1].body.decode())
    assert sent["code_verifier"] == [sign_in.verifier]
    assert (login.access_token, login.refresh_token) == ("access-1", "refresh-1")
    assert login.expires_at_s - login.issued_at_s == 3600
    assert login.scopes == ("workspace:1234567890123456789:rw",)
    await oauth.aclose()


def test_answer_with_an_id_only_leads_to_the_sign_in_host() -> None:
    address = address_told({"auth_request_id": "2a b"}, BASE, {"display_code": "true"})
    assert address == "https://go.fast.io/connect?auth_request_id=2a+b&display_code=true"
    assert address_told({}, BASE, {"state": "s"}) == "https://api.fast.io/current/oauth/authorize/?state=s"


@pytest.mark.parametrize("told", ["http://go.fast.io/x", "https://[", "javascript:x", "//go.fast.io"])
def test_address_that_is_none_or_in_the_clear_is_not_opened(told: str) -> None:
    with pytest.raises(ProtocolViolation, match="without encryption"):
        address_told({"login_url": told}, BASE, {})


@pytest.mark.parametrize("told", [None, 0, -5, "soon", 10**400])
def test_login_of_no_sensible_life_is_taken_for_an_hour(told: object) -> None:
    login = login_of({"access_token": "a", "expires_in": told}, LOGIN, 100.0)
    assert login.expires_at_s == 100.0 + 3600


async def test_refresh_token_that_is_refused_ends_the_login(scripted: Any, acts: Any) -> None:
    oauth = OAuth(scripted.url, settings=QUICK)
    scripted.plays(acts.reply(400, {"error": "invalid_grant", "error_description": "used"}))
    with pytest.raises(LoginEnded, match=r"invalid_grant, used") as caught:
        await oauth.renew(LOGIN)
    assert "refresh-1" not in str(caught.value)
    scripted.plays(acts.reply(503, b"away"))
    with pytest.raises(RemoteUnavailable):
        await oauth.renew(LOGIN)
    scripted.plays(acts.reply(200, {"access_token": "new", "expires_in": 60}))
    renewed = await oauth.renew(LOGIN)
    assert (renewed.access_token, renewed.refresh_token) == ("new", "refresh-1"), "none came: it stays"
    await oauth.aclose()


async def test_program_that_may_not_register_is_told_what_to_do(scripted: Any, acts: Any) -> None:
    oauth = OAuth(scripted.url, settings=QUICK)
    for refusal in (acts.reply(404, {"result": False, "error": {"code": 9992}}), acts.reply(404, b"<html>")):
        scripted.plays(refusal)
        with pytest.raises(RequestRefused) as caught:
            await oauth.register("http://127.0.0.1:5/callback")
        assert "--client-id" in caught.value.hint
    await oauth.aclose()


async def test_whole_sign_in_on_a_real_server(embedded_server: Any) -> None:
    redirect = "http://127.0.0.1:1/callback"
    oauth = OAuth(embedded_server.url, settings=QUICK)
    client_id = await oauth.register(redirect)
    sign_in = await oauth.begin(client_id, redirect, reach="workspace", writing=False)
    async with httpx.AsyncClient() as browser:
        form = {"token": embedded_server.token, "workspace": "main"}
        request_id = parse_qs(urlsplit(sign_in.address).query)["auth_request_id"][0]
        back = await browser.post(sign_in.address, data={**form, "auth_request_id": request_id})
    code = sign_in.code_from(urlsplit(back.headers["location"]).query)
    login = await oauth.redeem(sign_in, code)
    assert json.dumps(login.scopes).count("workspace:") == 1
    store = Kept(login)
    credential = LoginToken(login, store, oauth.renew)
    http = Http(httpx.URL(embedded_server.url), credential, QUICK)
    assert (await http.payload(READ))["id"]
    assert await credential.instead_of(login.access_token) not in (None, login.access_token)
    assert (await http.payload(READ))["id"]
    assert store.login is not None
    await oauth.revoke(store.login)
    with pytest.raises((CredentialRefused, LoginEnded)):
        await http.payload(READ)
    await http.aclose()
    await oauth.aclose()
