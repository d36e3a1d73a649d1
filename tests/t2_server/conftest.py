"""One server for the tests that only need a workspace, and a factory for those that need their own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.t2_server.serving import Api, ServerProcess

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture
def api(shared_server: ServerProcess) -> Iterator[Api]:
    """The owner in a workspace that no other test sees."""
    with shared_server.api() as client:
        client.workspace = new_workspace(client)
        yield client


def new_workspace(client: Api) -> str:
    org = client.get("orgs/list/")["orgs"][0]["id"]
    name = f"test-{uuid4().hex}"
    created = client.post(f"org/{org}/create/workspace/", folder_name=name, name=name, intelligence="false")
    return str(created["workspace"]["id"])


@pytest.fixture
def elsewhere(api: Api, shared_server: ServerProcess) -> Iterator[Api]:
    """The owner in another workspace than `api`."""
    with shared_server.api() as client:
        client.workspace = new_workspace(client)
        yield client


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers on one data folder of this test; all are ended with it."""
    with ExitStack() as stack:

        def start(*switches: str, environment: Mapping[str, str] | None = None) -> ServerProcess:
            server = ServerProcess(tmp_path / "data", *switches, environment=environment)
            return stack.enter_context(server)

        yield start
