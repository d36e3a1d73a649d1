"""The routes of a server that may answer in any way, and what it has, read from its database."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from mountfs.server.startup import DATABASE_FILE
from tests.t2_server.serving import Api
from tests.t6_system.machine import wait_until

WORDS = {"yes": True, "no": False}

_CHILDREN = "workspace_id = :workspace AND parent_id = :folder AND trash_root IS NULL"
_TRASH = "workspace_id = :workspace AND trash_root = id"


class StoredApi(Api):
    """As `Api`, whichever switches the server has; what it has is told whole and at once, with its hashes."""

    def __init__(self, url: str, token: str, data: Path) -> None:
        super().__init__(url, token)
        self.http.follow_redirects = True
        self._database = data / DATABASE_FILE

    def get(self, path: str, **query: Any) -> Any:
        return _payload(self.http.get(path, params=query))

    def post(self, path: str, **form: Any) -> Any:
        return _payload(self.http.post(path, data=form))

    def delete(self, path: str, **query: Any) -> Any:
        return _payload(self.http.delete(path, params=query))

    def upload(self, name: str, content: bytes, folder: str = "root", **fields: str) -> str:
        _payload(self.try_upload(name, content, folder, **fields))
        wait_until(lambda: name in self.children(folder))
        return self.children(folder)[name]

    def folder(self, name: str, parent: str = "root") -> str:
        self.post(f"{self.storage}{parent}/createfolder/", name=name)
        return self.children(parent)[name]

    def entries(self, folder: str = "root") -> list[dict[str, Any]]:
        (workspace,) = self._rows("SELECT id FROM workspaces WHERE folder_name = :name", name=self.workspace)
        where = _TRASH if folder == "trash" else _CHILDREN
        return self._rows(
            f"SELECT id, type, name, size, sha256 AS hash FROM nodes WHERE {where} ORDER BY name",
            workspace=workspace["id"],
            folder=folder,
        )

    def versions(self, node: str) -> list[dict[str, Any]]:
        of_node = (
            "SELECT id, name, size, sha256 AS hash FROM versions WHERE node_id = :node ORDER BY rowid DESC"
        )
        return self._rows(of_node, node=node)

    def _rows(self, query: str, **values: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]


def _payload(response: httpx.Response) -> Any:
    """Return the body of a success answer of either generation."""
    assert response.status_code == 200, response.text
    body = _plain(response.json())
    assert body["result"] is True
    return body.get("response", body)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return WORDS.get(value, value) if isinstance(value, str) else value
