"""A server as a real process on a real loopback socket, and a small client for its routes."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from mountfs.server import ServerOptions, read_behaviour, serve

MEBIBYTE = 1024 * 1024
DEADLINE_S = 15.0


class ServerProcess:
    """One running server; `url` is the line it announced. `environment` adds to ours."""

    def __init__(self, data: Path, *switches: str, environment: Mapping[str, str] | None = None) -> None:
        self.data = data
        command = [sys.executable, "-m", "mountfs.server", "--data", str(data), *switches]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(f"the server did not start: {self.process.communicate()[1]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def stop(self) -> None:
        """SIGTERM; fails when the server wrote to stderr or did not end well."""
        self.process.send_signal(signal.SIGTERM)
        _, complaints = self.process.communicate(timeout=DEADLINE_S)
        assert (self.process.returncode, complaints) == (0, "")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def token(self) -> str:
        """The owner's token."""
        return (self.data / "token").read_text().strip()

    def api(self, token: str | None = None) -> "Api":
        """A client with its own connections."""
        return Api(self.url, token or self.token())

    def peak_memory_bytes(self) -> int:
        """The largest resident size so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


class ServerThread:
    """A server in a thread of this process, on a real socket: it starts faster than one of its own."""

    def __init__(self, data: Path, *switches: str) -> None:
        self.data = data
        self._ends = threading.Event()
        self._urls: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, args=(switches,), name="server")
        self._thread.start()
        told = self._urls.get()
        if isinstance(told, Exception):
            self._thread.join()
            raise told
        self.url = told

    def _serve(self, switches: Sequence[str]) -> None:
        options = ServerOptions(
            data=self.data, behaviour=read_behaviour(switches), min_lock_seconds=1, fsync=False
        )
        try:
            serve(options, self._urls.put, ends=self._ends)
        except Exception as error:
            self._urls.put(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def token(self) -> str:
        """The owner's token."""
        return (self.data / "token").read_text().strip()

    def api(self) -> "Api":
        """A client with its own connections."""
        return Api(self.url, self.token())


class Api:
    """Requests on the first workspace; answers are checked for success and given as JSON."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30)
        self.workspace = "main"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    @property
    def storage(self) -> str:
        return f"workspace/{self.workspace}/storage/"

    def get(self, path: str, **query: Any) -> Any:
        return checked(self.http.get(path, params=query))

    def post(self, path: str, **form: Any) -> Any:
        return checked(self.http.post(path, data=form))

    def delete(self, path: str, **query: Any) -> Any:
        return checked(self.http.delete(path, params=query))

    def try_upload(self, name: str, content: bytes, folder: str = "root", **fields: str) -> httpx.Response:
        form = {
            "name": name,
            "size": str(len(content)),
            "action": "create",
            "instance_id": self.workspace,
            "folder_id": folder,
        }
        return self.http.post("upload/", data={**form, **fields}, files={"chunk": ("blob", content)})

    def upload(self, name: str, content: bytes, folder: str = "root", **fields: str) -> str:
        """Upload in a single call; the node id."""
        return str(checked(self.try_upload(name, content, folder, **fields))["new_file_id"])

    def folder(self, name: str, parent: str = "root") -> str:
        return str(self.post(f"{self.storage}{parent}/createfolder/", name=name)["node"]["id"])

    def node(self, node_id: str) -> Any:
        return self.get(f"{self.storage}{node_id}/details/")["node"]

    def read(self, node_id: str, **query: str) -> bytes:
        response = self.http.get(f"{self.storage}{node_id}/read/", params=query)
        assert response.status_code == 200, response.text
        return response.content

    def entries(self, folder: str = "root") -> list[dict[str, Any]]:
        """Everything in the folder, page by page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"{self.storage}{folder}/list/", page_size=500, cursor=cursor)
            found += page["nodes"]
            cursor = page["next_cursor"]
            if not cursor:
                return found

    def children(self, folder: str = "root") -> dict[str, str]:
        """Name to id of everything in the folder."""
        return {node["name"]: node["id"] for node in self.entries(folder)}

    def versions(self, node: str) -> list[dict[str, Any]]:
        """The versions of a node, newest first."""
        return list(self.get(f"{self.storage}{node}/versions/")["versions"])

    def session(self, name: str, size: int, **fields: str) -> str:
        """Begin a chunked upload; the session id. Without `instance_id` in the fields it has no target."""
        return str(self.post("upload/", name=name, size=size, **fields)["id"])

    def target(self, folder: str = "root") -> dict[str, str]:
        return {"action": "create", "instance_id": self.workspace, "folder_id": folder}

    def send_chunk(self, session: str, order: int, content: bytes, **query: str) -> httpx.Response:
        parameters: dict[str, str | int] = {"order": order, "size": len(content), **query}
        return self.http.post(f"upload/{session}/chunk/", params=parameters, files={"chunk": ("b", content)})

    def finished(self, session: str) -> Any:
        """The session once it has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            seen = self.get(f"upload/{session}/details/", wait=5)["session"]
            if seen["status"] in ("complete", "stored", "assembly_failed", "store_failed"):
                return seen
        raise AssertionError(f"the session did not end: {seen}")

    def complete_without_target(self, content: bytes) -> str:
        """A session that ends `complete`; its id."""
        session = self.session("loose", len(content))
        if content:
            checked(self.send_chunk(session, 1, content))
        assert self.post(f"upload/{session}/complete/")["session"]["status"] == "complete"
        return session

    def head(self) -> str:
        """The cursor of the workspace's activity now."""
        return str(self.get(f"activity/poll/{self.workspace}/")["lastactivity"])

    def news(self, cursor: str, wait: int = 0) -> Any:
        return self.get(f"activity/poll/{self.workspace}/", lastactivity=cursor, wait=wait, updated=1)


def blob_files(server: ServerProcess) -> list[Path]:
    """Every file in the server's folder of blobs."""
    return [path for path in (server.data / "blobs").glob("*/*") if path.is_file()]


def from_upload(session: str) -> str:
    """The `from` field for a session."""
    return json.dumps({"type": "upload", "upload": {"id": session}})


def checked(response: httpx.Response) -> Any:
    """The body of a success answer."""
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["result"] is True
    assert body["current_api_version"] == "1.0"
    return body


def error_of(response: httpx.Response, status: int) -> Any:
    """The error of an answer with this status."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body["result"] is False
    return body["error"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
