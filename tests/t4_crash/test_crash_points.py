"""SIGKILL in front of, within and behind named steps of the disk: what was acknowledged is there and is sent.

MOUNTFS_CRASH_POINTS=all tries every point, and looks with a second mount as well; a number, that many.
"""

import os
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from mountfs.daemon.settings import MountSettings, Secret
from mountfs.model.disk import DiskStep
from tests.t1_storage.faulty_disk import CrashPoint, Moment
from tests.t2_server.serving import Api, ServerProcess
from tests.t4_crash.dying_mount import Outcome, Processes
from tests.t4_crash.workload import CONFLICT, COPY, FETCHED, WORKLOAD, A, B, is_allowed, states
from tests.t4_crash.workload import with_plain_copies as plain
from tests.t5_kernel.mounted import remote_tree, sha256

HALVED = {
    *(DiskStep.WRITE_CONTENT, DiskStep.FETCH_CONTENT, DiskStep.STAGE_CONTENT, DiskStep.REPLACE_CONTENT),
    *(DiskStep.APPEND_LOG, DiskStep.BEGIN_LOG, DiskStep.COPY_ASIDE),
}
SEED = int(os.environ.get("MOUNTFS_CRASH_SEED", "1"))
LONG = "MOUNTFS_CRASH_POINTS" in os.environ
WANTED = os.environ.get("MOUNTFS_CRASH_POINTS", "8")


class Bench:
    """A server, and processes that mount a new workspace of it for each crash."""

    def __init__(self, server: ServerProcess, processes: Processes, folder: Path) -> None:
        self._server = server
        self._processes = processes
        self._folder = folder
        self.api = server.api()
        self._org = self.api.get("orgs/list/")["orgs"][0]["id"]
        self._mounts = 0
        self.reached = 0
        """How many crashes came as they were planned."""

    def new_workspace(self) -> None:
        name = f"crash-{uuid4().hex}"
        created = self.api.post(
            f"org/{self._org}/create/workspace/", folder_name=name, name=name, intelligence="false"
        )
        self.api.workspace = created["workspace"]["id"]
        self.api.upload("fetched", FETCHED)

    def new_cache(self) -> MountSettings:
        self._mounts += 1
        return MountSettings(
            url=self._server.url,
            workspace=self.api.workspace,
            mountpoint=self._folder,
            cache_dir=self._folder / f"cache-{self._mounts}",
            token=Secret(self._server.token()),
            upload_delay_s=0.02,
        )

    def work(self, settings: MountSettings, crash: CrashPoint | None, *, direct: bool) -> Outcome:
        return self._processes.run(settings, work="ordinary", direct=direct, crash=crash)

    def conflict(self, settings: MountSettings, crash: CrashPoint | None, *, direct: bool) -> Outcome:
        return self._processes.run(settings, work="conflict", direct=direct, crash=crash)

    def look(self, settings: MountSettings, crash: CrashPoint | None = None) -> Outcome:
        return self._processes.run(settings, crash=crash)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ServerProcess(tmp_path / "served", "--no-fsync") as server, Processes() as processes:
        made = Bench(server, processes, tmp_path)
        with made.api:
            yield made


def points(counts: dict[DiskStep, int]) -> list[CrashPoint]:
    return [
        CrashPoint(step, occurrence, moment)
        for step, count in counts.items()
        for occurrence in range(1, count + 1)
        for moment in Moment
        if moment is not Moment.WITHIN or step in HALVED
    ]


def chosen(found: list[CrashPoint]) -> list[CrashPoint]:
    """Return those that were asked for, in an order in which each step comes once before any comes again."""
    random.Random(SEED).shuffle(found)
    turn: dict[DiskStep, int] = {}
    order = []
    for point in found:
        turn[point.step] = turn.get(point.step, 0) + 1
        order.append((turn[point.step], point))
    order.sort(key=lambda each: each[0])
    return [point for _, point in order[: None if WANTED == "all" else int(WANTED)]]


def check(bench: Bench, settings: MountSettings, done: int) -> list[str]:
    """Mount again, and tell what is not as it was promised."""
    here = bench.look(settings)
    faults = [*here.faults, *(f"a conflict: {conflict}" for conflict in here.conflicts)]
    if here.failed or here.found is None or here.sent is None:
        return [*faults, "the mount failed"]
    if not is_allowed(here.found, done):
        faults.append(f"found {described(here.found)}, expected {described(states(done)[0])}")
    if not is_allowed(here.sent, done):
        faults.append(f"became {described(here.sent)}, expected {described(states(done)[0])}")
    if LONG and (there := bench.look(bench.new_cache())).sent != here.sent:
        faults.append(f"a second mount has {described(there.sent or {})}, not {described(here.sent)}")
    return [*faults, *workspace_faults(bench.api, here)]


def workspace_faults(api: Api, here: Outcome) -> Iterator[str]:
    assert here.sent is not None
    remote = remote_tree(api)
    local = {path: "" if content is None else sha256(content) for path, content in here.sent.items()}
    if (has := {path: node.sha256 for path, node in remote.items()}) != local:
        yield f"the workspace has {has}, not {local}"
    for path, node in remote.items():
        if node.kind == "file":
            hashes = [version["hash"] for version in api.versions(node.id)]
            if any(one == other for one, other in pairwise(hashes)):
                yield f"{path} has one version twice"


def described(contents: dict[str, bytes | None]) -> dict[str, str]:
    return {
        path: "folder" if content is None else f"{len(content)} {sha256(content)[:6]}"
        for path, content in sorted(contents.items())
    }


def crash_at(bench: Bench, point: CrashPoint, *, direct: bool, again: CrashPoint | None = None) -> list[str]:
    """Die there, `again` in the mount after it, and return what is wrong then."""
    bench.new_workspace()
    settings = bench.new_cache()
    outcome = bench.work(settings, point, direct=direct)
    if again is not None:
        bench.reached += bench.look(settings, again).killed
    else:
        bench.reached += outcome.killed
    faults = ["it failed"] if outcome.failed else check(bench, settings, outcome.done)
    return [f"{point}, then {again}, {outcome.done} done: {fault}" for fault in faults]


@pytest.mark.timeout(0 if LONG else 120)
@pytest.mark.parametrize("direct", [False, True], ids=["ordinary", "passthrough"])
@pytest.mark.long
def test_what_was_acknowledged_outlives_a_kill_at_any_step(bench: Bench, direct: bool) -> None:
    bench.new_workspace()
    settings = bench.new_cache()
    whole = bench.work(settings, None, direct=direct)
    assert whole.done == len(WORKLOAD)
    assert check(bench, settings, whole.done) == []
    found = chosen(points(whole.counts))
    wrong = [fault for point in found for fault in crash_at(bench, point, direct=direct)]
    print(f"{bench.reached} of {len(found)} points were reached")
    assert wrong == []


@pytest.mark.timeout(0 if LONG else 120)
def test_recovery_may_be_killed_as_well(bench: Bench) -> None:
    """Steps of a start, and of all that it brings about, after a kill in the middle of the work."""
    bench.new_workspace()
    settings = bench.new_cache()
    first = CrashPoint(DiskStep.APPEND_LOG, 14, Moment.AFTER)
    bench.work(settings, first, direct=False)
    found = chosen(points(bench.look(settings).counts))[: None if LONG else 4]
    wrong = [fault for point in found for fault in crash_at(bench, first, direct=False, again=point)]
    print(f"{bench.reached} of {len(found)} points were reached")
    assert wrong == []


@pytest.mark.timeout(0 if LONG else 120)
@pytest.mark.parametrize("direct", [False, True], ids=["ordinary", "passthrough"])
@pytest.mark.long
def test_both_sides_outlive_a_kill_while_ours_is_copied_aside(bench: Bench, direct: bool) -> None:
    """The content of a file that a program has open: until the copy is known, the file itself has ours."""
    bench.new_workspace()
    whole = bench.conflict(bench.new_cache(), None, direct=direct)
    assert whole.done == len(CONFLICT)
    found = [point for point in points(whole.counts) if point.step is DiskStep.COPY_ASIDE]
    wrong = []
    for point in found:
        bench.new_workspace()
        settings = bench.new_cache()
        bench.reached += bench.conflict(settings, point, direct=direct).killed
        wrong += [f"{point}: {fault}" for fault in _conflict_faults(bench, settings)]
    assert wrong == []
    assert bench.reached == len(found) > 0


def _conflict_faults(bench: Bench, settings: MountSettings) -> list[str]:
    here = bench.look(settings)
    there = bench.look(bench.new_cache())
    if here.found is None or here.sent is None:
        return [*here.faults, "the mount failed"]
    faults = [*here.faults, *workspace_faults(bench.api, here)]
    if here.found != {"fetched": A}:
        faults.append(f"found {described(here.found)}")
    if plain(here.sent) != {"fetched": B, f"fetched {COPY}": A}:
        faults.append(f"became {described(here.sent)}")
    if there.sent != here.sent:
        faults.append(f"a second mount has {described(there.sent or {})}")
    if len(here.conflicts) != 1:
        faults.append(f"{len(here.conflicts)} conflicts are told of")
    return faults
