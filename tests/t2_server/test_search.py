"""Search over names and text, and the list of events."""

from typing import Any

from tests.t2_server.serving import Api, ServerProcess, error_of


def names(api: Api, words: str, **more: Any) -> list[str]:
    answer = api.get(f"{api.storage}search/", search=words, **more)
    assert answer["pagination"]["total"] >= len(answer["files"])
    return [row["name"] for row in answer["files"].values()]


def test_names_and_text_are_found_as_they_are_now(api: Api) -> None:
    folder = api.folder("Reports")
    node = api.upload("quarter-three.txt", b"the revenue of Zaragoza rose", folder)
    api.upload("other.txt", b"nothing to see")
    assert names(api, "zaragoza") == ["quarter-three.txt"]
    assert names(api, "zarag") == ["quarter-three.txt"], "words are found by their beginning"
    assert names(api, "uarter-thr") == ["quarter-three.txt"], "names are found by any part"
    assert names(api, "revenue zaragoza", search_in="content") == ["quarter-three.txt"]
    assert names(api, "zaragoza", search_in="filename") == []
    assert names(api, "quarter", search_in="content") == []
    (found,) = api.get(f"{api.storage}search/", search="zaragoza")["files"].items()
    assert found[0] == node
    assert (found[1]["path"], found[1]["parent_id"]) == ("Reports/quarter-three.txt", folder)
    api.post(f"{api.storage}{node}/update/", name="renamed.txt")
    assert names(api, "quarter") == []
    assert names(api, "renamed") == ["renamed.txt"]
    api.upload("renamed.txt", b"about Valencia now", folder)
    assert names(api, "zaragoza") == []
    assert names(api, "valencia") == ["renamed.txt"]
    api.delete(f"{api.storage}{folder}/delete/")
    assert names(api, "valencia") == []
    api.post(f"{api.storage}{folder}/restore/")
    assert names(api, "valencia") == ["renamed.txt"]


def test_other_workspaces_are_not_searched(api: Api, elsewhere: Api) -> None:
    elsewhere.upload("salamanca.txt", b"about Salamanca")
    assert names(elsewhere, "salamanca") == ["salamanca.txt"]
    told = api.get(f"{api.storage}search/", search="salamanca")
    assert (told["files"], told["pagination"]["total"]) == ({}, 0)


def test_names_are_compared_as_asked(api: Api) -> None:
    for name in ("alpha.txt", "Alphabet.txt", "an alpha.txt"):
        api.upload(name, b"x")
    assert sorted(names(api, "alpha.txt", name_match="exact")) == ["alpha.txt"]
    assert sorted(names(api, "alpha", name_match="prefix")) == ["Alphabet.txt", "alpha.txt"]
    assert names(api, "alpha", name_match="prefix", case_sensitive="true") == ["alpha.txt"]
    assert sorted(names(api, "*phabet*", name_match="glob")) == ["Alphabet.txt"]
    assert len(names(api, "alpha", name_match="contains")) == 3
    api.upload("\u00c4PFEL.txt", b"x")
    assert names(api, "\u00e4pfel") == ["\u00c4PFEL.txt"]


def test_hits_come_in_pages_and_in_detail(api: Api) -> None:
    for number in range(5):
        api.upload(f"paged-{number}", b"x")
    first = api.get(f"{api.storage}search/", search="paged", limit=2)
    assert first["pagination"] == {"total": 5, "limit": 2, "offset": 0, "has_more": True}
    rest = api.get(f"{api.storage}search/", search="paged", limit=10, offset=2)
    assert len({**first["files"], **rest["files"]}) == 5
    assert rest["pagination"]["has_more"] is False
    detailed = api.get(f"{api.storage}search/", search="paged-3", details="true")
    (row,) = detailed["files"].values()
    assert row["node"]["hash"]


def test_what_is_no_search_is_refused(api: Api) -> None:
    for query in (
        {"search": "x"},
        {"search": "y" * 1001},
        {"search": "xx", "search_in": "everywhere"},
        {"search": "xx", "name_match": "fuzzy"},
        {"search": "xx", "limit": "501"},
        {"search": "xx", "limit": "11", "details": "true"},
        {"search": "g" * 257, "name_match": "glob"},
    ):
        error_of(api.http.get(f"{api.storage}search/", params=query), 406)
    for words in ('"quoted', "a* OR b", "NEAR(", "{name} : x", "--", "''", "a\0b"):
        assert names(api, words) == []


def test_binary_content_is_not_searched(api: Api) -> None:
    api.upload("blob.bin", b"secretword\0\xff\xfe")
    api.upload("latin.txt", "Gr\u00f6\u00dfe".encode("latin-1"))
    api.upload("empty.txt", b"")
    assert names(api, "secretword") == []
    assert names(api, "empty") == ["empty.txt"]


def test_events_of_other_workspaces_are_not_told_to_a_key_of_one(
    api: Api, elsewhere: Api, shared_server: ServerProcess
) -> None:
    elsewhere.upload("a.txt", b"1")
    (event,) = elsewhere.get("events/search/", workspace_id=elsewhere.workspace)["events"]
    key = api.post("user/auth/key/", scopes=f'["workspace:{api.workspace}:rw"]')["api_key"]
    with shared_server.api(key) as member:
        error_of(member.http.get(f"event/{event['event_id']}/details/"), 404)
        error_of(member.http.get("events/search/", params={"workspace_id": elsewhere.workspace}), 401)
        user = member.get("user/auth/check/")["id"]
        assert member.get("events/search/", user_id=user)["events"] == []


def test_events_tell_what_happened_newest_first(api: Api) -> None:
    node = api.upload("a.txt", b"1")
    api.upload("a.txt", b"2")
    api.delete(f"{api.storage}{node}/delete/")
    told = api.get("events/search/", workspace_id=api.workspace)
    events = [(row["event"], row["object_name"]) for row in told["events"]]
    prefix = "workspace_storage_file_"
    assert events == [(prefix + word, "a.txt") for word in ("deleted", "updated", "added")]
    assert told["events"][0]["calling_user_id"] == api.get("user/auth/check/")["id"]
    some = api.get("events/search/", workspace_id=api.workspace, limit=2)
    assert some["pagination"]["has_more"] is True
    rest = api.get("events/search/", workspace_id=api.workspace, cursor=some["pagination"]["next_cursor"])
    assert [row["event"] for row in rest["events"]] == [prefix + "added"]
    one = api.get("events/search/", workspace_id=api.workspace, event=prefix + "updated", object_id=node)
    assert len(one["events"]) == 1
    assert api.get(f"event/{one['events'][0]['event_id']}/details/")["event"] == one["events"][0]
    assert (
        api.get("events/search/", workspace_id=api.workspace, **{"created-min": "2100-01-01 00:00:00 UTC"})[
            "events"
        ]
        == []
    )
    error_of(api.http.get("events/search/"), 406)
    error_of(api.http.get("events/search/", params={"workspace_id": api.workspace, "created-min": "x"}), 406)
    error_of(api.http.get("events/search/", params={"workspace_id": "unknown"}), 401)
    error_of(api.http.get("event/99999999/details/"), 404)
