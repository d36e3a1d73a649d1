"""Single calls, chunked sessions, streams, batches, and what they must not cost."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.t2_server.serving import (
    MEBIBYTE,
    Api,
    ServerProcess,
    blob_files,
    checked,
    error_of,
    from_upload,
    wait_until,
)

PEAK_BYTES = 150 * MEBIBYTE


@pytest.mark.parametrize("size", [0, 1, 4096, 4 * MEBIBYTE])
def test_single_call_stores_at_once(api: Api, size: int) -> None:
    content = os.urandom(size)
    node = api.upload("file", content)
    assert api.read(node) == content
    assert api.node(node)["size"] == size


def test_single_call_over_4_mib_is_refused(api: Api) -> None:
    error_of(api.try_upload("file", bytes(4 * MEBIBYTE + 1)), 413)
    assert api.children() == {}


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha384"])
def test_single_call_checks_the_hash(api: Api, algorithm: str) -> None:
    right = hashlib.new(algorithm, b"content").hexdigest()
    api.upload("right", b"content", hash=right, hash_algo=algorithm)
    refused = api.try_upload("wrong", b"Content", hash=right, hash_algo=algorithm)
    assert error_of(refused, 406)["params"][0]["name"] == "hash"
    assert list(api.children()) == ["right"]


def test_single_call_checks_the_size(api: Api) -> None:
    assert error_of(api.try_upload("file", b"content", size="6"), 406)["code"] == 10522
    error_of(api.try_upload("file", b"content", if_version_id="x"), 406)
    error_of(api.try_upload("file", b"content", folder_id="nonsense"), 406)


def test_update_action_replaces_and_renames(api: Api) -> None:
    node = api.upload("file", b"old")
    assert api.upload("renamed", b"new", action="update", file_id=node) == node
    assert (api.node(node)["name"], api.read(node)) == ("renamed", b"new")


def test_refused_bytes_leave_no_blob(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with server.api() as api:
        api.upload("file", b"kept")
        api.try_upload("file", b"content", hash="00", hash_algo="md5")
        api.try_upload("bad/name", b"content")
        api.upload("file", b"kept")
        api.send_chunk(api.session("big", 100), 1, b"content", hash="00", hash_algo="md5")
        wait_until(lambda: len(blob_files(server)) == 1)
        node = api.children()["file"]
        api.delete(f"{api.storage}{node}/delete/")
        api.delete(f"{api.storage}{node}/purge/")
        wait_until(lambda: blob_files(server) == [])


def test_chunks_arrive_in_any_order_and_in_parallel(api: Api) -> None:
    content = os.urandom(7 * MEBIBYTE + 5)
    pieces = {n + 1: content[n * MEBIBYTE : (n + 1) * MEBIBYTE] for n in range(8)}
    session = api.session("big", len(content), **api.target())
    assert api.get(f"upload/{session}/details/")["session"]["status"] == "ready"
    with ThreadPoolExecutor(3) as pool:
        for response in pool.map(
            lambda order: api.send_chunk(session, order, pieces[order]), [8, 3, 1, 2, 7, 6, 5, 4]
        ):
            checked(response)
    api.post(f"upload/{session}/complete/")
    stored = api.finished(session)
    assert stored["status"] == "stored"
    assert api.read(stored["new_file_id"]) == content
    for begin, end in (
        (0, 1),
        (MEBIBYTE - 1, MEBIBYTE + 1),
        (3 * MEBIBYTE, 7 * MEBIBYTE),
        (len(content) - 2, len(content)),
    ):
        headers = {"range": f"bytes={begin}-{end - 1}"}
        part = api.http.get(f"{api.storage}{stored['new_file_id']}/read/", headers=headers)
        assert part.content == content[begin:end]


def test_whole_hash_of_a_session_is_checked(api: Api) -> None:
    for content, status in ((b"right", "stored"), (b"wrong", "assembly_failed")):
        declared = {"hash": hashlib.sha1(b"right").hexdigest(), "hash_algo": "sha1"}
        session = api.session("file", 5, **api.target(), **declared)
        api.send_chunk(session, 1, content)
        api.post(f"upload/{session}/complete/")
        assert api.finished(session)["status"] == status


def test_chunk_with_wrong_hash_is_refused_and_the_same_order_replaces(api: Api) -> None:
    session = api.session("file", 5, **api.target())
    digest = hashlib.sha256(b"right").hexdigest()
    refused = api.send_chunk(session, 1, b"wrong", hash=digest, hash_algo="sha256")
    assert error_of(refused, 406)["params"][0]["name"] == "hash"
    assert api.get(f"upload/{session}/chunk/")["chunks"] == {}
    checked(api.send_chunk(session, 1, b"wrong"))
    checked(api.send_chunk(session, 1, b"right", hash=digest, hash_algo="sha256"))
    assert api.get(f"upload/{session}/chunk/")["chunks"] == {"1": 5}
    api.post(f"upload/{session}/complete/")
    assert api.read(api.finished(session)["new_file_id"]) == b"right"


def test_order_and_size_are_taken_from_the_form_too(api: Api) -> None:
    session = api.session("file", 3, **api.target())
    form = {"order": "1", "size": "3"}
    checked(api.http.post(f"upload/{session}/chunk/", data=form, files={"chunk": ("b", b"abc")}))
    form["size"] = "4"
    error_of(api.http.post(f"upload/{session}/chunk/", data=form, files={"chunk": ("b", b"abc")}), 406)


def test_sum_of_chunks_must_be_the_declared_size(api: Api) -> None:
    session = api.session("file", 10, **api.target())
    assert error_of(api.send_chunk(session, 1, b"eleven bytes"), 406)["code"] == 10522
    checked(api.send_chunk(session, 1, b"short"))
    assert error_of(api.http.post(f"upload/{session}/complete/"), 406)["code"] == 10522
    assert api.finished(session)["status"] == "assembly_failed"
    error_of(api.send_chunk(session, 2, b"later"), 406)
    assert api.children() == {}


def test_session_of_no_bytes(api: Api) -> None:
    session = api.session("empty", 0, **api.target())
    api.post(f"upload/{session}/complete/")
    assert api.read(api.finished(session)["new_file_id"]) == b""


def test_completing_twice_is_refused_and_harmless(api: Api) -> None:
    session = api.session("file", 0, **api.target())
    api.post(f"upload/{session}/complete/")
    error = error_of(api.http.post(f"upload/{session}/complete/"), 406)
    assert error["params"]["reason"] == "invalid_state"
    assert api.finished(session)["status"] == "stored"


def test_chunk_and_session_can_be_deleted(api: Api) -> None:
    session = api.session("file", 4)
    for order in (1, 2):
        checked(api.send_chunk(session, order, b"ab"))
    api.delete(f"upload/{session}/chunk/", order=1)
    assert api.get(f"upload/{session}/details/")["session"]["chunks"] == {"2": 2}
    assert session in [row["id"] for row in api.get("upload/details/")["sessions"]]
    api.delete(f"upload/{session}/")
    error_of(api.http.get(f"upload/{session}/details/"), 404)


def test_target_that_vanished_ends_in_store_failed(api: Api) -> None:
    folder = api.folder("folder")
    session = api.session("file", 0, **api.target(folder))
    api.delete(f"{api.storage}{folder}/delete/")
    api.post(f"upload/{session}/complete/")
    failed = api.finished(session)
    assert (failed["status"], bool(failed["status_message"])) == ("store_failed", True)


def test_details_wait_ends_early_on_a_change(api: Api) -> None:
    session = api.session("file", 0, **api.target())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.get, f"upload/{session}/details/", wait=20)
        api.post(f"upload/{session}/complete/")
        assert waiting.result(10)["session"]["status"] != "ready"


def test_loose_session_can_be_placed_more_than_once(api: Api) -> None:
    node = api.upload("file", b"old")
    session = api.complete_without_target(b"new")
    api.post(f"{api.storage}{node}/update/", **{"from": from_upload(session)})
    other = api.post(f"{api.storage}root/addfile/", name="other", **{"from": from_upload(session)})["node"][
        "id"
    ]
    assert api.read(node) == api.read(other) == b"new"


def test_limits_allow_the_largest_file(api: Api) -> None:
    limits = api.get("upload/limits/")
    assert max(MEBIBYTE, -(-limits["size"] // limits["chunks"])) <= limits["chunk_size"]
    error_of(api.http.post("upload/", data={"name": "n", "size": str(limits["size"] + 1)}), 406)
    assert api.get("upload/limits/extensions/")["restricted_extensions"] == []
    assert "sha256" in api.get("upload/algos/")["algos"]


def test_stream_of_unknown_size(api: Api) -> None:
    content = os.urandom(3 * MEBIBYTE)
    begin = {"name": "streamed", "stream": "true", **api.target()}
    session = api.post("upload/", **begin)["id"]
    error_of(api.send_chunk(session, 1, b"x"), 406)
    digest = {"hash": hashlib.md5(content).hexdigest(), "hash_algo": "md5"}
    stored = checked(api.http.post(f"upload/{session}/stream/", content=content, params=digest))["session"]
    assert api.read(stored["new_file_id"]) == content
    small = api.post("upload/", **begin, max_size=10)["id"]
    error_of(api.http.post(f"upload/{small}/stream/", content=bytes(11)), 413)


def send_batch(api: Api, rows: list[dict[str, object]], files: dict[str, bytes]) -> httpx.Response:
    form = {"instance_id": api.workspace, "folder_id": "root", "manifest": json.dumps(rows)}
    parts = {name: (name, content) for name, content in files.items()}
    return api.http.post("upload/batch/", data=form, files=parts)


def test_batch_stores_what_it_can_and_tells_the_rest(api: Api) -> None:
    digest = hashlib.sha256(b"two").hexdigest()
    rows: list[dict[str, object]] = [
        {"index": 0, "filename": "one"},
        {"index": 1, "filename": "two", "relative_path": "deep/er/", "hash": digest, "hash_algo": "sha256"},
        {"index": 2, "filename": "bad/name"},
        {"index": 3, "filename": "wrong", "hash": digest, "hash_algo": "sha256"},
        {"index": 4, "filename": "missing"},
        {"index": 5, "filename": "up", "relative_path": "../"},
    ]
    contents = (b"one", b"two", b"", b"Two", None, b"")
    files = {f"file_{index}": content for index, content in enumerate(contents) if content is not None}
    answer = checked(send_batch(api, rows, files))
    assert [row["status"] for row in answer["results"]] == ["ok", "ok"] + ["error"] * 4
    assert (answer["count_total"], answer["count_succeeded"], answer["count_errored"]) == (6, 2, 4)
    assert all(row["error_message"] for row in answer["results"][2:])
    assert api.read(answer["results"][0]["node_id"]) == b"one"
    assert api.children(api.children(api.children()["deep"])["er"]) == {
        "two": answer["results"][1]["node_id"]
    }
    assert api.get(f"upload/batch/{answer['batch_id']}/") == answer


def test_batch_takes_200_files_and_no_more(api: Api) -> None:
    rows: list[dict[str, object]] = [{"index": index, "filename": f"f{index}"} for index in range(201)]
    files = {f"file_{index}": str(index).encode() for index in range(201)}
    error_of(send_batch(api, rows, files), 406)
    assert checked(send_batch(api, rows[:200], files))["count_succeeded"] == 200
    assert len(api.children()) == 200


@pytest.mark.long
def test_large_upload_and_download_need_little_memory(start_server: Callable[..., ServerProcess]) -> None:
    size, piece = 300 * MEBIBYTE, os.urandom(20 * MEBIBYTE)
    server = start_server()
    with server.api() as api:
        session = api.session("large", size, **api.target())
        with ThreadPoolExecutor(3) as pool:
            for response in pool.map(lambda order: api.send_chunk(session, order, piece), range(1, 16)):
                checked(response)
        api.post(f"upload/{session}/complete/")
        node = api.finished(session)["new_file_id"]
        received = hashlib.sha256()
        with api.http.stream("GET", f"{api.storage}{node}/read/") as response:
            for part in response.iter_raw():
                received.update(part)
        assert received.digest() == hashlib.sha256(piece * 15).digest()
        assert api.node(node)["hash"] == received.hexdigest()
        streamed = api.post("upload/", name="streamed", stream="true", **api.target())["id"]

        def parts() -> Iterator[bytes]:
            for _ in range(15):
                yield piece

        checked(api.http.post(f"upload/{streamed}/stream/", content=parts()))
    assert server.peak_memory_bytes() < PEAK_BYTES


def test_other_requests_are_answered_while_a_large_file_is_assembled(api: Api) -> None:
    piece = os.urandom(64 * MEBIBYTE)
    session = api.session("large", 6 * len(piece), **api.target())
    for order in range(1, 7):
        checked(api.send_chunk(session, order, piece))
    answered = threading.Event()
    slowest = 0.0

    def ask() -> None:
        nonlocal slowest
        while not answered.is_set():
            slowest = max(slowest, api.http.get("ping/").elapsed.total_seconds())

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        api.post(f"upload/{session}/complete/")
        assert api.finished(session)["status"] == "stored"
        answered.set()
        asking.result(10)
    assert 0 < slowest < 0.5
