"""Two hosts change one workspace at random: whatever they do, nothing is lost and both agree at the end.

Each content is written once only, so that it can be told what became of it. What a program had before its
eyes when it overwrote or removed it is given up; every other content has to be somewhere: in a file where
each host has heard of the other's changes before it sends and keeps both, else at least in the history of
a node or in the trash, since the API can neither create nor delete on a condition.
"""

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mountfs.model.errors import MountfsError
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.sync.content_steps import ConflictPolicy
from tests.t3_filesystem.workspace_mount import (
    MountOptions,
    WorkspaceMount,
    mounted,
    run_fast,
    workspace_contents,
)

PATHS = ["a", "b", "d", "d/a", "d/b", "e", "e/a", "d/e"]
CHANGES = ["write", "write", "edit", "unlink", "mkdir", "rename", "rename", "remove"]
TRAFFIC = ["settle", "settle", "catch up", "offline", "online", "stop", "crash", "send"]

steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.sampled_from(CHANGES * 2 + TRAFFIC),
        st.sampled_from(PATHS),
        st.sampled_from(PATHS),
    ),
    max_size=24,
)

Step = tuple[int, str, str, str]


@dataclass
class Writers:
    """What both did. `written` are all contents, `given_up` those that a program saw and let go."""

    mounts: tuple[WorkspaceMount, WorkspaceMount]
    informed: bool
    """Whether a host hears of the other's changes before it sends."""
    written: set[bytes] = field(default_factory=set)
    given_up: set[bytes] = field(default_factory=set)

    def new_content(self) -> bytes:
        content = b"content %d" % len(self.written)
        self.written.add(content)
        return content

    async def perform(self, step: Step) -> None:
        number, kind, path, other = step
        mount = self.mounts[number]
        match kind:
            case "write" | "edit" | "unlink" | "mkdir" | "rename" | "remove":
                await self._change(mount, kind, path, other)
            case "settle":
                mount.remote.heal()
                await self._hear(mount)
                await mount.settle()
            case "catch up":
                mount.remote.heal()
                await mount.catch_up()
            case "offline":
                mount.remote.go_offline()
            case "online":
                mount.remote.heal()
            case "stop":
                await mount.restart()
            case "crash":
                await mount.restart(cleanly=False)
            case "send" if not self.informed:
                mount.parts.sender.expedite(list(mount.tree.pending.values()))

    async def _hear(self, mount: WorkspaceMount) -> None:
        if self.informed:
            await mount.catch_up()

    async def _change(self, mount: WorkspaceMount, kind: str, path: str, other: str) -> None:
        try:
            seen = await mount.contents()
        except MountfsError:
            # Offline, and not known here: a program could not do anything either.
            return
        folder = path.rpartition("/")[0]
        is_folder = seen.get(path, b"") is None
        if folder and seen.get(folder, b"") is not None:
            return
        old = seen.get(path)
        if old is not None if kind == "edit" else (kind == "write" and not is_folder):
            self._give_up(old)
            await mount.write(path, self.new_content())
        elif kind == "unlink" and old is not None:
            self._give_up(old)
            await mount.unlink(path)
        elif kind == "mkdir" and path not in seen:
            await mount.mkdir(path)
        elif kind == "remove" and is_folder:
            for below, content in seen.items():
                if below.startswith(f"{path}/"):
                    self._give_up(content)
            await mount.remove_tree(path)
        elif kind == "rename" and path in seen:
            await self._rename(mount, seen, path, other)

    async def _rename(
        self, mount: WorkspaceMount, seen: dict[str, bytes | None], path: str, other: str
    ) -> None:
        try:
            await mount.rename(path, other)
        except MountfsError:
            return
        if path != other:
            self._give_up(seen.get(other))

    def _give_up(self, content: bytes | None) -> None:
        if content is not None:
            self.given_up.add(content)


async def agree(mounts: tuple[WorkspaceMount, WorkspaceMount], workspace: MemoryWorkspace) -> None:
    for _ in range(3):
        for mount in mounts:
            mount.remote.heal()
            await mount.catch_up()
            await mount.settle()
    for mount in mounts:
        await mount.catch_up()
        assert mount.failures() == {}
        assert await mount.contents() == workspace_contents(workspace)


async def run_two_writers(folder: Path, planned: list[Step], policy: ConflictPolicy, informed: bool) -> None:
    workspace = MemoryWorkspace()
    options = MountOptions(conflict=policy)
    async with (
        mounted(folder, workspace, options=options) as here,
        mounted(folder, workspace, name="there", options=options) as there,
    ):
        writers = Writers((here, there), informed)
        for step in planned:
            await writers.perform(step)
        await agree(writers.mounts, workspace)
        kept = set(workspace.files().values())
        if not informed or policy == "last-writer-wins":
            kept |= workspace.all_contents()
        lost = writers.written - writers.given_up - kept
        assert not lost
        for mount in writers.mounts:
            for conflict in mount.tree.conflicts.values():
                assert mount.tree.inodes[conflict.ino].is_linked


@pytest.mark.long
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    planned=steps,
    policy=st.sampled_from(["keep-both", "keep-both", "last-writer-wins"]),
    informed=st.booleans(),
)
def test_two_writers_lose_nothing_and_agree(
    planned: list[Step], policy: ConflictPolicy, informed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_fast(partial(run_two_writers, Path(folder), planned, policy, informed))
