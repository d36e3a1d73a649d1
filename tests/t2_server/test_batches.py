"""What a batch of small files costs, and that those that are stored together meet the rules of the others."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from mountfs.server.blobs import Blob, BlobStore
from tests.t2_server.serving import Api, ServerThread, checked

Behaving = Callable[..., Api]


@pytest.fixture
def behaving(tmp_path: Path) -> Iterator[Behaving]:
    """Starts a server in this process with these switches."""
    with ExitStack() as stack:

        def start(*switches: str) -> Api:
            return stack.enter_context(stack.enter_context(ServerThread(tmp_path / "data", *switches)).api())

        yield start


def send(api: Api, names: list[str], content: str = "", folder: str = "root") -> list[dict[str, Any]]:
    """A file for each name, which holds its place among them; the results."""
    rows = [{"index": index, "filename": name} for index, name in enumerate(names)]
    form = {"instance_id": api.workspace, "folder_id": folder, "manifest": json.dumps(rows)}
    parts = {f"file_{index}": ("part", f"{content}{index}".encode()) for index in range(len(names))}
    results: list[dict[str, Any]] = checked(api.http.post("upload/batch/", data=form, files=parts))["results"]
    return results


@contextmanager
def statements() -> Iterator[list[str]]:
    """What the servers of this process ask their databases within."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_more_files_of_a_batch_cost_no_more_statements(behaving: Behaving) -> None:
    api = behaving()
    counts = []
    for count in (2, 200):
        folder = api.folder(f"of {count}")
        with statements() as asked:
            results = send(api, [f"f{number}" for number in range(count)], folder=folder)
        assert [row["status"] for row in results] == ["ok"] * count
        counts.append(len(asked))
    assert counts[0] == counts[1] > 0


def test_blobs_and_their_folders_are_synced_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted_fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    async def write_some(store: BlobStore) -> list[Blob]:
        writers = [store.new_writer(with_sha256=False) for _ in range(300)]
        for writer in writers:
            writer.gather(b"content")
        return await store.finish(writers)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    store = BlobStore(tmp_path / "blobs", fsync=True)
    paths = [store.path(blob.name) for blob in asyncio.run(write_some(store))]
    store.close()
    assert all(path.read_bytes() == b"content" for path in paths)
    assert sorted(synced) == sorted(str(path) for path in {*paths, *(path.parent for path in paths)})


def test_a_name_that_a_batch_has_twice_or_meets_is_a_version_of_one_file(api: Api) -> None:
    before = api.upload("old", b"before")
    results = send(api, ["new", "old", "new", "other"], "content ")
    new, old, again, other = (row["node_id"] for row in results)
    assert (old, again) == (before, new)
    assert api.children() == {"new": new, "old": old, "other": other}
    assert [api.read(node) for node in (new, old, other)] == [b"content 2", b"content 1", b"content 3"]
    assert [len(api.versions(node)) for node in (new, old, other)] == [2, 2, 1]


def test_names_that_are_one_there_are_one_in_a_batch(behaving: Behaving) -> None:
    api = behaving("names=folded", "file_onto_file=numbered")
    api.upload("Old", b"before")
    send(api, ["old", "New", "new"])
    assert set(api.children()) == {"Old", "old (2)", "New", "new (2)"}


def test_names_of_a_batch_are_cut_before_they_are_compared(behaving: Behaving) -> None:
    api = behaving("name_cut=10")
    results = send(api, ["a" * 12 + ".txt", "a" * 14 + ".txt"])
    assert list(api.children()) == ["aaaaaa.txt"]
    assert [row["filename"] for row in results] == ["a" * 12 + ".txt", "a" * 14 + ".txt"]
    assert len(api.versions(results[0]["node_id"])) == 2


def test_a_folder_that_is_full_refuses_the_rest_of_a_batch(behaving: Behaving) -> None:
    api = behaving("max_children=3")
    results = send(api, [f"f{number}" for number in range(5)])
    assert [row["status"] for row in results] == ["ok"] * 3 + ["error"] * 2
    assert len(api.children()) == 3


def test_news_tell_of_each_file_of_a_batch(api: Api) -> None:
    cursor = api.head()
    nodes = {row["node_id"] for row in send(api, ["one", "two", "three"])}
    told = api.news(cursor)
    assert nodes <= {key.partition(":")[2] for key in told["activity"]}
