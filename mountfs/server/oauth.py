"""OAuth with PKCE: requests that wait for consent, codes, and sessions with their two tokens.

Requests and codes live for minutes, so they are kept in memory; sessions are rows.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mountfs.server import opaque_ids
from mountfs.server.clock import SECOND_US, now_us, wire_time
from mountfs.server.credentials import Credentials, Principal, Scope, digest_of, parse_scopes, scopes_text
from mountfs.server.database import Transaction
from mountfs.server.envelope import JsonObject, invalid_field, not_found
from mountfs.server.schema import AnyRow, oauth_sessions

REQUEST_LIFE_S = 600
CODE_LIFE_S = 300
REFRESH_LIFE_S = 30 * 86400
AUTH_TYPE = "oauth"

_SCOPE_TYPES = ("user", "org", "workspace", "all_orgs", "all_workspaces")
_MODES = ("r", "rw", "rwa")
_MAX_WAITING = 1000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_by_refresh = select(oauth_sessions).where(oauth_sessions.c.refresh_digest == bindparam("digest"))


class OAuthRefusal(Exception):
    """A refusal in OAuth's own words, which have no envelope."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(frozen=True)
class ConsentRequest:
    """What a program asks for, until somebody agrees. `shows_code`: the code is for reading off a page."""

    client_id: str
    redirect_uri: str
    challenge: str
    state: str
    scope_type: str
    mode: str
    shows_code: bool
    expires_us: int


@dataclass(frozen=True)
class _Code:
    request: ConsentRequest
    scopes: tuple[Scope, ...]
    expires_us: int


class Authorizations:
    """Requests and codes of this process."""

    def __init__(self) -> None:
        self._requests: dict[str, ConsentRequest] = {}
        self._codes: dict[str, _Code] = {}

    def begin(self, query: Mapping[str, str]) -> str:
        """Keep a request and return its id. Raises ApiError for what is no request."""
        request = _read_request(query)
        self._forget_old()
        request_id = opaque_ids.new_id(opaque_ids.GENERAL)
        self._requests[request_id] = request
        return request_id

    def request(self, request_id: str) -> ConsentRequest:
        """The request that waits for consent; 404 when it is over."""
        self._forget_old()
        found = self._requests.get(opaque_ids.canonical(request_id) or "")
        if found is None:
            raise not_found("no such authorization request, or it has expired")
        return found

    def grant(self, request_id: str, scopes: tuple[Scope, ...]) -> str:
        """End the request with a code."""
        request = self.request(request_id)
        del self._requests[opaque_ids.canonical(request_id) or ""]
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(request, scopes, now_us() + CODE_LIFE_S * SECOND_US)
        return code

    def deny(self, request_id: str) -> None:
        """End the request without a code."""
        del self._requests[opaque_ids.canonical(request_id) or ""]

    def redeem(self, fields: Mapping[str, str]) -> tuple[ConsentRequest, tuple[Scope, ...]]:
        """What the code stands for; it is used up by the attempt. Raises OAuthRefusal."""
        self._forget_old()
        code = self._codes.pop(fields.get("code", ""), None)
        if code is None:
            raise OAuthRefusal("invalid_grant", "the code is unknown, used or expired")
        if (fields.get("client_id"), fields.get("redirect_uri")) != (
            code.request.client_id,
            code.request.redirect_uri,
        ):
            raise OAuthRefusal("invalid_grant", "client_id or redirect_uri are not those of the request")
        if not hmac.compare_digest(challenge_of(fields.get("code_verifier", "")), code.request.challenge):
            raise OAuthRefusal("invalid_grant", "the code_verifier does not fit")
        return code.request, code.scopes

    def _forget_old(self) -> None:
        now = now_us()
        self._requests = {key: one for key, one in self._requests.items() if one.expires_us > now}
        self._codes = {key: one for key, one in self._codes.items() if one.expires_us > now}
        while len(self._requests) >= _MAX_WAITING:
            del self._requests[next(iter(self._requests))]


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    digest = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _read_request(query: Mapping[str, str]) -> ConsentRequest:
    for name in ("client_id", "redirect_uri", "code_challenge", "state"):
        if not query.get(name):
            raise invalid_field(name, "is required", kind="missing")
    if query.get("response_type") != "code":
        raise invalid_field("response_type", "only code")
    if query.get("code_challenge_method") != "S256":
        raise invalid_field("code_challenge_method", "only S256")
    check_redirect(query["redirect_uri"])
    scope_type, mode = query.get("scope_type") or "user", query.get("access_mode") or "rw"
    if scope_type not in _SCOPE_TYPES:
        raise invalid_field("scope_type", f"one of {', '.join(_SCOPE_TYPES)}")
    if mode not in _MODES:
        raise invalid_field("access_mode", f"one of {', '.join(_MODES)}")
    return ConsentRequest(
        client_id=query["client_id"],
        redirect_uri=query["redirect_uri"],
        challenge=query["code_challenge"],
        state=query["state"],
        scope_type=scope_type,
        mode=mode,
        shows_code=query.get("display_code", "").lower() in ("true", "1"),
        expires_us=now_us() + REQUEST_LIFE_S * SECOND_US,
    )


def check_redirect(uri: str) -> None:
    """Raises unless the code may be sent there: to a program on the machine of the user, or by TLS."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.fragment or (parts.scheme != "https" and host not in _LOOPBACK):
        raise invalid_field("redirect_uri", "https, or http on the loopback")


def redirected(request: ConsentRequest, **parameters: str) -> str:
    """The redirect_uri with the outcome in its query."""
    parts = urlsplit(request.redirect_uri)
    query = "&".join(filter(None, (parts.query, urlencode({**parameters, "state": request.state}))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


@dataclass(frozen=True)
class Tokens:
    """A pair that a client gets; the server keeps their digests."""

    access: str
    refresh: str
    scopes: tuple[Scope, ...]
    access_expires_us: int
    life_s: int

    def as_json(self) -> JsonObject:
        """The answer to a token request, which has no envelope."""
        return {
            "access_token": self.access,
            "token_type": "Bearer",
            "expires_in": self.life_s,
            "refresh_token": self.refresh,
            "scope": " ".join(map(str, self.scopes)),
            "scopes": scopes_text(self.scopes),
        }


def _new_tokens(scopes: tuple[Scope, ...], life_s: int) -> Tokens:
    expires_us = now_us() + life_s * SECOND_US
    return Tokens(secrets.token_urlsafe(32), secrets.token_urlsafe(32), scopes, expires_us, life_s)


def open_session(
    tx: Transaction, client_id: str, device_name: str, scopes: tuple[Scope, ...], life_s: int
) -> Tokens:
    """A session for the client, with its first tokens."""
    tokens = _new_tokens(scopes, life_s)
    row = {
        "id": opaque_ids.new_id(opaque_ids.GENERAL),
        "client_id": client_id,
        "device_name": device_name,
        "scopes": scopes_text(scopes),
        "created_us": tx.now_us,
        **_token_columns(tx, tokens),
    }
    tx.execute(insert(oauth_sessions), row)
    return tokens


def renew_session(tx: Transaction, refresh: str, client_id: str, life_s: int) -> tuple[Tokens, str]:
    """New tokens for those of a session, and the digest of the access token that ends.

    Each refresh token works once. Raises OAuthRefusal.
    """
    row = tx.execute(_by_refresh, {"digest": digest_of(refresh)}).one_or_none()
    if row is None or row.refresh_expires_us <= tx.now_us or row.client_id != client_id:
        raise OAuthRefusal("invalid_grant", "the refresh token is unknown, used or expired")
    tokens = _new_tokens(parse_scopes(row.scopes), life_s)
    tx.execute(
        update(oauth_sessions).where(oauth_sessions.c.id == row.id).values(**_token_columns(tx, tokens))
    )
    return tokens, str(row.access_digest)


def _token_columns(tx: Transaction, tokens: Tokens) -> dict[str, Any]:
    return {
        "access_digest": digest_of(tokens.access),
        "access_expires_us": tokens.access_expires_us,
        "refresh_digest": digest_of(tokens.refresh),
        "refresh_expires_us": tx.now_us + REFRESH_LIFE_S * SECOND_US,
    }


def close_session_of(tx: Transaction, token: str) -> str | None:
    """End the session that has this access or refresh token; the digest of its access token."""
    digest = digest_of(token)
    has_it = (oauth_sessions.c.refresh_digest == digest) | (oauth_sessions.c.access_digest == digest)
    row = tx.execute(select(oauth_sessions).where(has_it)).one_or_none()
    return _close(tx, row)


def close_session(tx: Transaction, session_id: str | None, principal: Principal) -> str:
    """End the session; the digest of its access token. 404 when there is none, 403 when it is allowed more
    than the caller."""
    row = tx.execute(select(oauth_sessions).where(oauth_sessions.c.id == session_id)).one_or_none()
    if row is not None:
        principal.check_end(parse_scopes(row.scopes))
    digest = _close(tx, row)
    if digest is None:
        raise not_found("no such session")
    return digest


def _close(tx: Transaction, row: AnyRow | None) -> str | None:
    if row is None:
        return None
    tx.execute(delete(oauth_sessions).where(oauth_sessions.c.id == row.id))
    return str(row.access_digest)


def sessions_json(connection: Connection, principal: Principal) -> JsonObject:
    """Every session that is allowed no more than the caller, without its tokens."""
    rows = connection.execute(select(oauth_sessions).order_by(oauth_sessions.c.id)).all()
    sessions = [
        {
            "id": opaque_ids.shown(row.id),
            "client_id": row.client_id,
            "device_name": row.device_name,
            "scopes": [str(scope) for scope in parse_scopes(row.scopes)],
            "created": wire_time(row.created_us),
            "expires": wire_time(row.refresh_expires_us),
        }
        for row in rows
        if principal.reaches(parse_scopes(row.scopes))
    ]
    return {"sessions": sessions}


def load_sessions(connection: Connection, credentials: Credentials) -> None:
    """Make the access tokens of all sessions valid again after a start."""
    for row in connection.execute(select(oauth_sessions)):
        credentials.add(row.access_digest, parse_scopes(row.scopes), row.access_expires_us, AUTH_TYPE)


def scope_for(request: ConsentRequest, principal: Principal, workspace_id: str) -> Scope:
    """The one scope that a consent of this user grants. Raises where it is more than the user has."""
    entity_id = {"org": principal.org_id, "workspace": workspace_id}.get(request.scope_type, "*")
    scope = Scope(request.scope_type, entity_id, request.mode)
    principal.check_issue([scope])
    return scope
