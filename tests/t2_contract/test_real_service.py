"""The way to a real service is itself tried, on the embedded one: its workspace is made, and removed."""

from pathlib import Path

from mountfs.remotes.fastio import FastioService
from tests.t2_contract.real_service import temporary_workspace
from tests.t2_server.serving import ServerThread


async def test_workspace_of_the_contract_is_made_and_removed(tmp_path: Path) -> None:
    with ServerThread(tmp_path / "data") as server, server.api() as api:
        with temporary_workspace(server.url, server.token()) as made:
            service = FastioService(made.url, made.token)
            found = await service.find_workspace(made.folder_name)
            assert found.writable
            api.workspace = found.id
            api.upload("f", b"1")
            await service.aclose()
        assert [row["folder_name"] for row in api.get("workspaces/all/")["workspaces"]] == ["main"]
        assert not [path for path in (server.data / "blobs").glob("*/*") if path.is_file()]
