"""The activity feed: nothing late, nothing lost, cursors that last."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.t2_server.serving import Api, ServerProcess, error_of

Mutation = Callable[[Api, str], object]


def test_first_poll_answers_at_once_with_the_head(api: Api) -> None:
    api.upload("file", b"")
    answer = api.get(f"activity/poll/{api.workspace}/", wait=95)
    assert answer["activity"] == []
    assert answer["lastactivity"]


MUTATIONS: dict[str, Mutation] = {
    "content": lambda api, node: api.upload("file", b"other"),
    "rename": lambda api, node: api.post(f"{api.storage}{node}/update/", name="renamed"),
    "metadata": lambda api, node: api.post(f"{api.storage}{node}/update/", metadata_short="text"),
    "trash": lambda api, node: api.delete(f"{api.storage}{node}/delete/"),
    "lock": lambda api, node: api.post(f"{api.storage}{node}/lock/"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_kind_of_change_is_one_key(api: Api, name: str) -> None:
    node = api.upload("file", b"content")
    cursor = api.head()
    MUTATIONS[name](api, node)
    assert api.news(cursor)["activity"] == [f"storage:{node}"]


def test_move_tells_both_parents_too(api: Api) -> None:
    node, folder = api.upload("file", b""), api.folder("folder")
    cursor = api.head()
    api.post(f"{api.storage}{node}/move/", parent=folder)
    assert set(api.news(cursor)["activity"]) == {f"storage:{node}", f"storage:{folder}", "storage:root"}


def test_restore_and_purge_are_told(api: Api) -> None:
    node = api.upload("file", b"")
    for action, method in (("restore", "POST"), ("purge", "DELETE")):
        api.delete(f"{api.storage}{node}/delete/")
        cursor = api.head()
        assert api.http.request(method, f"{api.storage}{node}/{action}/").status_code == 200
        assert api.news(cursor)["activity"] == [f"storage:{node}"]


def test_what_changes_nothing_is_not_told(api: Api) -> None:
    folder = api.folder("folder")
    node = api.upload("file", b"same")
    cursor = api.head()
    api.upload("file", b"same")
    api.post(f"{api.storage}{node}/update/", name="file")
    api.post(f"{api.storage}{node}/move/", parent="root")
    assert api.folder("folder") == folder
    error_of(api.http.post(f"{api.storage}{node}/update/", data={"name": "folder"}), 406)
    assert api.news(cursor) == {**api.news(cursor), "activity": [], "lastactivity": cursor}


def test_poll_after_an_answered_mutation_sees_it(api: Api) -> None:
    cursor = api.head()
    for number in range(200):
        node = api.upload(f"f{number}", b"x")
        news = api.news(cursor)
        assert news["activity"] == [f"storage:{node}"]
        cursor = news["lastactivity"]


def test_no_change_is_lost_between_polls_under_parallel_writers(api: Api) -> None:
    cursor, seen = api.head(), set()
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(api.upload, f"f{number}", b"x") for number in range(200)]
        while not all(task.done() for task in writing):
            news = api.news(cursor, wait=1)
            seen.update(news["activity"])
            cursor = news["lastactivity"]
        seen.update(api.news(cursor)["activity"])
    assert seen == {f"storage:{task.result()}" for task in writing}


def test_waiting_poll_is_woken_by_its_workspace_only(api: Api) -> None:
    cursor = api.head()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.news, cursor, 20)
        form = {"name": f"elsewhere-{api.workspace}"}
        assert api.http.post("workspace/main/storage/root/createfolder/", data=form).status_code == 200
        assert not waiting.done()
        started = time.monotonic()
        node = api.upload("file", b"")
        assert waiting.result(10)["activity"] == [f"storage:{node}"]
        assert time.monotonic() - started < 2


def test_poll_ends_when_its_time_is_over(api: Api) -> None:
    cursor = api.head()
    started = time.monotonic()
    assert api.news(cursor, wait=1) == {**api.news(cursor), "activity": [], "lastactivity": cursor}
    assert 0.9 < time.monotonic() - started < 5


def test_cursor_holds_over_kill_and_restart(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with server.api() as api:
        cursor = api.head()
        nodes = [api.upload(f"f{number}", b"x") for number in range(5)]
        server.kill()
    with start_server().api() as api:
        assert api.news(cursor)["activity"] == [f"storage:{node}" for node in nodes]


@pytest.mark.parametrize("cursor", ["nonsense", "000000000000-3", "2026-05-18 19:26:25 UTC"])
def test_foreign_cursor_means_everything_may_have_changed(api: Api, cursor: str) -> None:
    news = api.news(cursor, wait=20)
    assert news["activity"] == ["storage"]
    assert api.news(news["lastactivity"])["activity"] == []


def test_cursor_older_than_what_is_kept_means_everything(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with server.api() as api:
        old = api.head()
        for number in range(5):
            api.upload(f"f{number}", b"x")
        org = api.get("orgs/list/")["orgs"][0]["id"]
        server.stop()
    with start_server("--activity-rows", "2").api() as api:
        assert api.news(old, wait=20)["activity"] == ["storage"]
        expired = error_of(api.http.get(f"org/{org}/events/changes/", params={"cursor": old}), 406)
        assert (expired["code"], expired["params"]["reason"]) == (158008, "cursor_expired")


def test_cursor_of_a_database_that_had_more_is_refused(start_server: Callable[..., ServerProcess]) -> None:
    """As after a return to an older copy of the data: what is behind the cursor is something else then."""
    server = start_server()
    with server.api() as api:
        server.kill()
        copy = shutil.copytree(server.data, server.data.with_name("copy"))
    server = start_server()
    with server.api() as api:
        for number in range(3):
            api.folder(f"d{number}")
        cursors = api.head(), api.get("org/local/events/changes/")["cursor"]
        server.kill()
    shutil.rmtree(server.data)
    copy.rename(server.data)
    with start_server().api() as api:
        api.folder("d")
        assert api.news(cursors[0])["activity"] == ["storage"]
        refused = api.http.get("org/local/events/changes/", params={"cursor": cursors[1]})
        assert error_of(refused, 406)["code"] == 158008


def test_upload_sessions_are_told_to_their_user(api: Api) -> None:
    user = api.get("user/auth/check/")["id"]
    cursor = api.get(f"activity/poll/{user}/")["lastactivity"]
    session = api.complete_without_target(b"x")
    assert api.get(f"activity/poll/{user}/", lastactivity=cursor)["activity"] == [f"upload:{session}"]


def test_org_feed_tells_file_events_in_pages(api: Api) -> None:
    changes = f"org/{api.get('orgs/list/')['orgs'][0]['id']}/events/changes/"
    start = api.get(changes)
    assert start["changes"] == []
    node = api.upload("file", b"")
    api.post(f"{api.storage}{node}/update/", name="renamed")
    first = api.get(changes, cursor=start["cursor"], limit=1)
    assert first["has_more"] is True
    second = api.get(changes, cursor=first["cursor"], limit=1)
    assert second["has_more"] is False
    rows = first["changes"] + second["changes"]
    assert [(row["event"], row["object_id"]) for row in rows] == [
        ("workspace_storage_file_added", node),
        ("workspace_storage_file_updated", node),
    ]
    assert api.workspace in [profile["id"] for profile in second["profiles"]["items"]]
    for cursor in ("nonsense", start["cursor"] + "9" * 20, start["cursor"] + "9" * 5000):
        assert error_of(api.http.get(changes, params={"cursor": cursor}), 406)["code"] == 158008
