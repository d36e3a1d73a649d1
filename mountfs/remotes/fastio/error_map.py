"""The one place where refusals of the service become errors of the model. Pure.

The HTTP status and `params.reason` decide; `error.code` only where it is known to be stable, because most
codes are reassigned without notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mountfs.model.errors import (
    AccessDenied,
    ArrivedSpoiled,
    CredentialRefused,
    FileTooBig,
    ForeignAnswer,
    LeaseHeld,
    NameRefused,
    NameTaken,
    OutcomeUnknown,
    ProtocolViolation,
    QuotaExceeded,
    RateLimited,
    ReadOnlyCredential,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
    UploadFailed,
    VersionMismatch,
)
from mountfs.model.ids import VersionId
from mountfs.remotes.fastio.request import Ask, Repeat
from mountfs.remotes.fastio.wire import (
    Wire,
    canonical,
    is_success,
    json_object,
    unwrapped,
    whole,
    whole_characters,
)

ABSENT_CODES: Final = frozenset({133123, 191878, 146950, 100220})
"""The node itself is absent, malformed, elsewhere or without content."""

ABSENT_CLASSES: Final = frozenset({1609, 1652, 404})
NO_CONTENT: Final = 204
LONGEST_WAIT_S: Final = 1e9
"""What asks for more is no time."""
NAME_FIELDS: Final = frozenset({"name", "filename", "folder_name"})
TAKEN_WORDS: Final = frozenset({"exists", "already_exists", "taken", "name_taken", "duplicate", "conflict"})

BY_REASON: Final[dict[str, type[RemoteError]]] = {
    "scope_write_required": ReadOnlyCredential,
    "cloud_sync_read_only": ReadOnlyCredential,
    "cloud_sync_disabled": AccessDenied,
    "scope_admin_required": AccessDenied,
    "geo_restricted": AccessDenied,
    "two_factor_enrolment_only": AccessDenied,
    "sso_required": AccessDenied,
    "access_policy_unavailable": RemoteUnavailable,
    "locked": LeaseHeld,
    "name_taken": NameTaken,
}

BY_CODE: Final[dict[int, type[RemoteError]]] = {
    10008: CredentialRefused,
    10011: CredentialRefused,
    1650: CredentialRefused,
    10545: AccessDenied,
    115069: AccessDenied,
    1680: AccessDenied,
    10175: AccessDenied,
    10560: AccessDenied,
    10574: AccessDenied,
    10753: AccessDenied,
    10754: AccessDenied,
    10757: AccessDenied,
    10767: AccessDenied,
    10768: AccessDenied,
    10769: AccessDenied,
    10770: ReadOnlyCredential,
    1685: QuotaExceeded,
    1688: QuotaExceeded,
    1695: QuotaExceeded,
    1696: QuotaExceeded,
    9992: ProtocolViolation,
    10522: UploadFailed,
    146256: RemoteUnavailable,
}

ACCOUNT_CODES: Final = frozenset({1688, 1695, 1696})
"""No subscription, or no credits left; others are about room for what was sent."""

BY_STATUS: Final[dict[int, type[RemoteError]]] = {
    401: CredentialRefused,
    402: QuotaExceeded,
    403: AccessDenied,
    413: FileTooBig,
}


class UnexplainedConflict(RemoteUnavailable):
    """HTTP 409 without a word about its meaning: a lock, another version, a name in use, or another request
    that works on the same thing. A look at the node tells, where anything does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: never a temporary failure, unless the request counts it as an answer."""

    status: int
    content: bytes
    request_id: str = ""
    server_time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error part of an answer. `rows` tells which fields were refused, `params` tells more."""

    status: int
    code: int | None
    text: str
    params: Wire
    rows: Sequence[Wire]

    @property
    def reason(self) -> str:
        return str(self.params.get("reason") or "")


def accepted(answer: Answer, ask: Ask) -> dict[str, Any]:
    """Return the payload of a success. Raises what the refusal means, or ProtocolViolation."""
    if answer.status == NO_CONTENT:
        return {}
    envelope = json_object(answer.content)
    if envelope is None:
        raise not_this_service(answer, ask)
    if answer.status < 400 and is_success(envelope):
        return unwrapped(envelope)
    raise error_of(refusal(answer.status, envelope), ask, answer.request_id)


def not_this_service(answer: Answer, ask: Ask) -> RemoteUnavailable:
    """Return the error for an answer that is no envelope: a proxy's page, or another server's."""
    message = f"{ask}: HTTP {answer.status} without a JSON object"
    if ask.repeat is Repeat.UNSENT:
        return OutcomeUnknown(f"{message}; the change may have happened")
    return RemoteUnavailable(message) if answer.status >= 500 else ForeignAnswer(message)


def refusal(status: int, envelope: Wire) -> Refusal:
    """Read the error of either generation; `status` counts where the envelope says nothing."""
    error = envelope.get("error")
    if not isinstance(error, dict):
        error = {"text": envelope.get("error_message") or error, "code": envelope.get("error_id")}
    told = error.get("params")
    params = dict(told) if isinstance(told, dict) else {}
    params.setdefault("reason", error.get("reason"))
    rows = [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
    return Refusal(status, whole(error.get("code")), _text(error), params, rows)


def is_about_the_account(refused: Refusal) -> bool:
    """Tell whether it is the whole account that gets nothing until somebody pays, and not this change."""
    return refused.status == 402 and refused.code in ACCOUNT_CODES


def retry_after_s(refused: Refusal) -> float | None:
    told = refused.params.get("retry_after_seconds")
    return float(told) if isinstance(told, int | float) and 0 <= told <= LONGEST_WAIT_S else None


def error_of(refused: Refusal, ask: Ask, request_id: str = "") -> RemoteError:
    """Return the error of the model that the refusal of this request means."""
    message = _message(refused, ask, request_id)
    if refused.status == 429:
        return RateLimited(message, retry_after_s=retry_after_s(refused) or 1.0)
    if _is_version_mismatch(refused):
        return VersionMismatch(message, current=_current_version(refused))
    error = _kind(refused, ask)(message)
    if isinstance(error, RequestRefused):
        error.fields = frozenset(str(row.get("name")) for row in refused.rows)
    return error


def _kind(refused: Refusal, ask: Ask) -> type[RemoteError]:
    if refused.reason.startswith("credential_policy_"):
        return RemoteUnavailable if refused.reason.endswith("_unavailable") else AccessDenied
    if refused.reason in BY_REASON:
        return _on_this_route(BY_REASON[refused.reason], ask)
    if refused.code in BY_CODE:
        return BY_CODE[refused.code]
    return _kind_by_status(refused, ask)


def _kind_by_status(refused: Refusal, ask: Ask) -> type[RemoteError]:
    if refused.status >= 500:
        return RemoteUnavailable
    if refused.status in {404, 410} or refused.code in ABSENT_CODES | ABSENT_CLASSES:
        return ask.refusals.absent
    if refused.status == 409:
        return ask.refusals.conflict or UnexplainedConflict
    if refused.status in BY_STATUS:
        return BY_STATUS[refused.status]
    return _kind_of_validation(refused, ask)


def _kind_of_validation(refused: Refusal, ask: Ask) -> type[RemoteError]:
    for row in refused.rows:
        if row.get("name") in NAME_FIELDS and row.get("kind") != "missing":
            words = {str(row.get("kind")), str(row.get("reason"))}
            return NameTaken if words & TAKEN_WORDS else NameRefused
        if row.get("name") == "hash" and row.get("kind") == "mismatch":
            return ArrivedSpoiled
        if row.get("name") == "size" and row.get("kind") != "missing":
            return FileTooBig
    return ask.refusals.invalid


def _on_this_route(kind: type[RemoteError], ask: Ask) -> type[RemoteError]:
    """On the routes of a lock that is ours, "locked" means that it is ours no more."""
    return ask.refusals.conflict or kind if kind is LeaseHeld else kind


def _is_version_mismatch(refused: Refusal) -> bool:
    if refused.status != 409:
        return False
    return (
        refused.reason == "conflict_version_mismatch"
        or "current_version_id" in refused.params
        or isinstance(refused.params.get("current"), dict)
    )


def _current_version(refused: Refusal) -> VersionId | None:
    current = refused.params.get("current")
    nested = current.get("version_id") if isinstance(current, dict) else None
    told = refused.params.get("current_version_id") or nested
    return VersionId(canonical(told)) if told else None


def _text(error: Wire) -> str:
    return str(error.get("text") or error.get("message") or "no explanation")


def _message(refused: Refusal, ask: Ask, request_id: str) -> str:
    details = [f"HTTP {refused.status}"]
    if refused.code is not None:
        details.append(f"code {refused.code}")
    if refused.reason:
        details.append(refused.reason)
    if request_id:
        details.append(f"request {request_id}")
    return whole_characters(f"{ask}: {refused.text} ({', '.join(details)})")
