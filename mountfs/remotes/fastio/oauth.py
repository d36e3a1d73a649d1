"""Signing in by OAuth with PKCE, renewing what that gave, and signing out. Answers have no envelope."""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from mountfs.model.errors import (
    LoginEnded,
    ProtocolViolation,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.login import Login
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.error_map import Answer, error_of, not_this_service, refusal
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import Ask, Body, Form, Repeat, form, path_of
from mountfs.remotes.fastio.settings import FastioSettings, base_address

Reach = Literal["workspace", "org", "user"]
"""What a login is for: one workspace, which the user chooses, is the least."""

PROGRAM: Final = "mountfs"
DEFAULT_LIFE_S: Final = 3600
SIGN_IN_HOST: Final = ("api.", "go.")
"""Where a browser finishes that the service gave no address for: the host of the API with another first
word."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """One attempt: `address` is for the browser; the rest stays here until the code comes back."""

    address: str
    client_id: str
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)

    def code_from(self, query: str) -> str:
        """Return the code in the query that the browser came back with.

        Raises RequestRefused for one that this attempt did not begin, or that tells of a refusal.
        """
        told = parse_qs(query)
        state, code, error = (told.get(name, [""])[0] for name in ("state", "code", "error"))
        if not hmac.compare_digest(state.encode(), self.state.encode()):
            raise RequestRefused("the browser came back from another sign-in than the one begun here")
        if error:
            raise RequestRefused(f"the sign-in was refused: {error[:100]!r}")
        if not code:
            raise RequestRefused("the browser came back without a code")
        return code

    def code_of(self, pasted: str) -> str:
        """Return the code in what somebody pasted: the code itself, or the address the browser ended at."""
        if "://" in pasted:
            return self.code_from(urlsplit(pasted).query)
        if not pasted or not pasted.isascii() or any(letter.isspace() for letter in pasted):
            raise RequestRefused("that is neither a code nor an address")
        return pasted


class OAuth:
    """The sign-in routes of one service. Raises the errors of the remote; see `FastioService` for `url`."""

    def __init__(
        self,
        url: str,
        *,
        allow_insecure: bool = False,
        settings: FastioSettings = FastioSettings(),  # noqa: B008 - frozen
    ) -> None:
        self._url = url
        self._base = base_address(url, allow_insecure=allow_insecure)
        self._http = Http(self._base, None, settings)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def register(self, redirect_uri: str) -> str:
        """Return the client id that the service gives this program. Raises RequestRefused where it gives
        none."""
        wanted = {
            "client_name": PROGRAM,
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        body = Form(json.dumps(wanted).encode(), "application/json")
        try:
            told = await self._told("register", body)
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            raise RequestRefused(
                f"the service lets no new program sign in: {error.message}",
                hint="give the client id that you have for it by --client-id, or sign in with an API key",
            ) from error
        client_id = told.get("client_id")
        if not isinstance(client_id, str) or not client_id:
            raise ProtocolViolation("the answer to the registration names no client id")
        return client_id

    async def begin(
        self, client_id: str, redirect_uri: str, *, reach: Reach, writing: bool, shows_code: bool = False
    ) -> SignIn:
        """Ask for a consent; with `shows_code` the service shows the code instead of redirecting."""
        state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        query = {
            "client_id": client_id,
            "response_type": "code",
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "state": state,
            "redirect_uri": redirect_uri,
            "scope_type": reach,
            "access_mode": "rw" if writing else "r",
        }
        if shows_code:
            query["display_code"] = "true"
        ask = Ask("GET", path_of("oauth", "authorize"), {**query, "response_format": "json"})
        told = await self._http.payload(ask)
        address = address_told(told, self._base, query)
        return SignIn(address, client_id, redirect_uri, state, verifier)

    async def redeem(self, sign_in: SignIn, code: str) -> Login:
        """Return the login for a code."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": sign_in.verifier,
            "client_id": sign_in.client_id,
            "redirect_uri": sign_in.redirect_uri,
            "device_name": socket.gethostname(),
            "device_type": "desktop",
        }
        told = await self._told("token", form(fields))
        return login_of(told, Login(self._url, "", client_id=sign_in.client_id), time.time())

    async def renew(self, login: Login) -> Login:
        """Return the login with new tokens. Raises LoginEnded where the service gives none."""
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": login.refresh_token,
            "client_id": login.client_id,
        }
        try:
            told = await self._told("token", form(fields))
        except RemoteUnavailable:
            raise
        except RemoteError as error:
            raise LoginEnded(f"the login has ended: {error.message}") from error
        return login_of(told, login, time.time())

    async def revoke(self, login: Login) -> None:
        """Let the service forget the tokens."""
        fields = {"token": login.refresh_token or login.access_token, "client_id": login.client_id}
        await self._told("revoke", form(fields))

    async def _told(self, route: str, body: Body) -> dict[str, Any]:
        """Return the answer. Raises RequestRefused with the words of OAuth, or what the refusal means."""
        ask = Ask("POST", path_of("oauth", route), body=body, repeat=Repeat.UNSENT)
        answer = await self._http.call(ask)
        told = wire.json_object(answer.content)
        if told is None:
            if answer.status in {200, 204}:
                return {}
            if 400 <= answer.status < 500:
                raise RequestRefused(f"{ask}: HTTP {answer.status} without a JSON object")
            raise not_this_service(answer, ask)
        if answer.status < 400 and wire.is_success(told):
            return wire.unwrapped(told)
        raise refusal_of(told, answer, ask)


def address_told(told: wire.Wire, base: httpx.URL, query: Mapping[str, str]) -> str:
    """Return where the browser goes: as told, else by the id of the request, else the route itself.

    Raises ProtocolViolation for what is no address, or one without encryption.
    """
    login_url = told.get("login_url")
    if isinstance(login_url, str) and login_url:
        try:
            scheme = urlsplit(login_url).scheme
        except ValueError:
            scheme = ""
        if scheme not in {"https", base.scheme}:
            raise ProtocolViolation("the service wants the browser to go to an address without encryption")
        return login_url
    request_id, (first, instead) = told.get("auth_request_id"), SIGN_IN_HOST
    if isinstance(request_id, str) and request_id and base.host.startswith(first):
        host = instead + base.host.removeprefix(first)
        shown = {"auth_request_id": request_id}
        if "display_code" in query:
            shown["display_code"] = query["display_code"]
        return f"{base.scheme}://{host}/connect?{urlencode(shown, errors='replace')}"
    return str(base.join("oauth/authorize/").copy_merge_params(query))


def login_of(told: wire.Wire, known: Login, now_s: float) -> Login:
    """Return the login with the tokens that the service gave. Raises ProtocolViolation where it gave none."""
    access, refresh = told.get("access_token"), told.get("refresh_token")
    if not isinstance(access, str) or not access:
        raise ProtocolViolation("the answer to the sign-in has no access token")
    life_s = wire.whole(told.get("expires_in")) or 0
    scopes = wire.scope_list(told.get("scopes") or told.get("scope"))
    return replace(
        known,
        access_token=access,
        # Whether it changes with each use is not told: what is given is kept.
        refresh_token=refresh if isinstance(refresh, str) and refresh else known.refresh_token,
        issued_at_s=now_s,
        expires_at_s=now_s + (life_s if life_s > 0 else DEFAULT_LIFE_S),
        scopes=tuple(scopes) or known.scopes,
    )


def refusal_of(told: wire.Wire, answer: Answer, ask: Ask) -> RemoteError:
    error = told.get("error")
    if isinstance(error, str):
        return RequestRefused(f"{ask}: {error}, {told.get('error_description') or 'no explanation'}")
    return error_of(refusal(answer.status, told), ask, answer.request_id)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
