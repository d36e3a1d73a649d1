"""Credentials, scopes, organisations, workspaces, the envelope."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest

from mountfs.server.credentials import parse_scopes
from tests.t2_server.serving import Api, ServerProcess, blob_files, checked, error_of, wait_until


def test_token_and_folder_are_readable_by_the_owner_alone(shared_server: ServerProcess) -> None:
    assert stat.S_IMODE(shared_server.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((shared_server.data / "token").stat().st_mode) == 0o600


def test_ping_and_status_need_no_credential(shared_server: ServerProcess) -> None:
    for path in ("ping/", "system/status/"):
        assert httpx.get(shared_server.url + path).status_code == 200


def test_unknown_token_is_401_10011(shared_server: ServerProcess) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}):
        assert (
            error_of(httpx.get(shared_server.url + "user/auth/check/", headers=headers), 401)["code"] == 10011
        )


def test_every_answer_carries_request_id_and_limits(api: Api) -> None:
    for path in ("user/auth/check/", "no/such/route/"):
        headers = api.http.get(path).headers
        assert headers["x-ve-reqid"]
        assert int(headers["x-ve-limit-avail"]) <= int(headers["x-ve-limit-max"])
        assert int(headers["x-ve-limit-expires"]) > 0


def test_unknown_route_method_or_missing_slash_is_9992(api: Api) -> None:
    for response in (api.http.get("no/such/"), api.http.put("ping/"), api.http.get("user/auth/check")):
        error = error_of(response, 404)
        assert error["code"] == 9992
        assert error["resource"].startswith(response.request.method)


def test_organisation_and_workspaces_are_found_by_id_and_name(api: Api) -> None:
    org = api.get("orgs/all/")["orgs"][0]
    assert api.get("orgs/list/external/")["orgs"] == []
    assert api.get(f"org/{org['domain']}/details/")["org"]["id"] == org["id"]
    assert len(org["id"]) == 19
    listed = api.get(f"org/{org['id']}/list/workspaces/")["workspaces"]
    assert listed == api.get("workspaces/all/")["workspaces"]
    main = next(row for row in listed if row["folder_name"] == "main")
    assert api.get("workspace/main/details/")["workspace"]["id"] == main["id"]


def test_workspace_names_are_checked_and_unique(api: Api) -> None:
    org = api.get("orgs/list/")["orgs"][0]["id"]
    for name in ("abc", "with space", "a" * 81, "12345", "main"):
        response = api.http.post(f"org/{org}/create/workspace/", data={"folder_name": name, "name": "Name"})
        error_of(response, 406)


def test_workspace_is_removed_by_an_administrator_who_names_it_and_for_ever(
    start_server: Callable[..., ServerProcess],
) -> None:
    with start_server("--workspace", "doomed", "--workspace", "other") as server, server.api() as api:
        api.workspace = "doomed"
        api.upload("file", b"goes with it")
        path = "workspace/doomed/delete/"
        error_of(api.http.delete(path), 406)
        error_of(api.http.delete(path, params={"confirm": "other"}), 406)
        key = api.post("user/auth/key/", scopes='["user:*:rw"]')["api_key"]
        with server.api(key) as member:
            refused = member.http.delete(path, params={"confirm": "doomed"})
            assert error_of(refused, 403)["params"]["reason"] == "scope_admin_required"
        assert list(api.children()) == ["file"]
        api.delete(path, confirm="doomed")
        error_of(api.http.get("workspace/doomed/details/"), 401)
        wait_until(lambda: not blob_files(server))
    with start_server("--workspace", "other") as server, server.api() as api:
        names = [row["folder_name"] for row in api.get("workspaces/all/")["workspaces"]]
        assert "doomed" not in names
        assert "other" in names


def test_workspace_that_is_not_ours_is_401_10545(api: Api) -> None:
    assert error_of(api.http.get("workspace/1234567890123456789/details/"), 401)["code"] == 10545


def test_read_only_key_reads_and_is_refused_each_write(api: Api, shared_server: ServerProcess) -> None:
    node = api.upload("file", b"content")
    for scope in (f"workspace:{api.workspace}:r", "user:*:r"):
        key = api.post("user/auth/key/", memo="ro", scopes=json.dumps([scope]))["api_key"]
        with shared_server.api(key) as reader:
            reader.workspace = api.workspace
            assert reader.read(node) == b"content"
            assert reader.get("auth/scopes/")["scopes"] == [scope]
            writes = [
                reader.try_upload("new", b"x"),
                reader.http.post(f"{api.storage}root/createfolder/", data={"name": "d"}),
                reader.http.post(f"{api.storage}{node}/update/", data={"name": "d"}),
                reader.http.post(f"{api.storage}{node}/move/", data={"parent": "root"}),
                reader.http.delete(f"{api.storage}{node}/delete/"),
                reader.http.post(f"{api.storage}{node}/lock/"),
                reader.http.post("upload/", data={"name": "n", "size": "1"}),
                reader.http.post("user/auth/key/"),
            ]
            for response in writes:
                error = error_of(response, 403)
                assert (error["code"], error["params"]["reason"]) == (10770, "scope_write_required")
    assert api.children() == {"file": node}


def test_key_of_one_workspace_does_not_reach_another(api: Api, shared_server: ServerProcess) -> None:
    key = api.post("user/auth/key/", scopes=json.dumps([f"workspace:{api.workspace}:rw"]))["api_key"]
    with shared_server.api(key) as other:
        assert error_of(other.http.get("workspace/main/storage/root/list/"), 401)["code"] == 10545
        assert [row["id"] for row in other.get("workspaces/all/")["workspaces"]] == [api.workspace]
        wider = other.http.post("user/auth/key/", data={"scopes": '["user:*:rw"]'})
        assert error_of(wider, 403)["code"] == 10768


@pytest.fixture
def of_one_workspace(api: Api, shared_server: ServerProcess) -> Iterator[Api]:
    """A key that may read and write the workspace of `api`, and nothing else."""
    key = api.post("user/auth/key/", scopes=json.dumps([f"workspace:{api.workspace}:rw"]))["api_key"]
    with shared_server.api(key) as client:
        client.workspace = api.workspace
        yield client


def key_of(api: Api, *scopes: str) -> str:
    return str(api.post("user/auth/key/", scopes=json.dumps(scopes))["id"])


def test_key_of_one_workspace_makes_no_other(api: Api, of_one_workspace: Api) -> None:
    form = {"folder_name": "made-by-key", "name": "Name"}
    for path in (
        "org/local/create/workspace/",
        f"org/{api.get('orgs/all/')['orgs'][0]['id']}/create/workspace/",
    ):
        assert error_of(of_one_workspace.http.post(path, data=form), 403)["code"] == 10175
    assert "made-by-key" not in str(api.get("workspaces/all/"))


@pytest.mark.parametrize(
    ("scope", "made"),
    [
        ("user:*:rw", True),
        ("all_orgs:*:rw", True),
        ("org:{org}:rw", True),
        ("org:1234567890123456789:rw", False),
        ("all_workspaces:*:rw", False),
    ],
)
def test_workspaces_are_made_with_a_scope_of_the_organisation(
    api: Api, shared_server: ServerProcess, scope: str, made: bool
) -> None:
    org = api.get("orgs/all/")["orgs"][0]["id"]
    key = api.post("user/auth/key/", scopes=json.dumps([scope.format(org=org)]))["api_key"]
    with shared_server.api(key) as client:
        form = {"folder_name": f"made-{uuid4().hex}", "name": "Name"}
        assert client.http.post(f"org/{org}/create/workspace/", data=form).status_code == (
            200 if made else 403
        )


def test_key_of_one_workspace_sees_and_ends_only_such_keys(api: Api, of_one_workspace: Api) -> None:
    others = [
        key_of(api, "user:*:rw"),
        key_of(api, "workspace:1234567890123456789:r"),
        key_of(api, f"workspace:{api.workspace}:rwa"),
        key_of(api, f"workspace:{api.workspace}:r", "all_workspaces:*:r"),
    ]
    own = key_of(of_one_workspace, f"workspace:{api.workspace}:r")
    listed = {row["id"] for row in of_one_workspace.get("user/auth/keys/")["api_keys"]}
    assert own in listed
    assert not listed.intersection(others)
    for other in others:
        assert error_of(of_one_workspace.http.delete(f"user/auth/key/{other}/"), 403)["code"] == 10175
    of_one_workspace.delete(f"user/auth/key/{own}/")
    left = {row["id"] for row in api.get("user/auth/keys/")["api_keys"]}
    assert left.issuperset(others)
    assert own not in left


@pytest.mark.parametrize(
    ("own", "other", "contained"),
    [
        ("user:*:rw", "all_orgs:*:rw", True),
        ("user:*:r", "user:*:rw", False),
        ("all_orgs:*:rw", "org:1:rw", True),
        ("all_orgs:*:rw", "all_workspaces:*:r", True),
        ("all_orgs:*:rw", "user:*:rw", False),
        ("all_workspaces:*:rw", "workspace:7:rw", True),
        ("all_workspaces:*:rw", "all_orgs:*:r", False),
        ("all_workspaces:*:rw", "org:1:r", False),
        ("org:1:rw", "workspace:7:rw", True),
        ("org:1:rw", "org:2:r", False),
        ("org:2:rw", "workspace:7:rw", False),
        ("workspace:*:rw", "workspace:7:rw", True),
        ("workspace:7:rw", "workspace:*:r", False),
    ],
)
def test_scopes_contain_what_is_below_them(own: str, other: str, contained: bool) -> None:
    (wide,), (narrow,) = (parse_scopes(json.dumps([text])) for text in (own, other))
    assert wide.contains(narrow, org_id="1") == contained


def test_key_of_one_workspace_sees_no_uploads_and_no_events_of_others(
    api: Api, elsewhere: Api, of_one_workspace: Api
) -> None:
    cursor = of_one_workspace.get("org/local/events/changes/")["cursor"]
    theirs, ours = (client.session("f", 1, **client.target()) for client in (elsewhere, api))
    elsewhere.folder("theirs")
    folder = api.folder("ours")
    listed = {row["id"] for row in of_one_workspace.get("upload/details/")["sessions"]}
    assert ours in listed
    assert theirs not in listed
    feed = of_one_workspace.get("org/local/events/changes/", cursor=cursor)
    assert [row["object_id"] for row in feed["changes"]] == [folder]
    assert [row["id"] for row in feed["profiles"]["items"]] == [api.workspace]
    checked(of_one_workspace.http.delete("upload/"))
    assert elsewhere.get(f"upload/{theirs}/details/")["session"]["status"] == "ready"
    error_of(api.http.get(f"upload/{ours}/details/"), 404)


def test_feed_of_nothing_is_refused(api: Api, shared_server: ServerProcess) -> None:
    key = api.post("user/auth/key/", scopes='["workspace:1234567890123456789:r"]')["api_key"]
    with shared_server.api(key) as stranger:
        assert error_of(stranger.http.get("org/local/events/changes/"), 403)["code"] == 135626


def test_keys_survive_restart_expire_and_can_be_deleted(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with server.api() as api:
        lasting, deleted = api.post("user/auth/key/"), api.post("user/auth/key/")
        expired = api.post("user/auth/key/", expires="2020-01-01 00:00:00 UTC")["api_key"]
        api.delete(f"user/auth/key/{deleted['id']}/")
    server.stop()
    server = start_server()
    with server.api(lasting["api_key"]) as api:
        assert api.get("user/auth/keys/")["results"] == 2
    for key in (expired, deleted["api_key"]):
        with server.api(key) as api:
            error_of(api.http.get("user/auth/check/"), 401)


def test_second_server_on_one_folder_is_refused_in_one_line(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    command = [sys.executable, "-m", "mountfs.server", "--data", str(server.data)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "another server" in second.stderr


def test_taken_address_is_refused_in_one_line(
    start_server: Callable[..., ServerProcess], shared_server: ServerProcess
) -> None:
    port = httpx.URL(shared_server.url).port
    data = shared_server.data.parent / "other"
    command = [sys.executable, "-m", "mountfs.server", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "in use" in second.stderr


def test_later_start_adds_workspaces_and_keeps_the_old(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--workspace", "first")
    with server.api() as api:
        before = api.get("workspace/first/details/")["workspace"]["id"]
    server.stop()
    with start_server("--workspace", "first", "--workspace", "second").api() as api:
        assert api.get("workspace/first/details/")["workspace"]["id"] == before
        assert api.get("workspace/second/details/")["workspace"]["name"] == "second"
