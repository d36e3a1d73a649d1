"""A mount that nobody uses does nothing but wait for news."""

from typing import Final, cast

import trio
from trio.testing import MockClock

from mountfs.sync.follower import POLL_S, SURVEY_S
from tests.t3_filesystem.workspace_mount import WorkspaceMount

IDLE_S: Final = 1200.0
STEPS_OF_A_POLL: Final = 2
STEPS_OF_THE_TEST: Final = 5


class Steps(trio.abc.Instrument):
    """Counts how often a task runs."""

    def __init__(self) -> None:
        self.taken = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += 1


async def test_idle_mount_wakes_up_for_its_polls_only(mount: WorkspaceMount) -> None:
    await mount.mkdir("d")
    await mount.write("d/file", b"content")
    await mount.listdir("d")
    await mount.settle()
    await mount.catch_up()
    clock = cast("MockClock", trio.lowlevel.current_clock())
    clock.autojump_threshold = 0.05
    await trio.sleep(POLL_S)
    calls = mount.memory.calls.copy()
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await trio.sleep(IDLE_S)
    trio.lowlevel.remove_instrument(steps)
    clock.autojump_threshold = float("inf")
    polls = IDLE_S / POLL_S + 1
    assert set(mount.memory.calls - calls) <= {"changes", "nodes", "survey"}
    assert mount.memory.calls["nodes"] - calls["nodes"] <= 1, "what was changed last, at the first survey"
    assert mount.memory.calls["survey"] - calls["survey"] <= IDLE_S / SURVEY_S + 1
    assert mount.memory.calls["changes"] - calls["changes"] <= polls
    assert steps.taken <= polls * STEPS_OF_A_POLL + STEPS_OF_THE_TEST
