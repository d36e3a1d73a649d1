"""The workspace asked directly, from within the server's network: URL TOKEN ACTION ARGUMENTS.

Prints JSON. `prepare NAME...` makes empty files, `key` a token for one mount, `revoke ID` takes it back,
`collect NAME...` tells what became of the files.
"""

import hashlib
import json
import sys
from typing import Any

import httpx

from scripts.lock_histories.history import Register

ASIDE = " (conflict "


def prepare(http: httpx.Client, names: list[str]) -> list[str]:
    for name in names:
        fields = {"name": name, "size": "0", "action": "create", "instance_id": "main", "folder_id": "root"}
        _checked(http.post("upload/", data=fields, files={"chunk": ("blob", b"")}))
    return names


def key(http: httpx.Client) -> dict[str, str]:
    made = _checked(http.post("user/auth/key/", data={"scopes": '["user:*:rw"]'}))
    return {"token": made["api_key"], "id": made["id"]}


def revoke(http: httpx.Client, key_id: str) -> Any:
    return _checked(http.delete(f"user/auth/key/{key_id}/"))


def collect(http: httpx.Client, names: list[str]) -> dict[str, Any]:
    """Tell of each file its lines, its versions as numbers of lines (oldest first), and what lies aside."""
    nodes = _nodes(http)
    return {name: _register(http, name, nodes) for name in names}


def registers_of(told: dict[str, Any]) -> dict[str, Register]:
    """Read what `collect` printed."""
    return {
        name: Register(found["names"], found["versions"], frozenset(found["aside"]))
        for name, found in told.items()
    }


def _register(http: httpx.Client, name: str, nodes: dict[str, str]) -> dict[str, Any]:
    content = _content(http, nodes[name])
    history = _checked(http.get(f"workspace/main/storage/{nodes[name]}/versions/"))["versions"]
    aside = [node for other, node in nodes.items() if other.startswith(name + ASIDE)]
    return {
        "names": content.decode().splitlines(),
        "versions": [_lines_of(version, content) for version in reversed(history)],
        "aside": sorted({line for node in aside for line in _content(http, node).decode().splitlines()}),
        "copies": len(aside),
    }


def _lines_of(version: dict[str, Any], content: bytes) -> int | None:
    """The number of lines of a version that is a beginning of the content, None for one that is not."""
    beginning = content[: version["size"]]
    if hashlib.sha256(beginning).hexdigest() != version["hash"]:
        return None
    return beginning.count(b"\n")


def _nodes(http: httpx.Client) -> dict[str, str]:
    found: dict[str, str] = {}
    cursor = ""
    while True:
        query = {"page_size": "500", "output": "terse", "cursor": cursor}
        page = _checked(http.get("workspace/main/storage/root/list/", params=query))
        found.update((node["name"], node["id"]) for node in page["nodes"])
        cursor = page["next_cursor"]
        if not cursor:
            return found


def _content(http: httpx.Client, node: str) -> bytes:
    answer = http.get(f"workspace/main/storage/{node}/read/")
    answer.raise_for_status()
    return answer.content


def _checked(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()


def _main(url: str, token: str, action: str, *arguments: str) -> object:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        match action:
            case "prepare":
                return prepare(http, list(arguments))
            case "key":
                return key(http)
            case "revoke":
                return revoke(http, *arguments)
            case "collect":
                return collect(http, list(arguments))
    raise SystemExit(f"no action {action!r}")


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))
