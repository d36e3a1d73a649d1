"""The shell around httpx: the one place that sends a request, and repeats it where that is safe."""

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import trio

from mountfs.model.content_source import BytesSource
from mountfs.model.errors import (
    CredentialRefused,
    NotOffered,
    ProtocolViolation,
    QuotaExceeded,
    RateLimited,
    RemoteUnavailable,
)
from mountfs.model.tracing import span
from mountfs.remotes.fastio.connections import Connections, address_of, redirect
from mountfs.remotes.fastio.credential import Credential, FixedToken
from mountfs.remotes.fastio.error_map import Answer, accepted, error_of, is_about_the_account, refusal
from mountfs.remotes.fastio.pace import Hold, Pace
from mountfs.remotes.fastio.request import Ask, Body, Repeat
from mountfs.remotes.fastio.retrying import (
    GATEWAY_STATUSES,
    Fault,
    FaultKind,
    RateLimit,
    given_up,
    later_s,
    pause_before_repeat,
    rate_limit,
)
from mountfs.remotes.fastio.settings import FastioSettings, is_loopback, socket_address
from mountfs.remotes.fastio.web_socket import WebSocket, handshake_headers, is_accepted, new_key
from mountfs.remotes.fastio.wire import json_object

log = logging.getLogger("mountfs.remotes.fastio")

# Both write whole addresses into their logs, and those may carry lock tokens.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
REDIRECTS_MAX: Final = 3
SWITCHING_PROTOCOLS: Final = 101
UNAUTHORIZED: Final = 401
PAYMENT_REQUIRED: Final = 402
OWN_BUCKETS: Final = frozenset({"POST upload/batch", "GET events/search"})
"""Routes whose requests are counted by themselves."""

CONNECTIONS_MAX: Final = 32
POLLS_MAX: Final = 128
SOCKETS_MAX: Final = 8
CLOSE_S: Final = 2.0
POLL_GRACE_S: Final = 15.0
"""How much later than promised the answer to a long poll may come."""


REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="-")


def last_request_id() -> str:
    """Return the id of the last request that this task made, "-" where there was none or it has none."""
    return REQUEST_ID.get()


class Http:
    """Sends requests to one service with one bearer token, which no other host ever gets to see.

    Without a credential they go without a token. Requests that the service may hold (`Ask.wait_s`) have
    connections of their own, so that they never keep others waiting. `rate_limit` is what the service said
    last about our share; requests slow down before it is used up, and while the account is over its credits
    all but a rare one are refused here.
    """

    def __init__(
        self,
        base: httpx.URL,
        credential: Credential | str | None,
        settings: FastioSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._credential = FixedToken(credential) if isinstance(credential, str) else credential
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._hold = Hold()
        self.settings = settings
        self.rate_limit: RateLimit | None = None
        self.sent: Counter[str] = Counter()
        """How many requests went out, repeated ones too, by their routes."""
        self.answered: Callable[[str, float], None] = lambda _route, _seconds: None
        """Hears of each answer, refusals too: its route, and the seconds from the request to it. Not of those
        that the service may hold."""
        self._base = base
        self._sleep = sleep
        self._jitter = jitter
        tls = httpx.create_ssl_context() if base.scheme == "https" else None
        self._calls = Connections(base, CONNECTIONS_MAX, tls)
        self._polls = Connections(base, POLLS_MAX, tls)
        self._sockets = Connections(base, SOCKETS_MAX, tls, upgraded=True)

    def use_token(self, token: str) -> None:
        """Send this token from the next request on. Raises CredentialRefused for one that cannot be one."""
        self._credential = FixedToken(token)

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
            await self._calls.aclose()
            await self._polls.aclose()
            await self._sockets.aclose()

    async def payload(self, ask: Ask) -> dict[str, Any]:
        """Return the payload of a success. Raises what a refusal means, and as `call` does."""
        return accepted(await self.call(ask), ask)

    async def call(self, ask: Ask) -> Answer:
        """Return the service's answer, also one that refuses.

        Raises RemoteUnavailable, RateLimited or OutcomeUnknown when the patience ends without one.
        """
        response = await self._persist(ask, self._whole)
        return Answer(
            response.status_code,
            response.content,
            response.headers.get("x-ve-reqid", ""),
            _date_ns(response.headers.get("date")),
        )

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[httpx.Response]:
        """Give the response with its body still to come; only opening it is retried.

        Its connection is given back, or closed if the body was not read to its end.
        """
        response = await self._persist(ask, self._opened)
        try:
            yield response
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await response.aclose()

    async def token(self) -> str:
        """Return the token that requests carry. Raises as Credential.token, CredentialRefused without one."""
        if self._credential is None:
            raise CredentialRefused("there is no token")
        return await self._credential.token()

    @asynccontextmanager
    async def web_socket(self, query: str) -> AsyncIterator[WebSocket]:
        """Give a WebSocket of this service, once; the query may be a secret, and is told nobody.

        Raises what a refusal means, NotOffered for an answer that is none to this, RemoteUnavailable.
        """
        ask, key, settings = Ask("GET", "websocket/", repeat=Repeat.NEVER), new_key(), self.settings
        request = self._sockets.request(
            "GET",
            socket_address(self._base, query).raw_path,
            handshake_headers(key),
            _Stream(None),
            self._timeout(ask),
        )
        response = await self._shake_hands(request, ask)
        try:
            await _check_handshake(response, key, ask)
            stream = response.extensions["network_stream"]
            yield WebSocket(stream, quiet_s=settings.socket_quiet_s, answer_s=settings.socket_answer_s)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await response.aclose()

    async def _shake_hands(self, request: httpx.Request, ask: Ask) -> httpx.Response:
        """Twice where the connection breaks: services close one whose handshake they refused, and it may be
        taken for the next before that is known."""
        for is_last in (False, True):
            self.sent[ask.route] += 1
            try:
                return await self._sockets.send(request)
            except httpx.RequestError as error:
                if is_last or not isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
                    raise RemoteUnavailable(f"{ask}: no answer ({named(error)})") from None
        raise AssertionError("the last try returns or raises")

    async def _persist(
        self, ask: Ask, attempt_once: Callable[[Ask], Awaitable[httpx.Response | Fault]]
    ) -> httpx.Response:
        deadline = trio.current_time() + self._budget_s(ask)
        self._check_hold(ask)
        await self._keep_pace(ask)
        attempt, renewed = 1, False
        while True:
            outcome: httpx.Response | Fault = Fault(FaultKind.LOST, "no complete answer in time")
            with trio.move_on_at(deadline):
                outcome = await attempt_once(ask)
                if isinstance(outcome, httpx.Response) and not renewed and await self._renews(ask, outcome):
                    renewed = True
                    continue
            if isinstance(outcome, httpx.Response):
                return outcome
            left_s = deadline - trio.current_time()
            pause_s = pause_before_repeat(outcome, ask.repeat, attempt, left_s, self.settings, self._jitter)
            if pause_s is None:
                raise given_up(outcome, ask, attempt)
            log.info("%s: %s, again in %.2f s", ask, outcome.cause, pause_s)
            await self._sleep(pause_s)
            attempt += 1

    def ask_again(self) -> None:
        """Make the next request, whatever the account was refused for."""
        self._hold.lift()

    def _check_hold(self, ask: Ask) -> None:
        """Raise QuotaExceeded where the account is known to get nothing; locks are given back all the
        same."""
        if ask.paced and (refused := self._hold.refusal(trio.current_time())):
            raise QuotaExceeded(f"{ask}: not asked, since the service said: {refused}")

    async def _keep_pace(self, ask: Ask) -> None:
        """Wait until the request fits the limit. Raises RateLimited where that is beyond its patience."""
        if not ask.paced:
            return
        wait_s = self._pace(ask).wait_s(trio.current_time())
        if wait_s > self.settings.patience_s:
            raise RateLimited(f"{ask}: not sent, the service is to be left alone", retry_after_s=wait_s)
        if wait_s:
            log.debug("%s: waits %.2f s to stay below the limit", ask, wait_s)
            await self._sleep(wait_s)

    def _pace(self, ask: Ask) -> Pace:
        return self._paces[ask.route if ask.route in OWN_BUCKETS else ""]

    async def _renews(self, ask: Ask, response: httpx.Response) -> bool:
        """Tell whether the token was refused as such, and there is another one now.

        Somebody who is no member is refused with the same status: that says nothing of the token.
        """
        if response.status_code != UNAUTHORIZED or self._credential is None:
            return False
        refused = refusal(UNAUTHORIZED, json_object(response.content) or {})
        if not isinstance(error_of(refused, ask), CredentialRefused):
            return False
        sent = response.request.headers.get("authorization", "").removeprefix("Bearer ")
        return await self._credential.instead_of(sent) is not None

    def _budget_s(self, ask: Ask) -> float:
        body_s = len(ask.body) / self.settings.slowest_bytes_s if ask.body else 0.0
        return self.settings.patience_s + ask.wait_s + body_s

    async def _whole(self, ask: Ask) -> httpx.Response | Fault:
        return await self._attempt(ask, read_body=True)

    async def _opened(self, ask: Ask) -> httpx.Response | Fault:
        return await self._attempt(ask, read_body=False)

    async def _attempt(self, ask: Ask, *, read_body: bool) -> httpx.Response | Fault:
        started = time.monotonic()
        try:
            with span("request", route=ask.route):
                response = await self._exchange(ask, read_body=read_body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return Fault(FaultKind.UNSENT, f"no connection ({named(error)})")
        except httpx.RequestError as error:
            return Fault(FaultKind.LOST, f"no complete answer ({named(error)})")
        took_s = time.monotonic() - started
        if not ask.wait_s:
            self.answered(ask.route, took_s)
        request_id = response.headers.get("x-ve-reqid", "-")
        log.debug("%s: HTTP %d in %.0f ms, request %s", ask, response.status_code, took_s * 1000, request_id)
        REQUEST_ID.set(request_id)
        self._note_limits(ask, response)
        return self._fault(ask, response) or response

    def _note_limits(self, ask: Ask, response: httpx.Response) -> None:
        now, pace = trio.current_time(), self._pace(ask)
        told = rate_limit(response.headers, time.time())
        if told is not None:
            self.rate_limit = told
            pace.note(told, now)
        status = response.status_code
        if status == 429:
            refused = refusal(status, json_object(response.content) or {})
            pace.note_refusal(later_s(refused, response.headers, time.time()), now)
        if status == PAYMENT_REQUIRED:
            refused = refusal(status, json_object(response.content) or {})
            if ask.method == "GET" or is_about_the_account(refused):
                self._hold.note_refusal(refused.text, now)
        elif response.is_success and ask.paced:
            self._hold.lift()

    async def _exchange(self, ask: Ask, *, read_body: bool) -> httpx.Response:
        """Send the request, and again to where it is redirected on the same host."""
        connections = self._polls if ask.wait_s else self._calls
        request = await self._request(connections, ask)
        for _ in range(1 + REDIRECTS_MAX):
            self.sent[ask.route] += 1
            response = await connections.send(request)
            if read_body or not response.is_success:
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            if response.status_code not in REDIRECT_STATUSES:
                return response
            self._redirect(ask, request, response)
        raise ProtocolViolation(f"{ask}: redirected more than {REDIRECTS_MAX} times")

    async def _request(self, connections: Connections, ask: Ask) -> httpx.Request:
        headers = dict(ask.headers)
        if ask.body is not None:
            headers |= {"Content-Type": ask.body.content_type, "Content-Length": str(len(ask.body))}
        elif ask.method == "POST":
            headers["Content-Length"] = "0"
        if self._credential is not None:
            headers["Authorization"] = f"Bearer {await self._credential.token()}"
        body, timeout = _Stream(ask.body), self._timeout(ask)
        return connections.request(ask.method, self._target(ask), headers, body, timeout)

    def _target(self, ask: Ask) -> bytes:
        """Append the path as text: a comma or an escape in it must stay as it is."""
        query = f"?{urlencode(ask.query)}" if ask.query else ""
        return self._base.raw_path + f"{ask.path}{query}".encode()

    def _timeout(self, ask: Ask) -> httpx.Timeout:
        connect_s = self.settings.connect_s
        read_s = ask.wait_s + POLL_GRACE_S if ask.wait_s else self.settings.read_s
        return httpx.Timeout(self.settings.read_s, connect=connect_s, read=read_s, pool=connect_s)

    def _redirect(self, ask: Ask, request: httpx.Request, response: httpx.Response) -> None:
        """Let the request go where it is sent. Raises ProtocolViolation for anything but a read, and for
        other hosts unless content may come from there: then without the token, and not in the clear."""
        asked = address_of(request)
        try:
            target = asked.join(response.headers["location"])
        except (KeyError, httpx.InvalidURL):
            raise ProtocolViolation(f"{ask}: a redirect without a usable address") from None
        if ask.method != "GET":
            raise ProtocolViolation(f"{ask}: a change is redirected to {target.host}")
        if (target.scheme, target.host, target.port) != (asked.scheme, asked.host, asked.port):
            if not ask.abroad or not self._may_fetch_from(target):
                raise ProtocolViolation(
                    f"{ask}: redirected to {target.scheme}://{target.host}, where the token must not go"
                )
            request.headers.pop("Authorization", None)
            request.headers["Host"] = target.netloc.decode()
        redirect(request, target)

    def _may_fetch_from(self, target: httpx.URL) -> bool:
        """By TLS, which is checked where the service itself is reached by it, or within this machine."""
        if self._base.scheme == "https":
            return target.scheme == "https"
        return is_loopback(self._base.host) and is_loopback(target.host) and target.scheme == "http"

    def _fault(self, ask: Ask, response: httpx.Response) -> Fault | None:
        status = response.status_code
        if status in ask.final or (status != 429 and status < 500):
            return None
        refused = refusal(status, json_object(response.content) or {})
        cause = f"HTTP {status}, {refused.text}, request {response.headers.get('x-ve-reqid', '-')}"
        if status == 429:
            return Fault(FaultKind.TOLD_LATER, cause, later_s(refused, response.headers, time.time()))
        return Fault(FaultKind.LOST if status in GATEWAY_STATUSES else FaultKind.BROKEN, cause)


async def _check_handshake(response: httpx.Response, key: str, ask: Ask) -> None:
    if response.status_code == SWITCHING_PROTOCOLS:
        if is_accepted(key, response.headers.get("sec-websocket-accept", "")):
            return
        raise NotOffered(f"{ask}: the answer is that to another handshake")
    try:
        await response.aread()
    except httpx.RequestError as error:
        raise RemoteUnavailable(f"{ask}: no complete answer ({named(error)})") from None
    accepted(Answer(response.status_code, response.content, response.headers.get("x-ve-reqid", "")), ask)
    raise NotOffered(f"{ask}: HTTP {response.status_code} instead of another protocol")


class _Stream(httpx.AsyncByteStream):
    """The body of a request. Not an async generator: one that a broken connection leaves behind
    unfinished would be reported by trio when it is collected."""

    def __init__(self, body: Body | None) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return (self._body or BytesSource(b"")).pieces()


def named(error: Exception) -> str:
    """Name the error with its text, where it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@lru_cache(maxsize=16)  # all answers of one second tell the same
def _date_ns(header: str | None) -> int:
    try:
        return int(parsedate_to_datetime(header).timestamp() * 1_000_000_000) if header else 0
    except (ValueError, OverflowError):
        return 0
