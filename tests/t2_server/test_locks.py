"""Leases: exclusive, atomic, announced, and still there after a crash."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from httpx import Response

from tests.t2_server.serving import Api, ServerProcess, checked, error_of, from_upload


def test_lock_is_exclusive_until_released(api: Api) -> None:
    node = api.upload("file", b"")
    lock = f"{api.storage}{node}/lock/"
    assert api.get(lock)["locked"] is False
    held = api.post(lock, duration=120, client_info=json.dumps({"device_name": "here"}))
    assert (held["locked"], held["lock_info"]["duration"]) == (True, 120)
    refused = error_of(api.http.post(lock), 409)
    assert (refused["code"], refused["params"]["reason"]) == (1660, "locked")
    status = api.get(lock)
    assert status["lock_info"]["client_info"] == {"device_name": "here"}
    assert "lock_token" not in status
    assert api.node(node)["locked"] is True
    assert api.node(node)["lock_info"] == status["lock_info"]
    assert api.post(f"{lock}heartbeat/", lock_token=held["lock_token"])["lock_token"] == held["lock_token"]
    api.delete(lock, lock_token=held["lock_token"])
    assert api.node(node)["lock_info"] is None
    assert api.post(lock)["lock_info"]["duration"] == 300


def test_wrong_or_old_token_does_not_hold(api: Api) -> None:
    lock = f"{api.storage}{api.upload('file', b'')}/lock/"
    held = api.post(lock)
    for response in (
        api.http.post(f"{lock}heartbeat/", data={"lock_token": "wrong"}),
        api.http.delete(lock, params={"lock_token": "wrong"}),
    ):
        error = error_of(response, 404)
        assert (error["code"], error["params"]["reason"]) == (1609, "lock_not_held")
    api.delete(lock, lock_token=held["lock_token"])
    gone = api.http.post(f"{lock}heartbeat/", data={"lock_token": held["lock_token"]})
    assert error_of(gone, 404)["params"]["reason"] == "lock_not_held"


def test_release_reads_the_query_only(api: Api) -> None:
    lock = f"{api.storage}{api.upload('file', b'')}/lock/"
    token = api.post(lock)["lock_token"]
    assert error_of(api.http.request("DELETE", lock, data={"lock_token": token}), 406)["code"] == 205516
    assert api.get(lock)["locked"] is True


def test_duration_and_kind_of_node_are_checked(api: Api) -> None:
    lock = f"{api.storage}{api.upload('file', b'')}/lock/"
    for data in ({"duration": "59"}, {"duration": "3601"}, {"client_info": "[]"}):
        error_of(api.http.post(lock, data=data), 406)
    error_of(api.http.post(f"{api.storage}{api.folder('folder')}/lock/"), 406)


def test_of_20_parallel_acquirers_one_wins(api: Api) -> None:
    for round_number in range(5):
        lock = f"{api.storage}{api.upload(f'file{round_number}', b'')}/lock/"
        with ThreadPoolExecutor(20) as pool:
            statuses = [response.status_code for response in pool.map(api.http.post, [lock] * 20)]
        assert sorted(statuses) == [200] + [409] * 19


def test_locks_survive_kill_and_restart(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with server.api() as api:
        node = api.upload("file", b"")
        token = api.post(f"{api.storage}{node}/lock/")["lock_token"]
        server.kill()
    with start_server().api() as api:
        error_of(api.http.post(f"{api.storage}{node}/lock/"), 409)
        api.post(f"{api.storage}{node}/lock/heartbeat/", lock_token=token)
        api.delete(f"{api.storage}{node}/lock/", lock_token=token)


def test_expiry_frees_the_lock_and_wakes_those_who_wait(start_server: Callable[..., ServerProcess]) -> None:
    with start_server("--min-lock-seconds", "1").api() as api:
        node = api.upload("file", b"")
        lock = f"{api.storage}{node}/lock/"
        token = api.post(lock, duration=1)["lock_token"]
        assert api.news(api.head(), wait=10)["activity"] == [f"storage:{node}"]
        gone = api.http.post(f"{lock}heartbeat/", data={"lock_token": token})
        assert error_of(gone, 404)["params"]["reason"] == "lock_not_held"
        assert api.node(node)["locked"] is False
        api.post(lock)


def test_lock_that_ended_while_the_server_was_down_is_free(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--min-lock-seconds", "1")
    with server.api() as api:
        node = api.upload("file", b"")
        api.post(f"{api.storage}{node}/lock/", duration=1)
        cursor = api.head()
        server.kill()
    with start_server().api() as api:
        assert api.news(cursor, wait=10)["activity"] == [f"storage:{node}"]
        api.post(f"{api.storage}{node}/lock/")


def test_lock_keeps_its_whole_time_over_a_boot_of_the_host(
    start_server: Callable[..., ServerProcess],
) -> None:
    """The clock of locks begins anew with a boot: what was counted by the old one tells nothing."""
    server = start_server()
    with server.api() as api:
        node = api.upload("file", b"")
        lock(api, node, duration=100)
        server.kill()
    with sqlite3.connect(server.data / "workspace.sqlite") as database:
        database.execute("UPDATE settings SET value = 'an earlier boot' WHERE key = 'boot_of_locks'")
        database.execute("UPDATE locks SET expires_us = 1")
    database.close()
    with start_server().api() as api:
        told = api.get(f"{api.storage}{node}/lock/")["lock_info"]
        left = datetime.fromisoformat(told["expires"].replace(" UTC", "+00:00")) - datetime.now(UTC)
        assert 90 < left.total_seconds() <= 101


def test_lock_and_unlock_are_announced(api: Api) -> None:
    node = api.upload("file", b"")
    lock = f"{api.storage}{node}/lock/"
    cursor = api.head()
    token = api.post(lock)["lock_token"]
    news = api.news(cursor)
    assert news["activity"] == [f"storage:{node}"]
    api.delete(lock, lock_token=token)
    assert api.news(news["lastactivity"])["activity"] == [f"storage:{node}"]


def test_lock_only_advises_unless_enforced(api: Api) -> None:
    node = api.upload("file", b"old")
    api.post(f"{api.storage}{node}/lock/")
    assert api.upload("file", b"new") == node


@pytest.fixture
def enforcing(start_server: Callable[..., ServerProcess]) -> Iterator[Api]:
    with start_server("--behave", "locks=enforced", "--min-lock-seconds", "1").api() as api:
        yield api


def locked(response: Response) -> None:
    """It was refused, and says by whom the file is locked."""
    error = error_of(response, 409)
    assert (error["code"], error["params"]["reason"]) == (1660, "locked")
    assert error["params"]["lock_info"]["client_info"] == {"device_name": "here"}


def lock(api: Api, node: str, **fields: int) -> str:
    """Lock the node; the token."""
    path, info = f"{api.storage}{node}/lock/", json.dumps({"device_name": "here"})
    return str(api.post(path, client_info=info, **fields)["lock_token"])


def test_enforced_lock_refuses_the_content_of_others(enforcing: Api) -> None:
    api, node = enforcing, enforcing.upload("file", b"old")
    version = api.node(node)["version"]
    api.upload("file", b"newer")
    session = api.complete_without_target(b"new")
    token = lock(api, node)
    update = {"from": from_upload(session)}
    locked(api.try_upload("file", b"x"))
    locked(api.try_upload("file", b"x", lock_token="wrong"))
    locked(api.http.post(f"{api.storage}{node}/update/", data=update))
    locked(api.http.post(f"{api.storage}root/addfile/", data={**update, "name": "file"}))
    locked(api.http.post(f"{api.storage}{node}/restore-version/", data={"version_id": version}))
    assert api.read(node) == b"newer"
    api.post(f"{api.storage}{node}/update/", **update, lock_token=token)
    assert api.read(node) == b"new"
    assert api.upload("file", b"newest", lock_token=token) == node


def test_enforced_lock_refuses_moves_names_and_deletes_of_others(enforcing: Api) -> None:
    api, folder = enforcing, enforcing.folder("folder")
    node, other = api.upload("file", b"x"), api.upload("file", b"other", folder)
    token = lock(api, node)
    own = {"lock_token": token}
    path = f"{api.storage}{node}/"
    locked(api.http.post(f"{path}update/", data={"name": "else"}))
    locked(api.http.post(f"{path}update/", data={"metadata_short": "x"}))
    locked(api.http.post(f"{path}move/", data={"parent": folder}))
    locked(api.http.delete(f"{path}delete/"))
    locked(api.http.post(f"{api.storage}{other}/move/", data={"parent": "root"}))  # it would replace ours
    assert api.children() == {"file": node, "folder": folder}
    api.post(f"{path}update/", name="else", **own)
    checked(api.http.post(f"{path}move/", params=own, data={"parent": folder}))
    checked(api.http.delete(f"{path}delete/", params=own))
    assert api.children(folder) == {"file": other}


def test_enforced_lock_keeps_the_folders_above_it(enforcing: Api) -> None:
    api, top = enforcing, enforcing.folder("top")
    inner = api.folder("inner", top)
    node = api.upload("file", b"x", inner)
    token = lock(api, node)
    locked(api.http.delete(f"{api.storage}{top}/delete/"))
    locked(api.http.post(f"{api.storage}{inner}/move/", data={"parent": "root"}))
    api.upload("sibling", b"y", inner)
    api.delete(f"{api.storage}{node}/lock/", lock_token=token)
    api.delete(f"{api.storage}{top}/delete/")
    assert api.children() == {}


def test_enforced_lock_ends_with_its_time(enforcing: Api) -> None:
    node, cursor = enforcing.upload("file", b"x"), enforcing.head()
    token = lock(enforcing, node, duration=1)
    cursor = enforcing.news(cursor)["lastactivity"]
    enforcing.news(cursor, wait=10)
    enforcing.upload("file", b"y", lock_token=token)
    enforcing.upload("file", b"z")


@pytest.mark.parametrize(("scope", "status"), [("rwa", 200), ("rw", 403), ("r", 403)])
def test_only_an_administrator_overrides_a_lock(api: Api, scope: str, status: int) -> None:
    node = api.upload(f"file-{scope}", b"x")
    path, token = f"{api.storage}{node}/lock/", lock(api, node)
    key = api.post("user/auth/key/", scopes=json.dumps([f"user:*:{scope}"]))["api_key"]
    cursor = api.head()
    headers = {"authorization": f"Bearer {key}"}
    answer = api.http.delete(path, params={"override": "true"}, headers=headers)
    assert answer.status_code == status
    assert api.get(path)["locked"] is (status != 200)
    if status == 200:
        assert api.news(cursor)["activity"] == [f"storage:{node}"]
        assert error_of(api.http.post(f"{path}heartbeat/", data={"lock_token": token}), 404)
        api.delete(path, override="true")
        api.post(path)
