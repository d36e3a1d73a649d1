"""What the server can make of folders: limits, two nodes of one name, changes that take their time."""

from pathlib import Path
from typing import Any

import pytest

from tests.t2_server.serving import Api, ServerThread, error_of, wait_until


def below(api: Api, folder: str = "root", prefix: str = "") -> set[str]:
    """The paths of all that lives."""
    rows = api.get(f"{api.storage}inventory/", page_size=500, include="path")["nodes"]
    return {row["path"] for row in rows}


def refusal(api: Api, parent: str, name: str) -> Any:
    refused = api.http.post(f"{api.storage}{parent}/createfolder/", data={"name": name})
    return error_of(refused, 406)["params"]["reason"]


def test_depth_is_limited(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data", "max_depth=2") as server, server.api() as api:
        deep = api.folder("e", api.folder("d"))
        assert refusal(api, deep, "f") == "too_deep"
        assert error_of(api.try_upload("f", b"", deep), 406)["params"]["reason"] == "too_deep"
        node = api.upload("f", b"")
        moved = api.http.post(f"{api.storage}{node}/move/", data={"parent": deep})
        assert error_of(moved, 406)["params"]["reason"] == "too_deep"


def test_children_are_limited(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data", "max_children=2") as server, server.api() as api:
        folder = api.folder("d")
        first = api.upload("a", b"", folder)
        api.upload("b", b"", folder)
        assert error_of(api.try_upload("c", b"", folder), 406)["params"]["reason"] == "too_many_children"
        api.upload("a", b"a new version", folder)
        api.delete(f"{api.storage}{first}/delete/")
        api.upload("c", b"", folder)
        restored = api.http.post(f"{api.storage}{first}/restore/")
        assert error_of(restored, 406)["params"]["reason"] == "too_many_children"


@pytest.mark.parametrize("again", [False, True])
def test_two_nodes_may_have_one_name(tmp_path: Path, again: bool) -> None:
    if again:
        # Also on a folder of data that was made without.
        with ServerThread(tmp_path / "data") as server, server.api() as api:
            api.upload("a", b"first")
    switches = ("twins=true", "file_onto_file=numbered", "folder_onto_folder=numbered")
    with ServerThread(tmp_path / "data", *switches) as server, server.api() as api:
        if not again:
            api.upload("a", b"first")
        api.upload("a", b"second")
        assert api.folder("d") != api.folder("d")
        rows = api.get(f"{api.storage}root/list/")["nodes"]
        assert [row["name"] for row in rows] == ["a", "a", "d", "d"]


def test_folder_goes_comes_back_and_is_copied_bit_by_bit(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data", "tree_changes=in-steps") as server, server.api() as api:
        folder = api.folder("d")
        api.upload("f", b"", api.folder("e", folder))
        api.upload("g", b"", folder)
        whole = {"d", "d/e", "d/e/f", "d/g"}
        cursor = api.head()
        api.delete(f"{api.storage}{folder}/delete/")
        wait_until(lambda: below(api) == set())
        assert api.news(cursor)["activity"][-1] == f"storage:{folder}", "the folder itself goes last"
        assert len(api.news(cursor)["activity"]) == 4
        api.post(f"{api.storage}{folder}/restore/")
        assert "d" in below(api)
        wait_until(lambda: below(api) == whole)
        target = api.folder("target")
        api.post(f"{api.storage}{folder}/copy/", parent=target)
        copied = {"target", *(f"target/{path}" for path in whole)}
        wait_until(lambda: below(api) == whole | copied)


def test_steps_go_by_what_is_there(tmp_path: Path) -> None:
    """What is put into a folder that is on its way to the trash goes with it; what is taken out stays."""
    with ServerThread(tmp_path / "data", "tree_changes=in-steps") as server, server.api() as api:
        folder = api.folder("d")
        for number in range(20):
            api.upload(f"f{number}", b"", folder)
        kept = next(iter(api.children(folder).values()))
        api.delete(f"{api.storage}{folder}/delete/")
        added = api.upload("added", b"", folder)
        live = {row["id"] for row in api.get(f"{api.storage}{folder}/list/")["nodes"]}
        taken_out = kept if kept in live else added
        api.post(f"{api.storage}{taken_out}/move/", parent="root")
        wait_until(lambda: set(api.children().values()) == {taken_out})


@pytest.mark.parametrize("change", ["restore", "copy"])
def test_name_that_is_taken_meanwhile_is_numbered(tmp_path: Path, change: str) -> None:
    """Nothing of the folder stays behind, where nobody finds it."""
    with ServerThread(tmp_path / "data", "tree_changes=in-steps") as server, server.api() as api:
        folder = api.folder("d")
        names = [f"f{number}" for number in range(5)]
        for name in names:
            api.upload(name, b"", folder)
        if change == "restore":
            api.delete(f"{api.storage}{folder}/delete/")
            wait_until(lambda: below(api) == set())
            api.post(f"{api.storage}{folder}/restore/")
        else:
            target = api.folder("target")
            folder = api.post(f"{api.storage}{folder}/copy/", parent=target)["node"]["id"]
        api.upload(names[-1], b"meanwhile", folder)
        wait_until(lambda: {*names, "f4 (2)"} == api.children(folder).keys())


def test_folder_is_deleted_while_it_comes_back(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data", "tree_changes=in-steps") as server, server.api() as api:
        folder = api.folder("d")
        for number in range(5):
            api.upload(f"f{number}", b"", folder)
        api.delete(f"{api.storage}{folder}/delete/")
        wait_until(lambda: below(api) == set())
        api.post(f"{api.storage}{folder}/restore/")
        api.delete(f"{api.storage}{folder}/delete/")
        wait_until(lambda: below(api) == set())
        api.delete(f"{api.storage}{folder}/purge/")
        assert below(api) == set()


def test_rows_of_the_feed_are_lost(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data", "feed_lost=2") as server, server.api() as api:
        org = api.get("orgs/list/")["orgs"][0]["id"]
        cursor = api.get(f"org/{org}/events/changes/")["cursor"]
        for number in range(4):
            api.upload(f"f{number}", b"")
        told = api.get(f"org/{org}/events/changes/", cursor=cursor)
        assert len(told["changes"]) == 2
        assert told["cursor"] != cursor
