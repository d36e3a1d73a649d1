"""Nodes: listing, details, names, metadata, trash, versions, reading."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from scripts.lock_histories.clock_step import SteppedClocks
from tests.t2_server.conftest import StartServer
from tests.t2_server.serving import Api, ServerProcess, blob_files, checked, error_of, from_upload, wait_until


def test_ids_have_the_layout_of_the_wire_and_are_accepted_in_any_spelling(api: Api) -> None:
    node = api.upload("file", b"x")
    assert re.fullmatch(r"2[a-z0-9]{4}(-[a-z0-9]{5}){4}-[a-z0-9]{4}", node)
    for spelling in (node.replace("-", ""), node.upper(), node.replace("-", "").upper()):
        assert api.node(spelling)["id"] == node


def test_listing_pages_through_everything_in_order(api: Api) -> None:
    folder = api.folder("many")
    names = [f"n{number:03d}" for number in range(230)]
    for name in names:
        api.folder(name, folder)
    for sort_by, sort_dir in (("name", "asc"), ("name", "desc"), ("created", "asc"), ("type", "desc")):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            query = {"sort_by": sort_by, "sort_dir": sort_dir, "page_size": 100, "cursor": cursor}
            page = api.get(f"{api.storage}{folder}/list/", **query)
            assert page["pagination"]["has_more"] is (page["next_cursor"] is not None)
            seen += [node["name"] for node in page["nodes"]]
            cursor = page["next_cursor"]
        assert sorted(seen) == names
        if sort_by == "name":
            assert seen == sorted(names, reverse=sort_dir == "desc")


def forged_cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        {"page_size": 7},
        {"sort_by": "size"},
        {"sort_dir": "up"},
        {"cursor": "nonsense"},
        {"cursor": forged_cursor("[" * 2000)},
        {"cursor": forged_cursor('["\\ud800", ""]')},
        {"cursor": forged_cursor(f'[{10**30}, ""]'), "sort_by": "updated"},
        {"output": "terse,full"},
    ],
)
def test_listing_refuses_what_it_does_not_know(api: Api, query: dict[str, str]) -> None:
    error_of(api.http.get(f"{api.storage}root/list/", params=query), 406)


def test_levels_of_detail_add_fields(api: Api) -> None:
    node = api.upload("file.txt", b"hello")
    levels = {
        level: api.get(f"{api.storage}{node}/details/", output=level)["node"]
        for level in ("terse", "standard", "full")
    }
    assert "version" not in levels["terse"]
    assert "hash" not in levels["standard"]
    assert levels["terse"].keys() < levels["standard"].keys() < levels["full"].keys()
    assert levels["full"] == api.node(node)
    assert levels["full"]["hash"] == hashlib.sha256(b"hello").hexdigest()
    assert levels["full"]["hash_algo"] == "sha256"
    assert (levels["full"]["size"], levels["full"]["mimetype"]) == (5, "text/plain")
    assert levels["full"]["parent"] == "root"


def test_bulk_details_tells_found_and_missing(api: Api) -> None:
    first, second = api.upload("one", b"1"), api.upload("two", b"2")
    absent = first[:10] + ("a" if first[10] != "a" else "b") + first[11:]
    answer = api.get(f"{api.storage}{first},{second},{absent},{first.upper()}/details/")
    assert answer["format"] == "multi"
    assert {node["id"] for node in answer["nodes"]} == {first, second}
    assert [(row["node_id"], row["code"]) for row in answer["errors"]] == [(absent, 191878)]
    assert (answer["node_count"], answer["error_count"], answer["requested_count"]) == (2, 1, 3)
    all_missing = api.http.get(f"{api.storage}{absent},{absent}x/details/")
    assert (all_missing.status_code, all_missing.json()["node_count"]) == (404, 0)
    too_many = api.http.get(f"{api.storage}{','.join([first] * 26)}/details/")
    assert error_of(too_many, 400)["code"] == 115519


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "nul\0", "line\nbreak", "x" * 256])
def test_bad_names_are_refused_with_406(api: Api, name: str) -> None:
    error = error_of(api.http.post(f"{api.storage}root/createfolder/", data={"name": name}), 406)
    assert error["params"][0]["name"] == "name"
    assert error["text"]


def test_unusual_names_come_back_as_sent_and_case_differs(api: Api) -> None:
    names = [
        "ä" * 255,
        " leading",
        "trailing ",
        "dot.",
        "back\\slash",
        "Case",
        "case",
        "🐍",
        "e\u0301",
        "\u00e9",
    ]
    for name in names:
        api.upload(name, name.encode())
    assert sorted(api.children()) == sorted(names)


def test_createfolder_gives_the_existing_one_and_force_a_numbered_one(api: Api) -> None:
    folder = api.folder("dir")
    assert api.folder("dir") == folder
    forced = api.post(f"{api.storage}root/createfolder/", name="dir", force="true")["node"]
    assert (forced["name"], forced["id"] != folder) == ("dir (2)", True)
    api.upload("file", b"")
    error_of(api.http.post(f"{api.storage}root/createfolder/", data={"name": "file"}), 406)


def test_upload_over_a_file_replaces_in_place_and_keeps_the_old_version(api: Api) -> None:
    node = api.upload("file", b"old")
    old = api.node(node)["version"]
    assert api.upload("file", b"new") == node
    assert api.read(node) == b"new"
    assert api.read(node, version_id=old) == b"old"
    assert len(api.get(f"{api.storage}{node}/versions/")["versions"]) == 2


def test_history_keeps_its_order_when_the_clock_steps_back(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    clocks = SteppedClocks(tmp_path)
    with start_server(environment=clocks.environment).api() as api:
        node = api.upload("file", b"1")
        clocks.set_wall(-3600)
        api.upload("file", b"22")
        clocks.set_wall(-7200)
        api.upload("file", b"333")
        history = api.get(f"{api.storage}{node}/versions/")["versions"]
    assert [version["size"] for version in history] == [3, 2, 1]
    assert [version["current"] for version in history] == [True, False, False]


def test_upload_over_a_folder_is_numbered(api: Api) -> None:
    api.folder("thing")
    assert api.node(api.upload("thing", b"x"))["name"] == "thing (2)"


@pytest.mark.parametrize("action", ["move", "copy", "restore"])
def test_file_arriving_on_a_file_sends_that_one_to_the_trash(api: Api, action: str) -> None:
    source, target = api.folder("source"), api.folder("target")
    arriving, replaced = api.upload("f.txt", b"arriving", source), ""
    if action == "restore":
        api.delete(f"{api.storage}{arriving}/delete/")
        replaced = api.upload("f.txt", b"replaced", source)
        node = api.post(f"{api.storage}{arriving}/restore/")["node"]
    else:
        replaced = api.upload("f.txt", b"replaced", target)
        node = api.post(f"{api.storage}{arriving}/{action}/", parent=target)["node"]
    assert node["name"] == "f.txt"
    assert api.read(node["id"]) == b"arriving"
    assert (node["id"] == arriving) is (action != "copy")
    assert "deleted" in api.node(replaced)
    assert api.children("trash") == {"f.txt": replaced}


@pytest.mark.parametrize("action", ["move", "copy", "restore"])
@pytest.mark.parametrize(
    ("arriving_is_folder", "existing_is_folder"), [(True, True), (True, False), (False, True)]
)
def test_anything_else_arriving_on_a_name_is_numbered(
    api: Api, action: str, arriving_is_folder: bool, existing_is_folder: bool
) -> None:
    def make(is_folder: bool, parent: str) -> str:
        return api.folder("n.x", parent) if is_folder else api.upload("n.x", b"", parent)

    source, target = api.folder("source"), api.folder("target")
    arriving = make(arriving_is_folder, source)
    if action == "restore":
        api.delete(f"{api.storage}{arriving}/delete/")
        make(existing_is_folder, source)
        node = api.post(f"{api.storage}{arriving}/restore/")["node"]
    else:
        make(existing_is_folder, target)
        node = api.post(f"{api.storage}{arriving}/{action}/", parent=target)["node"]
    assert node["name"] == ("n.x (2)" if arriving_is_folder else "n (2).x")
    assert api.children("trash") == {}


def test_rename_onto_a_name_is_refused(api: Api) -> None:
    node, other = api.upload("a", b"a"), api.upload("b", b"b")
    error = error_of(api.http.post(f"{api.storage}{node}/update/", data={"name": "b"}), 406)
    assert (error["code"], error["params"]["reason"]) == (1605, "name_taken")
    assert api.children() == {"a": node, "b": other}


def test_folder_cannot_move_or_copy_into_itself(api: Api) -> None:
    outer = api.folder("outer")
    inner = api.folder("inner", outer)
    for action in ("move", "copy"):
        error_of(api.http.post(f"{api.storage}{outer}/{action}/", data={"parent": inner}), 406)


def test_copy_takes_the_subtree_along_and_shares_nothing_afterwards(api: Api) -> None:
    top = api.folder("top")
    leaf = api.upload("leaf", b"first", api.folder("mid", top))
    copied = api.post(f"{api.storage}{top}/copy/", parent=api.folder("elsewhere"))["node"]["id"]
    copied_leaf = api.children(api.children(copied)["mid"])["leaf"]
    api.upload("leaf", b"second", api.children(top)["mid"])
    assert (api.read(leaf), api.read(copied_leaf)) == (b"second", b"first")
    api.delete(f"{api.storage}{top}/delete/")
    api.delete(f"{api.storage}trash/delete/")
    assert api.read(copied_leaf) == b"first"


def test_rename_makes_a_version_metadata_and_same_bytes_do_not(api: Api) -> None:
    node = api.upload("file", b"same")
    update = f"{api.storage}{node}/update/"
    first = api.node(node)["version"]
    titled = api.post(update, metadata_title="Title", metadata_short="Short text")["node"]
    assert (titled["version"], titled["metadata"]) == (first, {"title": "Title", "short": "Short text"})
    assert api.post(update, metadata_title="null", metadata_short="")["node"]["metadata"] == {
        "title": "",
        "short": "",
    }
    assert api.upload("file", b"same") == node
    assert api.node(node)["version"] == first
    assert api.post(update, name="file")["node"]["version"] == first
    renamed = api.post(update, name="renamed")["node"]
    assert renamed["version"] != first
    assert renamed["hash"] == hashlib.sha256(b"same").hexdigest()
    error_of(api.http.post(update, data={"metadata_title": "x" * 51}), 406)
    error_of(api.http.post(update, data={}), 406)


def test_compare_and_swap(api: Api) -> None:
    node = api.upload("file", b"base")
    update = f"{api.storage}{node}/update/"
    base = api.node(node)["version"]
    mine, theirs = api.complete_without_target(b"mine"), api.complete_without_target(b"theirs")
    won = api.post(update, **{"from": from_upload(theirs)}, if_version_id=base)["node"]
    assert api.read(node) == b"theirs"
    lost = api.http.post(update, data={"from": from_upload(mine), "if_version_id": base})
    error = error_of(lost, 409)
    assert error["params"]["reason"] == "conflict_version_mismatch"
    assert error["params"]["current_version_id"] == won["version"]
    assert error["params"]["current"]["hash"] == hashlib.sha256(b"theirs").hexdigest()
    assert api.read(node) == b"theirs"
    again = {"from": from_upload(mine), "if_version_id": won["version"].replace("-", "").upper()}
    assert api.post(update, **again)["node"]["size"] == 4
    assert error_of(api.http.post(update, data={"name": "x", "if_version_id": ""}), 406)["code"] == 207092


def test_update_from_a_known_hash(api: Api) -> None:
    node, other = api.upload("a", b"aaa"), api.upload("b", b"bbb")
    digest = hashlib.sha256(b"bbb").hexdigest()
    source = {"type": "hash", "hash": {"hash": digest, "hash_type": "sha256"}}
    api.post(f"{api.storage}{node}/update/", **{"from": json.dumps(source)})
    assert api.read(node) == api.read(other) == b"bbb"
    source["hash"] = {"hash": "0" * 64, "hash_type": "sha256"}
    error_of(api.http.post(f"{api.storage}{node}/update/", data={"from": json.dumps(source)}), 404)


def test_trash_takes_the_subtree_and_restore_brings_it_back(api: Api) -> None:
    top = api.folder("top")
    leaf = api.upload("leaf", b"leaf", top)
    api.delete(f"{api.storage}{top}/delete/")
    assert api.children() == {}
    assert api.children("trash") == {"top": top}
    assert api.children(top) == {"leaf": leaf}
    trashed = api.node(top)
    assert (trashed["parent"], trashed["deleted_from"]) == ("trash", "root")
    assert api.node(leaf)["deleted"]
    assert api.get(f"{api.storage}inventory/")["nodes"] == []
    error_of(api.http.post(f"{api.storage}{leaf}/update/", data={"name": "x"}), 404)
    error_of(api.http.delete(f"{api.storage}{leaf}/purge/"), 406)
    assert api.post(f"{api.storage}{top}/restore/")["node"]["parent"] == "root"
    assert "deleted" not in api.node(leaf)
    assert api.children(top) == {"leaf": leaf}
    error_of(api.http.post(f"{api.storage}{top}/restore/"), 406)


def test_what_was_deleted_before_its_folder_stays_deleted_when_that_is_restored(api: Api) -> None:
    top = api.folder("top")
    leaf, early = api.upload("leaf", b"leaf", top), api.upload("early", b"early", top)
    api.delete(f"{api.storage}{early}/delete/")
    api.delete(f"{api.storage}{top}/delete/")
    api.post(f"{api.storage}{top}/restore/")
    assert api.children(top) == {"leaf": leaf}
    assert api.children("trash") == {"early": early}


def test_emptied_trash_is_that_of_its_workspace_alone(api: Api, elsewhere: Api) -> None:
    for each in (api, elsewhere):
        each.delete(f"{each.storage}{each.upload('file', b'x')}/delete/")
    assert api.delete(f"{api.storage}trash/delete/")["count"] == 1
    assert api.children("trash") == {}
    assert list(elsewhere.children("trash")) == ["file"]


def test_nodes_and_contents_are_those_of_their_workspace(api: Api, elsewhere: Api) -> None:
    theirs, ours = elsewhere.upload("file", b"of one workspace alone"), api.upload("file", b"ours")
    for path in (f"{theirs}/details/", f"{theirs}/read/", f"{theirs}/versions/"):
        error_of(api.http.get(api.storage + path), 404)
    error_of(api.http.delete(f"{api.storage}{theirs}/delete/"), 404)
    source = {"type": "hash", "hash": {"hash": elsewhere.node(theirs)["hash"], "hash_type": "sha256"}}
    error_of(api.http.post(f"{api.storage}{ours}/update/", data={"from": json.dumps(source)}), 404)
    assert api.read(ours) == b"ours"


def test_restore_goes_to_the_top_when_the_parent_is_gone(api: Api) -> None:
    folder = api.folder("folder")
    leaf = api.upload("leaf", b"leaf", folder)
    for node in (leaf, folder):
        api.delete(f"{api.storage}{node}/delete/")
    api.delete(f"{api.storage}{folder}/purge/")
    assert api.post(f"{api.storage}{leaf}/restore/")["node"]["parent"] == "root"


def test_purge_is_for_trashed_nodes_and_final(api: Api) -> None:
    node = api.upload("file", b"bytes of nobody else")
    error_of(api.http.delete(f"{api.storage}{node}/purge/"), 406)
    api.delete(f"{api.storage}{node}/delete/")
    api.delete(f"{api.storage}{node}/purge/")
    assert error_of(api.http.get(f"{api.storage}{node}/details/"), 404)["code"] == 133123
    error_of(api.http.get(f"{api.storage}{node}/read/"), 404)


def has_blobs(server: ServerProcess, count: int) -> bool:
    return len(blob_files(server)) == count


def test_purge_frees_bytes_and_leaves_those_that_another_file_has(start_server: StartServer) -> None:
    with start_server() as server, server.api() as api:
        node = api.upload("file", b"shared")
        copied = api.post(f"{api.storage}{node}/copy/", parent=api.folder("folder"))["node"]["id"]
        for each, left in ((node, 1), (copied, 0)):
            api.delete(f"{api.storage}{each}/delete/")
            api.delete(f"{api.storage}{each}/purge/")
            if left:
                assert api.read(copied) == b"shared"
            wait_until(partial(has_blobs, server, left))


def test_restore_version_makes_old_content_current(api: Api) -> None:
    node = api.upload("file", b"old")
    old = api.node(node)["version"]
    api.upload("file", b"new")
    restored = api.post(f"{api.storage}{node}/restore-version/", version_id=old)["node"]
    assert api.read(node) == b"old"
    history = api.get(f"{api.storage}{node}/versions/")["versions"]
    assert [row["current"] for row in history] == [True, False, False]
    assert history[0]["id"] == restored["version"]
    other = api.node(api.upload("other", b"other"))["version"]
    for version in (node, other):
        refused = api.http.post(f"{api.storage}{node}/restore-version/", data={"version_id": version})
        error_of(refused, 404)


@pytest.mark.parametrize(
    ("asked", "status", "begin", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=90-", 206, 90, 100),
        ("bytes=-5", 206, 95, 100),
        ("bytes=50-1000", 206, 50, 100),
        (f"bytes=50-{'9' * 5000}", 206, 50, 100),
        (f"bytes=-{'9' * 5000}", 206, 0, 100),
        ("bytes=0-1,5-6", 200, 0, 100),
        ("lines=1-2", 200, 0, 100),
    ],
)
def test_read_honours_ranges(api: Api, asked: str, status: int, begin: int, end: int) -> None:
    content = bytes(range(100))
    response = api.http.get(f"{api.storage}{api.upload('file', content)}/read/", headers={"range": asked})
    assert (response.status_code, response.content) == (status, content[begin:end])
    if status == 206:
        assert response.headers["content-range"] == f"bytes {begin}-{end - 1}/100"


def test_range_outside_is_416(api: Api) -> None:
    for content in (b"abc", b""):
        node = api.upload(f"file{len(content)}", content)
        for first in ("3", "9" * 5000):
            response = api.http.get(f"{api.storage}{node}/read/", headers={"range": f"bytes={first}-"})
            error_of(response, 416)
            assert response.headers["content-range"] == f"bytes */{len(content)}"


def test_download_token_reads_without_a_bearer(api: Api) -> None:
    node, other = api.upload("file", b"secret"), api.upload("other", b"x")
    token = api.get(f"{api.storage}{node}/requestread/")["token"]
    url = f"{api.http.base_url}{api.storage}"
    assert httpx.get(f"{url}{node}/read/", params={"token": token}).content == b"secret"
    error_of(httpx.get(f"{url}{other}/read/", params={"token": token}), 401)
    error_of(httpx.get(f"{url}{node}/read/", params={"token": token[:-1]}), 401)
    error_of(httpx.get(f"{url}{node}/read/"), 401)


def test_inventory_gives_paths_and_refuses_output(api: Api) -> None:
    leaf = api.upload("leaf", b"", api.folder("b", api.folder("a")))
    everything = api.get(f"{api.storage}inventory/", include="path")["nodes"]
    assert sorted(node["path"] for node in everything) == ["a", "a/b", "a/b/leaf"]
    assert [node["id"] for node in api.get(f"{api.storage}inventory/", type="file")["nodes"]] == [leaf]
    error_of(api.http.get(f"{api.storage}inventory/", params={"output": "full"}), 406)


def test_recent_tells_the_last_changed_first(api: Api) -> None:
    first, second = api.upload("first", b"1"), api.upload("second", b"2")
    api.post(f"{api.storage}{first}/move/", parent=api.folder("folder"))
    files = [node["id"] for node in api.get(f"{api.storage}recent/", type="file")["nodes"]]
    assert files == [first, second]


def test_addfile_places_a_finished_session(api: Api) -> None:
    session = api.complete_without_target(b"placed")
    answer = api.post(f"{api.storage}root/addfile/", name="file", **{"from": from_upload(session)})
    assert api.read(answer["node"]["id"]) == b"placed"
    unfinished = api.session("loose", 5)
    response = api.http.post(
        f"{api.storage}root/addfile/", data={"name": "x", "from": from_upload(unfinished)}
    )
    error_of(response, 406)
    checked(api.http.delete(f"upload/{session}/"))
    assert api.read(answer["node"]["id"]) == b"placed"
