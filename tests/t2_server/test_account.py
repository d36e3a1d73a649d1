"""Credentials, scopes, organisations, workspaces, the envelope."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable

import httpx

from tests.t2_server.serving import Api, ServerProcess, blob_files, error_of, wait_until


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
