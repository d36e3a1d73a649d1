"""Every switch of `mountfs serve --behave`, with it and without: long, as there are so many."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from mountfs.server.behaviour import Behaviour, BehaviourRefused, allowed, described, read_behaviour
from tests.t2_server.serving import MEBIBYTE, Api, ServerThread, error_of, from_upload

Play = Callable[..., Api]
HERE = Path(__file__)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Start a server with these switches, and give a client of it."""
    with ExitStack() as stack:

        def start(*switches: str) -> Api:
            return stack.enter_context(stack.enter_context(ServerThread(tmp_path / "data", *switches)).api())

        yield start


def payload(response: httpx.Response) -> Any:
    """What a success answers in any envelope."""
    assert response.status_code == 200, response.text
    body = response.json()
    return body.get("response", body)


# Reading switches.


def test_no_switch_is_the_default() -> None:
    assert read_behaviour([]) == Behaviour()


def test_the_last_of_a_key_counts_and_a_generation_is_a_set_of_defaults() -> None:
    assert read_behaviour(["listing=items", "listing=array"]).listing == "array"
    older = read_behaviour(["result=boolean", "generation=older"])
    assert (older.result, older.envelope, older.validation_status) == ("boolean", "response", 400)
    assert not older.inventory


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        ("listing", "'listing' is not KEY=VALUE"),
        ("lsting=array", "no switch 'lsting'; did you mean listing?"),
        ("zzz=1", "no switch 'zzz'; serve --help lists them"),
        ("listing=tree", "listing=tree: array or items is expected"),
        ("validation_status=500", "validation_status=500: 406 or 400 is expected"),
        ("ranges=perhaps", "ranges=perhaps: true or false is expected"),
        ("upload_state_s=-1", "upload_state_s=-1: a number from 0 to 600 is expected"),
        ("rate_limit=some", "rate_limit=some: a whole number of at least 0 is expected"),
    ],
)
def test_wrong_switches_get_a_line_that_says_what_is_right(switch: str, expected: str) -> None:
    with pytest.raises(BehaviourRefused) as caught:
        read_behaviour([switch])
    assert str(caught.value) == expected


def test_every_switch_is_described_and_played() -> None:
    assert len(described()) == len(Behaviour.model_fields)
    others = (HERE.with_name("test_push.py"), HERE.with_name("test_tree_behaviour.py"))
    text = "".join(path.read_text() for path in (HERE, *others))
    assert [key for key in Behaviour.model_fields if f'"{key}=' not in text] == []
    assert allowed("infected") == "a pattern as *.exe"


# How answers look.


def test_older_envelope_words_and_classes(play: Play) -> None:
    api = play("generation=older")
    body = api.http.get("user/me/details/").json()
    assert body["result"] == "yes"
    assert set(body) == {"result", "current_api_version", "response"}
    missing = api.http.post(f"{api.storage}root/createfolder/")
    assert missing.status_code == 400
    assert missing.json()["result"] == "no"
    assert missing.json()["error"]["code"] == "1605"
    assert "text" not in missing.json()["error"]
    assert api.http.get("nothing/").json()["error"]["code"] == 9992


@pytest.mark.parametrize(
    ("switch", "key", "found"),
    [
        ("envelope=response", "response", True),
        ("result=word", "result", "yes"),
        ("envelope=flat", "id", True),
    ],
)
def test_success_envelope(play: Play, switch: str, key: str, found: object) -> None:
    body = play(switch).http.get("user/auth/check/").json()
    assert key in body if found is True else body[key] == found


@pytest.mark.parametrize(
    ("switch", "status", "has", "lacks"),
    [
        ("error_text=text", 406, "text", "message"),
        ("error_text=message", 406, "message", "text"),
        ("validation_status=400", 400, "text", "reason"),
    ],
)
def test_error_envelope(play: Play, switch: str, status: int, has: str, lacks: str) -> None:
    api = play(switch)
    error = error_of(api.http.post(f"{api.storage}root/createfolder/"), status)
    assert has in error
    assert lacks not in error


def test_codes_of_errors_are_classes_as_text(play: Play) -> None:
    api = play("error_codes=class", "reasons=absent")
    node = api.upload("f", b"one")
    api.http.post(f"{api.storage}{node}/lock/")
    error = error_of(api.http.post(f"{api.storage}{node}/lock/"), 409)
    assert error["code"] == "1660"
    assert "reason" not in error["params"]


@pytest.mark.parametrize(("switch", "status"), [("scope_status=403", 403), ("scope_status=401", 401)])
def test_a_token_that_may_only_read(play: Play, switch: str, status: int) -> None:
    api = play("token_mode=r", switch)
    refused = api.http.post(f"{api.storage}root/createfolder/", data={"name": "d"})
    assert error_of(refused, status)["code"] == 10770
    assert api.get("auth/scopes/")["scopes"] == ["user:*:r"]


def test_spelling_of_times_and_ids_leaves_names_alone(play: Play) -> None:
    name = "2026-05-18 19:26:25 UTC"
    api = play("times=iso", "ids=upper")
    node = api.node(api.folder(name))
    assert node["name"] == name
    assert node["created"].endswith("Z")
    assert node["id"] == node["id"].upper()
    assert "-" not in node["id"]
    assert node["parent"] == "root"


def test_bare_ids_also_in_news(play: Play) -> None:
    api = play("ids=bare")
    cursor = api.head()
    folder = api.folder("d")
    assert len(folder) == 29
    assert api.news(cursor)["activity"] == [f"storage:{folder}"]


@pytest.mark.parametrize(
    ("switch", "top", "inside"),
    [
        ("next_cursor=both", True, True),
        ("next_cursor=top", True, False),
        ("next_cursor=pagination", False, True),
    ],
)
def test_place_of_the_next_cursor(play: Play, switch: str, top: bool, inside: bool) -> None:
    api = play(switch)
    page = api.get(f"{api.storage}root/list/")
    assert ("next_cursor" in page, "next_cursor" in page["pagination"]) == (top, inside)


def test_rows_of_a_listing_as_items(play: Play) -> None:
    api = play("listing=items")
    api.folder("d")
    nodes = api.get(f"{api.storage}root/list/")["nodes"]
    assert nodes["count"] == 1
    assert [row["name"] for row in nodes["items"]] == ["d"]


def test_changes_and_locks_that_answer_little(play: Play) -> None:
    api = play("change_answer=nothing", "lock_answer=token")
    assert "node" not in api.post(f"{api.storage}root/createfolder/", name="d")
    node = api.upload("f", b"x")
    told = api.post(f"{api.storage}{node}/lock/")
    assert set(told) == {"result", "current_api_version", "lock_token", "locked"}
    assert api.node(node)["name"] == "f"


def test_activity_as_a_map(play: Play) -> None:
    api = play("activity=map")
    cursor = api.head()
    folder = api.folder("d")
    assert list(api.news(cursor)["activity"]) == [f"storage:{folder}"]


@pytest.mark.parametrize(("switch", "algorithm"), [("hashes=md5", "md5"), ("hashes=absent", None)])
def test_hashes_of_nodes(play: Play, switch: str, algorithm: str | None) -> None:
    api = play(switch)
    node = api.node(api.upload("f", b"x"))
    assert node.get("hash_algo") == algorithm
    assert ("hash" in node) == (algorithm is not None)


@pytest.mark.parametrize("content", [b"", b"{", b'{"result": true, "at": "2026-05-18 19:26:25 UTC"}'])
def test_files_of_json_are_no_answers(play: Play, content: bytes) -> None:
    api = play("times=iso")
    assert api.read(api.upload("file.json", content)) == content


# Names, places and versions.


@pytest.mark.parametrize(
    ("switch", "same"),
    [
        ("names=exact", {("A", "A")}),
        ("names=folded", {("A", "A"), ("A", "a"), ("\u00e4", "a\u0308")}),
        ("names=composed", {("A", "A"), ("\u00e4", "a\u0308")}),
    ],
)
def test_which_names_are_equal(play: Play, switch: str, same: set[tuple[str, str]]) -> None:
    api = play(switch)
    for first, second in (("A", "A"), ("A", "a"), ("\u00e4", "a\u0308")):
        parent = api.folder(json.dumps(f"{first}{second}"))
        is_same = api.upload(first, b"1", parent) == api.upload(second, b"2", parent)
        assert is_same == ((first, second) in same)


def test_long_names_are_cut_behind_their_extension(play: Play) -> None:
    api = play("name_cut=100")
    assert api.node(api.upload("n" * 150 + ".txt", b"x"))["name"] == "n" * 96 + ".txt"


@pytest.mark.parametrize(
    ("switch", "names"),
    [("file_onto_file=version", {"f"}), ("file_onto_file=numbered", {"f", "f (2)"})],
)
def test_upload_onto_a_file(play: Play, switch: str, names: set[str]) -> None:
    api = play(switch)
    api.upload("f", b"1")
    api.upload("f", b"2")
    assert set(api.children()) == names


def test_upload_onto_a_file_is_refused(play: Play) -> None:
    api = play("file_onto_file=refused")
    api.upload("f", b"1")
    assert error_of(api.try_upload("f", b"2"), 406)["params"]["reason"] == "name_taken"


@pytest.mark.parametrize(
    ("switch", "names"),
    [("folder_onto_folder=existing", {"d"}), ("folder_onto_folder=numbered", {"d", "d (2)"})],
)
def test_folder_onto_a_folder(play: Play, switch: str, names: set[str]) -> None:
    api = play(switch)
    api.folder("d")
    api.folder("d")
    assert set(api.children()) == names


@pytest.mark.parametrize(
    ("switch", "trashed", "names"),
    [("moved_onto_file=trash", 1, {"f"}), ("moved_onto_file=numbered", 0, {"f", "f (2)"})],
)
def test_move_onto_a_file(play: Play, switch: str, trashed: int, names: set[str]) -> None:
    api = play(switch)
    there = api.folder("there")
    api.upload("f", b"1", there)
    api.post(f"{api.storage}{api.upload('f', b'2')}/move/", parent=there)
    assert set(api.children(there)) == names
    assert len(api.children("trash")) == trashed


def test_moves_onto_names_in_use_are_refused(play: Play) -> None:
    api = play("moved_onto_file=refused", "moved_folder=refused")
    there = api.folder("there")
    for node in (api.upload("f", b"1"), api.folder("d")):
        name = api.node(node)["name"]
        api.upload("f", b"2", there) if name == "f" else api.folder("d", there)
        assert error_of(api.http.post(f"{api.storage}{node}/move/", data={"parent": there}), 406)


@pytest.mark.parametrize(
    ("switch", "status"),
    [("rename_taken=refused", 406), ("rename_taken=conflict", 409), ("rename_taken=broken", 500)],
)
def test_rename_onto_a_name_in_use(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    api.folder("a")
    error_of(api.http.post(f"{api.storage}{api.folder('b')}/update/", data={"name": "a"}), status)


@pytest.mark.parametrize(
    ("switch", "status"),
    [("if_version_id=honoured", 409), ("if_version_id=ignored", 200), ("if_version_id=refused", 406)],
)
def test_precondition_of_an_update(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    node = api.upload("f", b"1")
    old = api.node(node)["version"]
    api.upload("f", b"2")
    form = {"from": from_upload(api.complete_without_target(b"3")), "if_version_id": old}
    assert api.http.post(f"{api.storage}{node}/update/", data=form).status_code == status


@pytest.mark.parametrize(("switch", "status"), [("failed_commit=kept", 200), ("failed_commit=spent", 404)])
def test_upload_whose_precondition_failed(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    node = api.upload("f", b"1")
    old = api.node(node)["version"]
    api.upload("f", b"2")
    source = from_upload(api.complete_without_target(b"3"))
    api.http.post(f"{api.storage}{node}/update/", data={"from": source, "if_version_id": old})
    again = {"from": source, "if_version_id": api.node(node)["version"]}
    assert api.http.post(f"{api.storage}{node}/update/", data=again).status_code == status


@pytest.mark.parametrize(("switch", "moved"), [("equal_bytes=same", False), ("equal_bytes=version", True)])
def test_equal_bytes(play: Play, switch: str, moved: bool) -> None:
    api = play(switch)
    node = api.upload("f", b"1")
    before = api.node(node)["version"]
    api.upload("f", b"1")
    assert (api.node(node)["version"] != before) == moved


@pytest.mark.parametrize(("switch", "status"), [("restore_gone=top", 200), ("restore_gone=refused", 406)])
def test_restore_into_a_folder_that_is_gone(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    folder = api.folder("d")
    node = api.upload("f", b"1", folder)
    for one in (node, folder):
        api.delete(f"{api.storage}{one}/delete/")
    assert api.http.post(f"{api.storage}{node}/restore/").status_code == status


def test_times_of_folders_follow_their_children(play: Play) -> None:
    api = play("folder_times=moving")
    folder = api.folder("d")
    rows = api.get(f"{api.storage}recent/")["nodes"]
    node = api.upload("f", b"1", folder)
    assert [row["id"] for row in rows] == [folder]
    recent = [row["id"] for row in api.get(f"{api.storage}recent/")["nodes"]]
    assert set(recent[:2]) == {node, folder}
    api.delete(f"{api.storage}{node}/delete/")
    assert api.get(f"{api.storage}recent/")["nodes"][0]["id"] == folder


# Listings and content.


def test_inventory_may_be_missing(play: Play) -> None:
    api = play("inventory=false")
    assert error_of(api.http.get(f"{api.storage}inventory/"), 404)["code"] == 9992


def test_new_nodes_are_missing_in_listings_for_a_while(play: Play) -> None:
    api = play("visible_after_s=600")
    folder = api.folder("d")
    assert api.children() == {}
    assert api.node(folder)["name"] == "d"


@pytest.mark.parametrize(("switch", "status"), [("ranges=true", 206), ("ranges=false", 200)])
def test_ranges(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    node = api.upload("f", b"12345")
    told = api.http.get(f"{api.storage}{node}/read/", headers={"range": "bytes=1-2"})
    assert (told.status_code, told.content) == (status, b"23" if status == 206 else b"12345")


def test_replaced_versions_may_be_pruned(play: Play) -> None:
    api = play("old_versions=pruned")
    node = api.upload("f", b"1")
    old = api.node(node)["version"]
    assert api.read(node, version_id=old) == b"1"
    api.upload("f", b"2")
    assert api.http.get(f"{api.storage}{node}/read/", params={"version_id": old}).status_code == 404


@pytest.mark.parametrize(("switch", "same"), [("read_redirect=same", True), ("read_redirect=other", False)])
def test_reads_that_redirect(play: Play, switch: str, same: bool) -> None:
    api = play(switch)
    node = api.upload("f", b"12345")
    told = api.http.get(f"{api.storage}{node}/read/")
    assert told.status_code == 307
    target = httpx.URL(told.headers["location"])
    assert (target.host == api.http.base_url.host) == same
    with httpx.Client() as nobody:
        assert nobody.get(target).content == b"12345"


@pytest.mark.parametrize(("switch", "status"), [("note_reads=true", 200), ("note_reads=false", 406)])
def test_notes(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    note = api.post(f"{api.storage}root/createnote/", name="n.md", content="a\x07b\n")["node"]
    assert (note["type"], note["size"]) == ("note", 3)
    assert api.get(f"{api.storage}{note['id']}/readnote/")["content"] == "ab\n"
    assert api.http.get(f"{api.storage}{note['id']}/read/").status_code == status
    changed = {"content": "c", "if_version_id": note["version"]}
    api.post(f"{api.storage}{note['id']}/updatenote/", **changed)
    error_of(api.http.post(f"{api.storage}{note['id']}/updatenote/", data=changed), 409)
    error_of(api.http.post(f"{api.storage}root/createnote/", data={"name": "n", "content": ""}), 406)


def test_notes_without_a_size_and_links(play: Play) -> None:
    api = play("note_sizes=absent")
    api.post(f"{api.storage}root/createnote/", name="n.md", content="text")
    link = api.post(f"{api.storage}root/addlink/", type="share", share="1" * 19, name="l")["node"]
    rows = {row["name"]: row for row in api.get(f"{api.storage}root/list/")["nodes"]}
    assert "size" not in rows["n.md"]
    assert (rows["l"]["type"], rows["l"]["target_id"]) == ("link", "1" * 19)
    assert api.node(link["id"])["target_type"] == "share"


@pytest.mark.parametrize("flag", ["infected=*.bad", "dmca=*.bad", "restricted=*.bad"])
def test_content_that_is_not_served(play: Play, flag: str) -> None:
    api = play(flag)
    bad, good = api.upload("x.bad", b"1"), api.upload("x", b"1")
    assert error_of(api.http.get(f"{api.storage}{bad}/read/"), 403)["code"] == 1680
    assert api.read(good) == b"1"
    name = flag.partition("=")[0]
    told = [api.node(node) for node in (bad, good)]
    shown = [bool(node["virus"].get("infected") if name == "infected" else node[name]) for node in told]
    assert shown == [True, False]


# Uploads.


def test_single_call_that_tells_later(play: Play) -> None:
    api = play("single_call=later")
    told = api.try_upload("f", b"x").json()
    assert told["new_file_id"] is None
    assert api.finished(told["id"])["status"] == "stored"
    assert set(api.children()) == {"f"}


def test_states_of_an_upload_take_time(play: Play) -> None:
    api = play("upload_state_s=0.1")
    session = api.session("f", 1, **api.target())
    api.send_chunk(session, 1, b"x")
    seen = [api.post(f"upload/{session}/complete/")["session"]["status"]]
    while seen[-1] != "stored":
        seen.append(api.get(f"upload/{session}/details/", wait=5)["session"]["status"])
    states = ["assembling", "complete", "storing", "stored"]
    assert len(set(seen)) > 2, "not all of them: a look may come late"
    assert [state for state in states if state in seen] == list(dict.fromkeys(seen))


@pytest.mark.parametrize("where", ["upload_fails=assembly", "upload_fails=store"])
def test_uploads_that_fail(play: Play, where: str) -> None:
    api = play(where)
    session = api.session("f", 1, **api.target())
    api.send_chunk(session, 1, b"x")
    api.post(f"upload/{session}/complete/")
    expected = {"upload_fails=assembly": "assembly_failed", "upload_fails=store": "store_failed"}[where]
    assert api.finished(session)["status"] == expected
    assert api.children() == {}


@pytest.mark.parametrize(
    ("switch", "status", "sizes"),
    [
        ("chunk_again=replaces", 200, {"1": 2 * MEBIBYTE}),
        ("chunk_again=ignored", 200, {"1": MEBIBYTE}),
        ("chunk_again=refused", 406, {"1": MEBIBYTE}),
    ],
)
def test_chunk_that_comes_again(play: Play, switch: str, status: int, sizes: dict[str, int]) -> None:
    api = play(switch)
    session = api.session("f", 2 * MEBIBYTE, **api.target())
    api.send_chunk(session, 1, bytes(MEBIBYTE))
    assert api.send_chunk(session, 1, bytes(2 * MEBIBYTE)).status_code == status
    assert api.get(f"upload/{session}/details/")["session"]["chunks"] == sizes


def test_largest_chunk(play: Play) -> None:
    api = play("chunk_mib=1")
    assert api.get("upload/limits/")["chunk_size"] == MEBIBYTE
    session = api.session("f", 2 * MEBIBYTE, **api.target())
    assert api.send_chunk(session, 1, bytes(MEBIBYTE + 1)).status_code == 413


@pytest.mark.parametrize(
    ("switch", "single", "chunked"),
    [
        ("empty_files=taken", 200, 200),
        ("empty_files=session", 406, 200),
        ("empty_files=refused", 406, 406),
    ],
)
def test_files_without_bytes(play: Play, switch: str, single: int, chunked: int) -> None:
    api = play(switch)
    assert api.try_upload("f", b"").status_code == single
    begun = api.http.post("upload/", data={"name": "g", "size": "0", **api.target()})
    assert begun.status_code == chunked
    manifest = json.dumps([{"index": 0, "filename": "h"}])
    form = {"instance_id": api.workspace, "manifest": manifest}
    batch = payload(api.http.post("upload/batch/", data=form, files={"file_0": ("h", b"")}))
    assert batch["count_succeeded"] == (single == 200)


def test_sessions_end_after_their_life(play: Play) -> None:
    api = play("session_life_s=1")
    session = api.session("f", 1, **api.target())
    status = 200
    while status == 200:
        status = api.http.get(f"upload/{session}/details/", params={"wait": 1}).status_code
    assert status == 404


# Locks.


def test_enforced_locks(play: Play) -> None:
    api = play("locks=enforced")
    node = api.upload("f", b"1")
    token = api.post(f"{api.storage}{node}/lock/")["lock_token"]
    error_of(api.http.delete(f"{api.storage}{node}/delete/"), 409)
    api.delete(f"{api.storage}{node}/delete/", lock_token=token)


def test_second_lock_of_the_same_user_is_the_same(play: Play) -> None:
    api = play("relock=renewed", "heartbeat=default")
    node = api.upload("f", b"1")
    first = api.post(f"{api.storage}{node}/lock/", duration=3600)
    again = api.post(f"{api.storage}{node}/lock/")
    assert again["lock_token"] == first["lock_token"]
    assert again["lock_info"]["expires"] < first["lock_info"]["expires"]


@pytest.mark.parametrize(("switch", "status"), [("dead_token=404", 404), ("dead_token=409", 409)])
def test_token_that_holds_no_more(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    node = api.upload("f", b"1")
    error_of(api.http.post(f"{api.storage}{node}/lock/heartbeat/", data={"lock_token": "t"}), status)


def test_nobody_ends_the_lock_of_others(play: Play) -> None:
    api = play("lock_override=false")
    node = api.upload("f", b"1")
    api.post(f"{api.storage}{node}/lock/")
    refused = api.http.delete(f"{api.storage}{node}/lock/", params={"override": "true"})
    assert error_of(refused, 406)["code"] == 205516


@pytest.mark.parametrize(
    ("switch", "survives"),
    [("lock_end=time", (True, True)), ("lock_end=version", (False, True)), ("lock_end=move", (True, False))],
)
def test_what_ends_a_lock(play: Play, switch: str, survives: tuple[bool, bool]) -> None:
    api = play(switch)
    folder, written, moved = api.folder("d"), api.upload("f", b"1"), api.upload("g", b"1")
    for node in (written, moved):
        api.post(f"{api.storage}{node}/lock/")
    api.upload("f", b"2")
    api.post(f"{api.storage}{moved}/move/", parent=folder)
    assert (api.node(written)["locked"], api.node(moved)["locked"]) == survives


@pytest.mark.parametrize(
    ("switch", "status"), [("release_token=query", 406), ("release_token=anywhere", 200)]
)
def test_release_with_its_token_in_the_body(play: Play, switch: str, status: int) -> None:
    api = play(switch)
    node = api.upload("f", b"1")
    form = {"lock_token": api.post(f"{api.storage}{node}/lock/")["lock_token"]}
    assert api.http.request("DELETE", f"{api.storage}{node}/lock/", data=form).status_code == status


# Changes.


def test_lastactivity_as_a_time(play: Play) -> None:
    api = play("poll_cursor=time")
    cursor = api.head()
    float(cursor)
    folder = api.folder("d")
    told = api.news(cursor)
    assert told["activity"] == [f"storage:{folder}"]
    assert api.news(told["lastactivity"])["activity"] == []
    for no_time in ("no time", "1e30", "-1", "nan"):
        assert api.news(no_time)["activity"] == ["storage"]


@pytest.mark.parametrize(
    ("switch", "told"),
    [
        ("news_lost=0", ["a", "b"]),
        ("news_lost=2", ["a"]),
        ("news_reversed=true", ["b", "a"]),
        ("news_late_s=600", []),
    ],
)
def test_news_that_is_lost_out_of_order_or_late(play: Play, switch: str, told: list[str]) -> None:
    api = play(switch)
    cursor = api.head()
    nodes = {f"storage:{api.folder(name)}": name for name in ("a", "b")}
    assert [nodes[key] for key in api.news(cursor)["activity"]] == told


@pytest.mark.parametrize(("switch", "told"), [("tree_news=one", 1), ("tree_news=each", 3)])
def test_news_of_a_folder(play: Play, switch: str, told: int) -> None:
    api = play(switch)
    folder = api.folder("d")
    api.upload("f", b"1", api.folder("e", folder))
    cursor = api.head()
    api.delete(f"{api.storage}{folder}/delete/")
    assert len(api.news(cursor)["activity"]) == told


def test_news_is_told_again(play: Play) -> None:
    api = play("news_twice=true")
    first = api.folder("a")
    told = api.news(api.head())
    assert told["activity"] == []
    second = api.folder("b")
    assert api.news(told["lastactivity"])["activity"] == [f"storage:{second}", f"storage:{first}"]


@pytest.mark.parametrize(
    ("switch", "status"), [("org_feed=open", 200), ("org_feed=forbidden", 403), ("org_feed=absent", 404)]
)
def test_feed_of_the_organisation(play: Play, switch: str, status: int) -> None:
    assert play(switch).http.get("org/local/events/changes/").status_code == status


@pytest.mark.parametrize(("switch", "told"), [("purges_told=true", 1), ("purges_told=false", 0)])
def test_purges(play: Play, switch: str, told: int) -> None:
    api = play(switch)
    node = api.upload("f", b"1")
    api.delete(f"{api.storage}{node}/delete/")
    cursor = api.head()
    api.delete(f"{api.storage}{node}/purge/")
    assert len(api.news(cursor)["activity"]) == told


# Limits, credentials, gateways.


def test_membership(play: Play) -> None:
    api = play("member=false")
    assert error_of(api.http.get(f"{api.storage}root/list/"), 401)["code"] == 10545


@pytest.mark.parametrize(
    ("switch", "name"),
    [("rate_headers=newer", "x-ve-limit-avail"), ("rate_headers=older", "x-rate-limit-available")],
)
def test_rate_limit(play: Play, switch: str, name: str) -> None:
    api = play("rate_limit=2", switch, "rate_expires=text")
    told = [api.http.get("user/auth/check/") for _ in range(3)]
    assert [one.headers[name] for one in told] == ["1", "0", "0"]
    assert 1 <= error_of(told[2], 429)["params"]["retry_after_seconds"] <= 10
    assert any(value.endswith(" UTC") for value in told[0].headers.values())


@pytest.mark.parametrize(("switch", "status"), [("polls_count=true", 429), ("polls_count=false", 200)])
def test_whether_polls_count(play: Play, switch: str, status: int) -> None:
    api = play("rate_limit=1", switch, "rate_headers=none")
    poll = f"activity/poll/{api.workspace}/"
    told = [api.http.get(poll) for _ in range(2)][1]
    assert told.status_code == status
    assert not any("limit" in name for name in told.headers)


@pytest.mark.parametrize(
    ("switch", "write", "read"),
    [("payment=paid", 200, 404), ("payment=writes", 402, 404), ("payment=all", 402, 402)],
)
def test_payment(play: Play, switch: str, write: int, read: int) -> None:
    api = play(switch)
    assert api.try_upload("f", b"1").status_code == write
    assert api.http.get(f"{api.storage}2{'0' * 28}/read/").status_code == read
    assert api.children() == ({"f": api.children()["f"]} if write == 200 else {})


@pytest.mark.parametrize(
    ("switch", "write", "read"),
    [
        ("workspace_state=active", 200, 200),
        ("workspace_state=archived", 403, 200),
        ("workspace_state=suspended", 403, 403),
    ],
)
def test_state_of_the_workspace(play: Play, switch: str, write: int, read: int) -> None:
    api = play(switch)
    assert api.http.post(f"{api.storage}root/createfolder/", data={"name": "d"}).status_code == write
    assert api.http.get(f"{api.storage}root/list/").status_code == read


def test_gateways_that_give_up(play: Play) -> None:
    api = play("gateway_before=4", "gateway_after=2")
    told = [
        api.http.post(f"{api.storage}root/createfolder/", data={"name": str(number)}) for number in range(4)
    ]
    assert [one.status_code for one in told] == [200, 504, 200, 502]
    assert "<html>" in told[1].text
    assert set(api.children()) == {"0", "1", "2"}
