"""The published description of the routes: it is of the routes that there are, and random requests made by
it, on what does and does not exist, never break the server."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountfs.server import openapi
from mountfs.server.app import ROUTES
from tests.t2_server.serving import MEBIBYTE, ServerThread

EXAMPLES = int(os.environ.get("MOUNTFS_API_EXAMPLES", "5"))
"""Random requests to each route and method."""

OPERATIONS = [(path, method) for path, handlers in ROUTES for method in handlers]

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)
_near = st.sampled_from(
    [
        [{"index": 0, "filename": "f"}],
        [{"index": 0, "filename": None, "relative_path": 7}],
        ["workspace:*:r"],
        {"type": "upload", "upload": {"id": "5"}},
        {"type": "hash", "hash": {"hash": "0" * 64, "hash_type": "sha256"}},
        {"device_name": "d"},
    ]
)
_no_json = st.sampled_from(
    ["[" * 5000, '{"a":' * 5000, '["\\ud800"]', '[{"index": 0, "filename": "\\ud800"}]', '{"a": NaN}']
)
schemathesis.openapi.format("json", st.one_of(_near, _json).map(json.dumps) | _no_json)
description = schemathesis.openapi.from_dict(openapi.document(ROUTES))


class Populated:
    """A server with something in it; `known` has ids that exist, by the name of the path's parameter."""

    def __init__(self, server: ServerThread) -> None:
        self.url = server.url.rstrip("/")
        self.headers = {"authorization": f"Bearer {server.token()}"}
        with server.api() as api:
            trashed = api.upload("trashed", b"3")
            api.delete(f"{api.storage}{trashed}/delete/")
            note = api.post(f"{api.storage}root/createnote/", name="n.md", content="text")["node"]["id"]
            session = api.session("s", 2 * MEBIBYTE, **api.target())
            api.send_chunk(session, 1, bytes(MEBIBYTE))
            self.known = {
                "workspace": ["main"],
                "org": ["local"],
                "entity": ["main"],
                "node": ["root", "trash", api.folder("d"), api.upload("f", b"1"), trashed, note],
                "upload": [session, api.session("t", 1, **api.target(), stream="true")],
            }


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Populated]:
    with ServerThread(tmp_path_factory.mktemp("openapi") / "data") as running:
        yield Populated(running)


def test_it_describes_every_route_and_every_field_of_a_handler_that_there_is(populated: Populated) -> None:
    described: Any = schemathesis.openapi.from_url(f"{populated.url}/openapi.json").raw_schema
    assert {path: set(methods) for path, methods in described["paths"].items()} == {
        path: {method.lower() for method in handlers} for path, handlers in ROUTES
    }
    handlers = {openapi.name_of(handler) for _, methods in ROUTES for handler in methods.values()}
    assert {*openapi.QUERIES, *openapi.FORMS, *openapi.FILES} <= handlers


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: value.strip("/"))
def test_random_requests_break_nothing(populated: Populated, path: str, method: str) -> None:
    @given(case=description[path][method].as_strategy(), data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, data: Any) -> None:
        for name in case.path_parameters or {}:
            if name in populated.known and data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(populated.known[name]))
        answer = case.call(base_url=populated.url, headers=populated.headers, timeout=10)
        assert answer.status_code < 500, f"{case.as_curl_command()}: {answer.content[:500]!r}"

    ask()
