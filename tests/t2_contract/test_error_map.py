"""Refusals of the service, of both generations, as errors of the model."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mountfs.model import errors
from mountfs.remotes.fastio.error_map import Answer, UnexplainedConflict, accepted
from mountfs.remotes.fastio.request import Ask, Refusals

PLAIN = Ask("POST", "workspace/4/storage/2a/update/", {"lock_token": "hidden"})
LOCK = Ask("POST", "lock/", refusals=Refusals(conflict=errors.LeaseHeld))
HOLDING = Ask(
    "POST",
    "lock/heartbeat/",
    refusals=Refusals(absent=errors.LeaseNotHeld, conflict=errors.LeaseNotHeld, invalid=errors.LeaseNotHeld),
)


def meaning(status: int, error: dict[str, Any], ask: Ask = PLAIN) -> errors.RemoteError:
    content = json.dumps({"result": False, "error": error}).encode()
    with pytest.raises(errors.RemoteError) as caught:
        accepted(Answer(status, content), ask)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "reason", "expected"),
    [
        (401, 10011, "", errors.CredentialRefused),
        (401, 1650, "", errors.CredentialRefused),
        (401, 187001, "", errors.CredentialRefused),
        (401, 10545, "", errors.AccessDenied),
        (401, 115069, "", errors.AccessDenied),
        (401, 10175, "", errors.AccessDenied),
        (403, 10175, "", errors.AccessDenied),
        (403, 1700, "", errors.AccessDenied),
        (403, 187002, "", errors.AccessDenied),
        (401, 1680, "", errors.AccessDenied),
        (403, 10770, "", errors.ReadOnlyCredential),
        (403, 187003, "scope_write_required", errors.ReadOnlyCredential),
        (403, 187003, "cloud_sync_read_only", errors.ReadOnlyCredential),
        (403, 187003, "geo_restricted", errors.AccessDenied),
        (403, 187003, "credential_policy_ip", errors.AccessDenied),
        (503, 187003, "credential_policy_ip_unavailable", errors.RemoteUnavailable),
        (503, 187003, "access_policy_unavailable", errors.RemoteUnavailable),
        (402, 1688, "", errors.QuotaExceeded),
        (402, 187004, "", errors.QuotaExceeded),
        (403, 1685, "", errors.QuotaExceeded),
        (404, 1609, "", errors.NodeNotFound),
        (404, 187005, "", errors.NodeNotFound),
        (410, 187005, "", errors.NodeNotFound),
        (404, 9992, "", errors.ProtocolViolation),
        (409, 187006, "locked", errors.LeaseHeld),
        (409, 1660, "", UnexplainedConflict),
        (413, 187007, "", errors.FileTooBig),
        (406, 10522, "", errors.UploadFailed),
        (400, 1605, "", errors.RequestRefused),
        (406, 187008, "", errors.RequestRefused),
        (200, 187008, "", errors.RequestRefused),
        (500, 1654, "", errors.RemoteUnavailable),
    ],
)
def test_status_reason_and_stable_codes(
    status: int, code: int, reason: str, expected: type[errors.RemoteError]
) -> None:
    as_number = meaning(status, {"code": code, "text": "why", "params": {"reason": reason}})
    as_text = meaning(status, {"code": str(code), "message": "why", "reason": reason})
    assert type(as_number) is type(as_text) is expected
    assert "why" in as_number.message
    assert "POST workspace/4/storage/2a/update/" in as_number.message
    assert "hidden" not in as_number.message


def test_rate_limit_tells_when_to_come_again() -> None:
    told = meaning(429, {"code": 1671, "params": {"retry_after_seconds": 12}})
    assert isinstance(told, errors.RateLimited)
    assert told.retry_after_s == 12


@pytest.mark.parametrize("name", ["error_mismatch", "error_mismatch_note"])
def test_lost_compare_and_swap_tells_the_current_version(golden: Callable[[str], bytes], name: str) -> None:
    with pytest.raises(errors.VersionMismatch) as caught:
        accepted(Answer(409, golden(name)), PLAIN)
    assert caught.value.current == "3abcdefghijklmnopqrstuvwxyz02"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"name": "name", "kind": "invalid"}, errors.NameRefused),
        ({"name": "filename", "kind": "invalid"}, errors.NameRefused),
        ({"name": "name", "kind": "exists"}, errors.NameTaken),
        ({"name": "name", "kind": "invalid", "reason": "already_exists"}, errors.NameTaken),
        ({"name": "name", "kind": "missing"}, errors.RequestRefused),
        ({"name": "size", "kind": "invalid"}, errors.FileTooBig),
        ({"name": "parent", "kind": "invalid"}, errors.RequestRefused),
    ],
)
@pytest.mark.parametrize("status", [400, 406, 422])
def test_refused_fields(status: int, row: dict[str, Any], expected: type[errors.RemoteError]) -> None:
    assert type(meaning(status, {"code": 10023, "params": [row]})) is expected


@pytest.mark.parametrize("status", [400, 404, 406, 409])
def test_on_the_routes_of_our_own_lock_every_refusal_means_that_it_is_lost(status: int) -> None:
    assert type(meaning(status, {"code": 1}, HOLDING)) is errors.LeaseNotHeld
    assert type(meaning(status, {"params": {"reason": "locked"}}, HOLDING)) is errors.LeaseNotHeld
    assert type(meaning(401, {"code": 10011}, HOLDING)) is errors.CredentialRefused


def test_conflict_on_the_lock_route_means_held() -> None:
    assert type(meaning(409, {"code": 1660}, LOCK)) is errors.LeaseHeld


def test_envelopes_of_all_layouts(golden: Callable[[str], bytes]) -> None:
    with pytest.raises(errors.NodeNotFound, match="No such node"):
        accepted(Answer(404, golden("error_new")), PLAIN)
    with pytest.raises(errors.NodeNotFound, match="Not found"):
        accepted(Answer(404, golden("error_old")), PLAIN)
    with pytest.raises(errors.RequestRefused, match=r"smaller question.*code 170001"):
        accepted(Answer(406, golden("error_flat")), PLAIN)
    with pytest.raises(errors.NameRefused):
        accepted(Answer(406, golden("error_fields")), PLAIN)


def test_what_is_no_envelope() -> None:
    for content in (b"<html>", b"", b"[]", b"\xff"):
        for status, expected in (
            (200, errors.ProtocolViolation),
            (404, errors.ProtocolViolation),
            (502, errors.RemoteUnavailable),
        ):
            with pytest.raises(expected):
                accepted(Answer(status, content), PLAIN)
    assert accepted(Answer(204, b""), PLAIN) == {}
