"""The embedded server's routes called by plain loops of httpx: what a mount is compared with."""

import hashlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from scripts.benchmarks.workloads.base import MEBIBYTE, Bare

CHUNK_BYTES = 8 * MEBIBYTE
BATCH_FILES = 200
CONNECTIONS = 4
_TARGET = {"action": "create", "instance_id": "main", "folder_id": "root"}


@contextmanager
def connected(server: Bare) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
        yield http


def _post(http: httpx.Client, path: str, **arguments: Any) -> dict[str, Any]:
    response = http.post(path, **arguments)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def upload_chunked(http: httpx.Client, name: str, size: int) -> str:
    """Chunk after chunk, each with its hash; return the node id when the file is stored."""
    session = _post(http, "upload/", data={**_TARGET, "name": name, "size": str(size)})["id"]
    content = random.Random(2).randbytes(min(size, CHUNK_BYTES))
    for order, start in enumerate(range(0, size, CHUNK_BYTES), 1):
        part = content[: size - start]
        query: dict[str, str | int] = {
            "order": order,
            "size": len(part),
            "hash": hashlib.sha256(part).hexdigest(),
            "hash_algo": "sha256",
        }
        _post(http, f"upload/{session}/chunk/", params=query, files={"chunk": ("chunk", part)})
    _post(http, f"upload/{session}/complete/")
    return _stored(http, session)


def _stored(http: httpx.Client, session: str) -> str:
    while True:
        answer = http.get(f"upload/{session}/details/", params={"wait": 30})
        answer.raise_for_status()
        told = answer.json()["session"]
        if told["status"] == "stored":
            return str(told["new_file_id"])
        if str(told["status"]).endswith("failed"):
            raise OSError(f"the upload failed: {told['status_message']}")


def upload_single(http: httpx.Client, name: str, content: bytes, count: int) -> None:
    """One call for each file."""
    for number in range(count):
        fields = {**_TARGET, "name": f"{name}-single-{number}", "size": str(len(content))}
        _post(http, "upload/", data=fields, files={"chunk": ("chunk", content)})


def upload_unplaced(http: httpx.Client, name: str, content: bytes) -> str:
    """One call; return the id under which the content can be placed."""
    fields = {"action": "create", "name": name, "size": str(len(content))}
    return str(_post(http, "upload/", data=fields, files={"chunk": ("chunk", content)})["id"])


def place_version(http: httpx.Client, node_path: str, upload: str) -> None:
    """Make what was uploaded the newest version of the node."""
    source = {"type": "upload", "upload": {"id": upload}}
    _post(http, f"{node_path}update/", data={"from": json.dumps(source)})


def poll(http: httpx.Client, cursor: str, wait_s: int) -> str:
    """Return the next cursor when something changed since this one, or time is over; at once without one."""
    query = {"lastactivity": cursor, "wait": str(wait_s)} if cursor else {}
    answer = http.get("activity/poll/main/", params=query)
    answer.raise_for_status()
    return str(answer.json()["lastactivity"])


def upload_batches(http: httpx.Client, name: str, content: bytes, count: int) -> None:
    """As many files in each call as it takes."""
    for start in range(0, count, BATCH_FILES):
        numbers = range(start, min(start + BATCH_FILES, count))
        manifest = [{"index": index, "filename": f"{name}-{number}"} for index, number in enumerate(numbers)]
        files = {f"file_{row['index']}": ("file", content) for row in manifest}
        fields = {"instance_id": "main", "folder_id": "root", "manifest": json.dumps(manifest)}
        answer = _post(http, "upload/batch/", data=fields, files=files)
        if answer["count_errored"]:
            raise OSError(f"{answer['count_errored']} files of a batch failed")


def download_parallel(server: Bare, node: str, size: int) -> None:
    """Ranges over several connections."""

    def fetch(start: int) -> int:
        end = min(start + CHUNK_BYTES, size)
        answer = http.get(
            f"workspace/main/storage/{node}/read/", headers={"range": f"bytes={start}-{end - 1}"}
        )
        answer.raise_for_status()
        return len(answer.content)

    with connected(server) as http, ThreadPoolExecutor(CONNECTIONS) as pool:
        total = sum(pool.map(fetch, range(0, size, CHUNK_BYTES)))
    if total != size:
        raise OSError(f"{total} bytes came instead of {size}")
