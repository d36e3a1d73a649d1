"""Random changes on mounts of a workspace that is slow: each call and each answer takes a time of its own.

A seed gives the changes and how the times are chosen, not which call gets which time: threads have their
own pace. So what one run finds may need several of the same seed to be found again.
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryWorkspace
from tests.t3_filesystem import test_model as model_test
from tests.t3_filesystem import test_two_writers as writers_test
from tests.t3_filesystem.workspace_mount import MountOptions, mounted, run_fast, workspace_contents

LONGEST_DELAYS_S: Final = (0.0, 0.2, 1.0, 3.0)
UPLOAD_DELAYS_S: Final = (0.0, 0.1, 1.0)
CHANGES_EACH: Final = 40
CONTENTS: Final = (b"", b"1", b"22", b"333")

Step = tuple[int, str, str, str, bytes]
"""Which mount, what it does, the path, another path, and a content; `pause` gives what is under way time."""


def plan(seed: int, *, writers: int) -> list[Step]:
    """Return the changes that this many mounts make."""
    chance = random.Random(f"{seed} changes")
    if writers == 1:
        kinds = [*model_test.KINDS * 3, *model_test.TRAFFIC, *["pause"] * 6]
    else:
        kinds = [*writers_test.CHANGES * 3, *writers_test.TRAFFIC, *["pause"] * 6]
    paths = model_test.PATHS
    return [
        (
            chance.randrange(writers),
            chance.choice(kinds),
            chance.choice(paths),
            chance.choice(paths),
            chance.choice(CONTENTS),
        )
        for _ in range(CHANGES_EACH)
    ]


def run(folder: Path, seed: int, steps: list[Step], *, writers: int) -> None:
    """Make the changes, and raise AssertionError where not everything is as it should be at the end."""
    run_fast(partial(_run_one if writers == 1 else _run_two, folder, seed, steps))


def _slow(seed: int, remotes: list[FaultyRemote]) -> Callable[[], float]:
    """Slow the remotes down; return how long a pause is."""
    chance = random.Random(f"{seed} delays")
    longest = chance.choice(LONGEST_DELAYS_S)
    for remote in remotes:
        remote.delay(lambda: chance.random() ** 2 * longest)
    return lambda: chance.random() * max(longest, 0.2)


async def _run_one(folder: Path, seed: int, steps: list[Step]) -> None:
    """One mount writes, against a dictionary; another only reads."""
    workspace = MemoryWorkspace()
    options = _options(seed)
    model: model_test.Contents = {}
    async with (
        mounted(folder, workspace, options=options) as mount,
        mounted(folder, workspace, name="there") as reader,
    ):
        await mount.listdir()
        await mount.tree.journal.committed()  # what was listed is known offline, also after a crash
        await reader.listdir()
        pause_s = _slow(seed, [mount.remote, reader.remote])
        for _, kind, path, other, content in steps:
            operation = kind, path, other, content
            if kind == "pause":
                await trio.sleep(pause_s())
            elif model_test.is_possible(model, operation):
                model_test.apply(model, operation)
                await model_test.perform(mount, operation)
        assert await mount.contents() == model
        mount.remote.heal()
        await mount.settle()
        assert workspace_contents(workspace) == model
        for each in (mount, reader):
            await each.catch_up()
            assert await each.contents() == model
        assert mount.parts.conflicts.noticed == 0


async def _run_two(folder: Path, seed: int, steps: list[Step]) -> None:
    """Two mounts write. What one of them overwrites may have come between its look and its write, so it is
    enough that it is in a history."""
    workspace = MemoryWorkspace()
    options = _options(seed)
    async with (
        mounted(folder, workspace, options=options) as here,
        mounted(folder, workspace, name="there", options=options) as there,
    ):
        pause_s = _slow(seed, [here.remote, there.remote])
        writers = writers_test.Writers((here, there), informed=False)
        for number, kind, path, other, _ in steps:
            if kind == "pause":
                await trio.sleep(pause_s())
            else:
                await writers.perform((number, kind, path, other))
        await writers_test.agree(writers.mounts, workspace)
        assert not writers.written - writers.given_up - workspace.all_contents()


def _options(seed: int) -> MountOptions:
    chance = random.Random(f"{seed} options")
    return MountOptions(upload_delay_s=chance.choice(UPLOAD_DELAYS_S), passthrough=chance.random() < 0.5)
