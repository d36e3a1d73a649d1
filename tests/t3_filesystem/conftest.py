"""One workspace, and mounts of it that need no kernel."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path

import pytest

from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount, mounted, run_fast

Mounting = Callable[..., AbstractAsyncContextManager[WorkspaceMount]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_ours = item.path.parent == Path(__file__).parent
        if is_ours and iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.trio(run=run_fast), append=False)


@pytest.fixture
def workspace() -> MemoryWorkspace:
    return MemoryWorkspace()


@pytest.fixture
def mounting(tmp_path: Path, workspace: MemoryWorkspace) -> Mounting:
    """Return what mounts the workspace; take `name` and `options`."""
    return partial(mounted, tmp_path, workspace)


@pytest.fixture(params=[True, False], ids=["passthrough", "ordinary"])
async def mount(mounting: Mounting, request: pytest.FixtureRequest) -> AsyncIterator[WorkspaceMount]:
    async with mounting(options=MountOptions(passthrough=request.param)) as made:
        yield made


@pytest.fixture
async def other(mounting: Mounting) -> AsyncIterator[WorkspaceMount]:
    """Another host."""
    async with mounting(name="there") as made:
        yield made
