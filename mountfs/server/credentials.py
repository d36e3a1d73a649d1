"""Who may do what: the owner's token, API keys and their scopes, download tokens."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mountfs.server import received_json
from mountfs.server.clock import SECOND_US, now_us
from mountfs.server.envelope import ApiError, invalid_field

DOWNLOAD_TOKEN_LIFE_S = 7200
CHANNEL_TOKEN_LIFE_S = 300
_CHANNEL = "channel"
_ALL = ("user", "all_orgs", "all_workspaces")
"""Scopes without an entity; each contains those behind it."""
_MODES = {"r": 1, "rw": 2, "rwa": 3}


@dataclass(frozen=True)
class Scope:
    """One granted `entity_type:entity_id:mode`."""

    entity_type: str
    entity_id: str
    mode: str

    def covers(self, org_id: str, workspace_id: str | None) -> bool:
        """Whether it speaks about this workspace (None: about anything at all)."""
        if self.entity_type in _ALL or workspace_id is None:
            return True
        return self.entity_id in ("*", org_id if self.entity_type == "org" else workspace_id)

    def covers_org(self, org_id: str) -> bool:
        """Whether it speaks about this organisation itself, not only about what is in it."""
        if self.entity_type == "org":
            return self.entity_id in ("*", org_id)
        return self.entity_type in ("user", "all_orgs")

    def contains(self, other: "Scope", org_id: str) -> bool:
        """Whether it allows all that the other one does, where this organisation has every workspace."""
        if _MODES[self.mode] < _MODES[other.mode]:
            return False
        if other.entity_type == "workspace":
            return self.covers(org_id, other.entity_id)
        if other.entity_type == "org":
            return self.covers_org(other.entity_id)
        return self.entity_type in _ALL[: _ALL.index(other.entity_type) + 1]

    def __str__(self) -> str:
        return f"{self.entity_type}:{self.entity_id}:{self.mode}"


DEFAULT_SCOPES = (Scope("user", "*", "rw"),)


@dataclass(frozen=True)
class Principal:
    """The user behind a request and what the credential allows."""

    user_id: str
    org_id: str
    auth_type: str
    scopes: tuple[Scope, ...]
    expires_us: int | None = None

    def is_member(self, workspace_id: str) -> bool:
        """Whether the workspace lies inside the credential's scope."""
        return any(scope.covers(self.org_id, workspace_id) for scope in self.scopes)

    def check_member(self, workspace_id: str) -> None:
        """Raises 401/10545 when the workspace lies outside the credential's scope."""
        if not self.is_member(workspace_id):
            raise not_a_member()

    def check_write(self, workspace_id: str | None) -> None:
        """Raises 403/10770 when the credential may only read there."""
        _check_writes(scope for scope in self.scopes if scope.covers(self.org_id, workspace_id))

    def check_org_write(self) -> None:
        """Raises 403/10175 when the organisation lies outside the credential's scope, 403/10770 when it may
        only read there."""
        covering = [scope for scope in self.scopes if scope.covers_org(self.org_id)]
        if not covering:
            raise ApiError(403, 10175, "the scope of this credential has not the whole organisation")
        _check_writes(covering)

    def check_admin(self, workspace_id: str) -> None:
        """Raises 403/10767 when the credential does not administer the workspace."""
        if not any(
            scope.covers(self.org_id, workspace_id) and _MODES[scope.mode] > 2 for scope in self.scopes
        ):
            raise ApiError(
                403, 10767, "only an administrator may do this", {"reason": "scope_admin_required"}
            )

    def check_issue(self, scopes: Iterable[Scope]) -> None:
        """Raises 403/10768 when a new key would be allowed more than this credential."""
        for scope in scopes:
            if not self.reaches([scope]):
                raise ApiError(403, 10768, f"the scope {scope} exceeds that of the issuer")

    def check_end(self, scopes: Iterable[Scope]) -> None:
        """Raises 403/10175 when the key or session to be ended is allowed more than this credential."""
        if not self.reaches(scopes):
            raise ApiError(403, 10175, "this credential may not end one that is allowed more")

    def reaches(self, scopes: Iterable[Scope]) -> bool:
        """Whether this credential is allowed all that these scopes allow."""
        return all(any(own.contains(scope, self.org_id) for own in self.scopes) for scope in scopes)


def _check_writes(scopes: Iterable[Scope]) -> None:
    if not any(_MODES[scope.mode] > 1 for scope in scopes):
        raise ApiError(403, 10770, "this credential may only read", {"reason": "scope_write_required"})


class Credentials:
    """All bearer tokens, in memory by digest; they come from the token file and the database."""

    def __init__(self, owner_token: str, user_id: str, org_id: str, owner_mode: str = "rwa") -> None:
        self._user_id = user_id
        self._org_id = org_id
        owner = Principal(user_id, org_id, "jwt", (Scope("user", "*", owner_mode),))
        self._known = {digest_of(owner_token): owner}

    def add_key(self, digest: str, scopes: tuple[Scope, ...], expires_us: int | None) -> None:
        """Make an API key valid from now on."""
        self.add(digest, scopes, expires_us, "api_key")

    def add(self, digest: str, scopes: tuple[Scope, ...], expires_us: int | None, auth_type: str) -> None:
        """Make a token of this type valid from now on."""
        self._known[digest] = Principal(self._user_id, self._org_id, auth_type, scopes, expires_us)

    def remove_key(self, digest: str) -> None:
        """The key is unknown from now on."""
        self._known.pop(digest, None)

    def principal(self, authorization: str | None) -> Principal:
        """Whoever the header names; 401/10011 otherwise."""
        scheme, _, token = (authorization or "").partition(" ")
        principal = self._known.get(digest_of(token.strip())) if scheme.lower() == "bearer" else None
        if principal is None or (principal.expires_us is not None and principal.expires_us <= now_us()):
            raise ApiError(401, 10011, "no credential, or one that is not known here")
        return principal


class DownloadTokens:
    """Signed permissions to read one file without a bearer; they hold over a restart."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, node_id: str, version_id: str) -> str:
        """A token for this version of the node, or for any version when `version_id` is empty."""
        claim = f"{node_id}.{version_id}.{now_us() // SECOND_US + DOWNLOAD_TOKEN_LIFE_S}"
        return f"{claim}.{_signature(self._secret, claim)}"

    def check(self, token: str, node_id: str) -> str:
        """The version the token is for; 401/10011 when it is not valid for the node."""
        claim, _, signature = token.rpartition(".")
        if not _is_signed(self._secret, claim, signature):
            raise ApiError(401, 10011, "the download token is not valid")
        claimed_node, version_id, expires = claim.split(".")
        if claimed_node != node_id or int(expires) * SECOND_US <= now_us():
            raise ApiError(401, 10011, "the download token is for another file, or has expired")
        return version_id


class ChannelTokens:
    """Signed permissions to hear of one entity by the WebSocket, where tokens stand in the address."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, entity: str) -> tuple[str, int]:
        """A token, and for how many seconds it opens the channel of the entity."""
        claim = f"{_CHANNEL}.{entity}.{now_us() // SECOND_US + CHANNEL_TOKEN_LIFE_S}"
        return f"{claim}.{_signature(self._secret, claim)}", CHANNEL_TOKEN_LIFE_S

    def entity(self, token: str) -> str | None:
        """What the token is for; None for what is no such token, or not any more."""
        claim, _, signature = token.rpartition(".")
        parts = claim.split(".")
        if len(parts) != 3 or parts[0] != _CHANNEL or not _is_signed(self._secret, claim, signature):
            return None
        return parts[1] if int(parts[2]) * SECOND_US > now_us() else None


def _signature(secret: bytes, claim: str) -> str:
    mac = hmac.digest(secret, claim.encode("utf-8", "replace"), "sha256")
    return base64.urlsafe_b64encode(mac).decode("ascii").rstrip("=")


def _is_signed(secret: bytes, claim: str, signature: str) -> bool:
    told = signature.encode("utf-8", "replace")
    return hmac.compare_digest(told, _signature(secret, claim).encode("ascii"))


def not_a_member() -> ApiError:
    """401 for a workspace that does not exist or is none of the caller's business: both look the same."""
    return ApiError(401, 10545, "not a member of this workspace")


def new_api_key() -> str:
    """A secret that is shown once."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Scopes of a JSON array of `entity_type:entity_id:mode`; the default ones when there are none."""
    if not text.strip():
        return DEFAULT_SCOPES
    try:
        rows = received_json.loads(text)
    except ValueError as error:
        raise invalid_field("scopes", "not valid JSON") from error
    if not isinstance(rows, list):
        raise invalid_field("scopes", "a JSON array is expected")
    return tuple(_parse_scope(row) for row in rows) or DEFAULT_SCOPES


def scopes_text(scopes: Iterable[Scope]) -> str:
    """The JSON that `parse_scopes` reads."""
    return json.dumps([str(scope) for scope in scopes])


def _parse_scope(row: Any) -> Scope:
    parts = row.split(":") if isinstance(row, str) else []
    if len(parts) != 3 or parts[2] not in _MODES or parts[0] not in (*_ALL, "org", "workspace"):
        raise invalid_field("scopes", f"{row!r} is not entity_type:entity_id:mode")
    return Scope(parts[0], parts[1], parts[2])
