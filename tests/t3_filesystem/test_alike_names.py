"""Names that the workspace may take for one stay two here and on other mounts."""

from collections.abc import AsyncIterator

import pytest

from mountfs.model.filesystem import RenameFlag
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.workspace_mount import WorkspaceMount


@pytest.fixture(params=[True, False], ids=["folding", "exact"])
def workspace(request: pytest.FixtureRequest) -> MemoryWorkspace:
    return MemoryWorkspace(folds_names=request.param)


@pytest.fixture
async def there(mounting: Mounting) -> AsyncIterator[WorkspaceMount]:
    async with mounting(name="there") as made:
        await made.listdir()
        yield made


async def agree(mount: WorkspaceMount, there: WorkspaceMount, mounting: Mounting) -> None:
    await mount.settle()
    assert mount.failures() == {}
    expected = await mount.contents()
    await there.catch_up()
    assert await there.contents() == expected
    async with mounting(name="new") as new:
        assert await new.contents() == expected


async def test_new_ones_all_arrive(
    mount: WorkspaceMount, there: WorkspaceMount, mounting: Mounting, workspace: MemoryWorkspace
) -> None:
    for name in ("README", "readme", "Readme", "\u00e4", "a\u0308"):
        await mount.write(name, name.encode())
    await mount.mkdir("D")
    await mount.mkdir("d")
    await mount.write("d/below", b"small")
    await mount.write("D/below", b"large")
    await agree(mount, there, mounting)
    assert {"README", "readme\uf101", "Readme\uf102"} < workspace.files().keys()
    await there.write("readme", b"edited")
    await there.rename("Readme", "D/README")
    await agree(there, mount, mounting)
    await mount.restart(cleanly=False)
    await mount.unlink("README")
    await mount.write("rEADME", b"another")
    await agree(mount, there, mounting)


async def test_change_of_case_alone(mount: WorkspaceMount, there: WorkspaceMount, mounting: Mounting) -> None:
    await mount.write("readme", b"content")
    await mount.mkdir("folder")
    await mount.settle()
    node = mount.node("readme")
    await mount.rename("readme", "README")
    await mount.rename("folder", "Folder")
    await agree(mount, there, mounting)
    assert mount.node("README") == node


async def test_what_is_removed_makes_way_for_its_like(
    mount: WorkspaceMount, there: WorkspaceMount, mounting: Mounting
) -> None:
    await mount.write("README", b"old")
    await mount.mkdir("d")
    await mount.write("d/readme", b"moves")
    await mount.settle()
    await mount.unlink("README")
    await mount.write("readme", b"new")
    await mount.rename("d/readme", "Readme")
    await agree(mount, there, mounting)


async def test_traded_names(mount: WorkspaceMount, there: WorkspaceMount, mounting: Mounting) -> None:
    await mount.write("A", b"1")
    await mount.write("b", b"2")
    await mount.settle()
    await mount.rename("A", "spare")
    await mount.rename("b", "a")
    await mount.rename("spare", "B")
    await agree(mount, there, mounting)
    await mount.write("x", b"3")
    await mount.write("X", b"4")
    await mount.settle()
    await mount.rename("x", "X", RenameFlag.EXCHANGE)
    await agree(mount, there, mounting)
    await mount.rename("x", "X")
    await agree(mount, there, mounting)
