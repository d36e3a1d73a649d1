"""Signing in by OAuth: what a browser and a program see, and what neither can do."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.t2_server.serving import Api, ServerProcess, error_of

VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:1/callback"


def challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def asked(api: Api, **more: str) -> httpx.Response:
    query = {
        "client_id": "c1",
        "response_type": "code",
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
        "state": "s1",
        "redirect_uri": REDIRECT,
        "scope_type": "workspace",
        "response_format": "json",
    }
    return api.http.get("oauth/authorize/", params={**query, **more}, headers={"authorization": ""})


def consented(api: Api, request_id: str, token: str, **more: str) -> httpx.Response:
    form = {"auth_request_id": request_id, "token": token, "workspace": "main", **more}
    return api.http.post("oauth/consent/", data=form, headers={"authorization": ""})


def code_of(api: Api, token: str, **more: str) -> str:
    request_id = asked(api, **more).json()["auth_request_id"]
    response = consented(api, request_id, token)
    assert response.status_code == 302, response.text
    told = parse_qs(urlsplit(response.headers["location"]).query)
    assert told["state"] == ["s1"]
    return told["code"][0]


def tokens(api: Api, **fields: str) -> httpx.Response:
    form = {"client_id": "c1", "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **fields}
    return api.http.post("oauth/token/", data=form, headers={"authorization": ""})


def signed_in(api: Api, token: str, **more: str) -> dict[str, Any]:
    answer = tokens(api, grant_type="authorization_code", code=code_of(api, token, **more))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_consent_for_one_workspace_reaches_no_other(shared_server: ServerProcess, api: Api) -> None:
    told = signed_in(api, shared_server.token())
    assert "result" not in told
    assert told["token_type"] == "Bearer"
    with shared_server.api(told["access_token"]) as member:
        assert member.get("auth/scopes/")["auth_type"] == "oauth"
        assert [row["folder_name"] for row in member.get("workspaces/all/")["workspaces"]] == ["main"]
        refused = member.http.get(f"workspace/{api.workspace}/details/")
        assert error_of(refused, 401)["code"] == 10545


def test_reading_consent_writes_nothing(shared_server: ServerProcess, api: Api) -> None:
    told = signed_in(api, shared_server.token(), access_mode="r")
    with shared_server.api(told["access_token"]) as reader:
        refused = reader.http.post("workspace/main/storage/root/createfolder/", data={"name": "x"})
        assert error_of(refused, 403)["params"]["reason"] == "scope_write_required"


def test_codes_work_once_with_their_verifier_only(shared_server: ServerProcess, api: Api) -> None:
    code = code_of(api, shared_server.token())
    wrong = tokens(api, grant_type="authorization_code", code=code, code_verifier="w" * 43)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    again = tokens(api, grant_type="authorization_code", code=code)
    assert again.json()["error"] == "invalid_grant", "an attempt uses the code up"
    code = code_of(api, shared_server.token())
    elsewhere = tokens(api, grant_type="authorization_code", code=code, redirect_uri="http://127.0.0.1:2/")
    assert elsewhere.json()["error"] == "invalid_grant"


def test_refresh_tokens_change_with_each_use(shared_server: ServerProcess, api: Api) -> None:
    first = signed_in(api, shared_server.token())
    second = tokens(api, grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["access_token"] != first["access_token"]
    for token, status in ((first["access_token"], 401), (second["access_token"], 200)):
        with shared_server.api(token) as member:
            assert member.http.get("user/auth/check/").status_code == status
    used = tokens(api, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert used.json()["error"] == "invalid_grant"
    stranger = tokens(api, grant_type="refresh_token", refresh_token=second["refresh_token"], client_id="c2")
    assert stranger.json()["error"] == "invalid_grant"


def test_sessions_are_listed_and_ended(shared_server: ServerProcess, api: Api) -> None:
    told = signed_in(api, shared_server.token())
    (session,) = [row for row in api.get("oauth/sessions/")["sessions"] if row["client_id"] == "c1"][-1:]
    assert session["scopes"][0].startswith("workspace:")
    assert "refresh" not in str(session)
    api.delete(f"oauth/sessions/{session['id']}/")
    with shared_server.api(told["access_token"]) as member:
        assert error_of(member.http.get("user/auth/check/"), 401)["code"] == 10011
    assert renewal_error(api, told) == "invalid_grant"
    told = signed_in(api, shared_server.token())
    assert api.post("oauth/revoke/", token=told["refresh_token"])["result"] is True
    with shared_server.api(told["access_token"]) as member:
        assert member.http.get("user/auth/check/").status_code == 401
    assert renewal_error(api, told) == "invalid_grant"


def test_session_of_one_workspace_ends_none_that_is_allowed_more(
    shared_server: ServerProcess, api: Api
) -> None:
    small = signed_in(api, shared_server.token())
    large = signed_in(api, shared_server.token(), scope_type="user")
    sessions = api.get("oauth/sessions/")["sessions"]
    (session,) = [row for row in sessions if row["scopes"] == ["user:*:rw"]][-1:]
    with shared_server.api(small["access_token"]) as member:
        seen = [row["id"] for row in member.get("oauth/sessions/")["sessions"]]
        assert seen == [row["id"] for row in sessions if row["scopes"][0].startswith("workspace:")]
        assert error_of(member.http.delete(f"oauth/sessions/{session['id']}/"), 403)["code"] == 10175
    with shared_server.api(large["access_token"]) as owner:
        owner.get("user/auth/check/")


def renewal_error(api: Api, told: dict[str, Any]) -> str:
    refused = tokens(api, grant_type="refresh_token", refresh_token=told["refresh_token"])
    return str(refused.json()["error"])


@pytest.mark.long
def test_sessions_outlive_the_server(start_server: Callable[..., ServerProcess]) -> None:
    with start_server() as server, server.api() as api:
        told = signed_in(api, server.token())
    with start_server() as server, server.api(told["access_token"]) as member:
        assert member.http.get("user/auth/check/").status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_type", "token"),
        ("code_challenge_method", "plain"),
        ("redirect_uri", "http://example.org/callback"),
        ("redirect_uri", "nonsense"),
        ("scope_type", "universe"),
        ("access_mode", "x"),
        ("client_id", ""),
        ("state", ""),
    ],
)
def test_requests_that_are_none_are_refused(api: Api, field: str, value: str) -> None:
    assert error_of(asked(api, **{field: value}), 406)["params"][0]["name"] == field


def test_page_shows_what_is_asked_and_takes_a_credential(shared_server: ServerProcess, api: Api) -> None:
    first = asked(api, response_format="", client_id="<b>c1")
    assert first.status_code == 302
    page = httpx.get(first.headers["location"])
    assert "<b>c1" not in page.text.replace("<b>&lt;", "")
    assert page.headers["cache-control"] == "no-store"
    request_id = asked(api, display_code="true").json()["auth_request_id"]
    assert error_of(consented(api, request_id, "wrong"), 401)["code"] == 10011
    request_id = asked(api, display_code="true").json()["auth_request_id"]
    shown = consented(api, request_id, shared_server.token())
    code = shown.text.split("<code>")[1].split("</code>")[0]
    assert tokens(api, grant_type="authorization_code", code=code).status_code == 200
    request_id = asked(api).json()["auth_request_id"]
    denied = consented(api, request_id, "", decision="deny")
    assert "error=access_denied" in denied.headers["location"]
    assert error_of(consented(api, request_id, shared_server.token()), 404)


def test_nobody_grants_more_than_he_has(shared_server: ServerProcess, api: Api) -> None:
    key = api.post("user/auth/key/", scopes='["user:*:r"]')["api_key"]
    request_id = asked(api).json()["auth_request_id"]
    assert error_of(consented(api, request_id, key), 403)["code"] == 10768


def test_programs_register(api: Api) -> None:
    told = api.http.post("oauth/register/", json={"client_name": "x", "redirect_uris": [REDIRECT]})
    assert told.status_code == 201
    assert told.json()["client_id"]
    refused: tuple[Any, ...] = ({"redirect_uris": ["http://example.org"]}, {"redirect_uris": [1]}, {}, [])
    for body in refused:
        assert error_of(api.http.post("oauth/register/", json=body), 406)
