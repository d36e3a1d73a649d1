"""Random operations of one writing mount against a plain dictionary; a second mount only reads."""

import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem.workspace_mount import (
    MountOptions,
    WorkspaceMount,
    mounted,
    run_fast,
    workspace_contents,
)

Contents = dict[str, bytes | None]
Operation = tuple[str, str, str, bytes]

PATHS = ["a", "b", "d", "d/a", "d/b", "e", "e/a", "d/e"]
KINDS = ["write", "write", "append", "truncate", "unlink", "mkdir", "rmdir", "rename", "rename"]
TRAFFIC = ["settle", "stop", "crash", "offline", "online", "send"]

operations = st.lists(
    st.tuples(
        st.sampled_from(KINDS * 2 + TRAFFIC),
        st.sampled_from(PATHS),
        st.sampled_from(PATHS),
        st.sampled_from([b"", b"1", b"22", b"333"]),
    ),
    max_size=25,
)


def above(path: str) -> str:
    return path.rpartition("/")[0]


def has_children(model: Contents, path: str) -> bool:
    return any(above(other) == path for other in model)


def is_directory(model: Contents, path: str) -> bool:
    return not path or (path in model and model[path] is None)


def is_possible(model: Contents, operation: Operation) -> bool:
    """Tell whether the operation succeeds; those that do not are left out."""
    kind, path, other, _ = operation
    if kind in TRAFFIC:
        return True
    if kind == "rename":
        return _can_rename(model, path, other)
    if kind == "mkdir":
        return path not in model and is_directory(model, above(path))
    if kind == "rmdir":
        return model.get(path, b"") is None and not has_children(model, path)
    if kind in ("unlink", "truncate"):
        return model.get(path) is not None
    return is_directory(model, above(path)) and not is_directory(model, path)


def _can_rename(model: Contents, path: str, other: str) -> bool:
    if path not in model or not is_directory(model, above(other)) or f"{other}/".startswith(f"{path}/"):
        return False
    if other not in model:
        return True
    return is_directory(model, path) == is_directory(model, other) and not has_children(model, other)


def apply(model: Contents, operation: Operation) -> None:
    kind, path, other, content = operation
    old = model.get(path) or b""
    if kind == "write":
        model[path] = content
    elif kind == "append":
        model[path] = old + content
    elif kind == "truncate":
        model[path] = old[: len(content)].ljust(len(content), b"\0")
    elif kind == "mkdir":
        model[path] = None
    elif kind in ("unlink", "rmdir"):
        del model[path]
    elif kind == "rename":
        for found in [found for found in model if f"{found}/".startswith(f"{path}/")]:
            model[other + found[len(path) :]] = model.pop(found)


async def perform(mount: WorkspaceMount, operation: Operation) -> None:
    kind, path, other, content = operation
    match kind:
        case "write":
            await mount.write(path, content)
        case "append":
            await mount.append(path, content)
        case "truncate":
            await mount.truncate(path, len(content))
        case "unlink":
            await mount.unlink(path)
        case "mkdir":
            await mount.mkdir(path)
        case "rmdir":
            await mount.rmdir(path)
        case "rename":
            await mount.rename(path, other)
        case _:
            await perform_traffic(mount, kind)


async def perform_traffic(mount: WorkspaceMount, kind: str) -> None:
    match kind:
        case "settle":
            mount.remote.heal()
            await mount.settle()
        case "stop":
            await mount.restart()
        case "crash":
            await mount.restart(cleanly=False)
        case "offline":
            mount.remote.go_offline()
        case "online":
            mount.remote.heal()
        case "send":
            mount.parts.sender.expedite(list(mount.tree.pending.values()))


async def run_one_writer(folder: Path, planned: list[Operation], delay_s: float) -> None:
    workspace = MemoryWorkspace()
    options = MountOptions(upload_delay_s=delay_s)
    model: Contents = {}
    async with (
        mounted(folder, workspace, options=options) as mount,
        mounted(folder, workspace, name="there") as reader,
    ):
        await mount.listdir()
        await mount.tree.journal.committed()  # what was listed is known offline, also after a crash
        await reader.listdir()
        for operation in planned:
            if is_possible(model, operation):
                apply(model, operation)
                await perform(mount, operation)
        assert await mount.contents() == model
        mount.remote.heal()
        await mount.settle()
        assert workspace_contents(workspace) == model
        for each in (mount, reader):
            await each.catch_up()
            assert await each.contents() == model
        assert mount.parts.conflicts.noticed == 0


@pytest.mark.long
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(planned=operations, delay_s=st.sampled_from([0.0, 1e6]))
def test_one_writer_agrees_with_a_dictionary(planned: list[Operation], delay_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_fast(partial(run_one_writer, Path(folder), planned, delay_s))
