"""Mounts without a kernel in processes that die at a named step of the disk.

Run as a program it imports everything once and forks a process for each line on its standard input, a
`Task` in JSON; what that process tells, and how it ended, are lines on the standard output.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import trio

from mountfs.daemon.parts import Outside, Parts
from mountfs.daemon.settings import MountSettings
from mountfs.model.disk import DiskStep
from mountfs.remotes.fastio.http import last_request_id
from mountfs.remotes.fastio.service import FastioService
from mountfs.storage import recovery
from mountfs.storage.audit import audit
from mountfs.storage.content import ContentFiles
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheDirectory
from mountfs.storage.spare_files import SpareFiles
from tests.t1_storage.faulty_disk import CrashPoint, FaultyDisk, Moment
from tests.t3_filesystem.recording_notifier import RecordingNotifier
from tests.t4_crash.workload import LIMIT_S, WORKLOADS, BareMount, Contents


@dataclass(frozen=True)
class Task:
    """`work`: the workload to do; without one only look, and let the queue be sent. `crash`: where to die."""

    settings: str
    work: str | None
    direct: bool
    crash: tuple[str, int, str] | None


@dataclass
class Outcome:
    """What a process told before it ended, in whatever way."""

    done: int = 0
    counts: dict[DiskStep, int] = field(default_factory=dict)
    found: Contents | None = None
    """At the start, before anything was sent."""
    sent: Contents | None = None
    """When the workspace had confirmed everything."""
    conflicts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    killed: bool = False
    failed: bool = False


@asynccontextmanager
async def bare_mount(settings: MountSettings, disk: FaultyDisk, *, direct: bool) -> AsyncIterator[BareMount]:
    """Give a running mount, wired by the daemon's own composition, and stop it as an unmount does."""
    directory = CacheDirectory.claim(settings.cache_dir)
    folder = directory.layout.content
    spare = SpareFiles(lambda count: [_unnamed(folder) for _ in range(count)], disk=disk)
    content_files = ContentFiles(folder, directory.layout.index, disk=disk, spare=spare)
    service = FastioService(settings.url, settings.token.reveal())
    workspace = await service.find_workspace(settings.workspace)
    journal = SqliteJournal(directory.layout.journal, workspace=workspace.id, disk=disk)
    recovery.recover(journal, content_files)
    journal.start()
    remote = service.remote(workspace.id)
    outside = Outside(
        remote=remote,
        history=remote,
        kernel=RecordingNotifier(),
        host="here",
        lease_clock=trio.current_time,
        request_id=last_request_id,
    )
    parts = Parts(settings, outside, journal, content_files)
    parts.content.direct.is_possible = lambda: direct
    await parts.load()
    async with trio.open_nursery() as traffic:
        for run in (parts.content.run, parts.refresher.run, parts.sender.run, parts.follower.run):
            await traffic.start(run)
        traffic.start_soon(parts.remove_orphans)
        yield BareMount(parts)
        await parts.orphans_removed.wait()
        await parts.content.upkeep.save_index()
        traffic.cancel_scope.cancel()
    await journal.aclose()
    content_files.close()
    await service.aclose()
    directory.release()


def _unnamed(folder: Path) -> int:
    """Make a file as the C extension does, which a mount without a kernel has no use for."""
    return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)


async def run_task(task: Task) -> None:
    crash = None
    if task.crash is not None:
        step, occurrence, moment = task.crash
        crash = CrashPoint(DiskStep(step), occurrence, Moment(moment))
    disk = FaultyDisk(crash=crash)
    settings = MountSettings.load(task.settings)
    with trio.fail_after(LIMIT_S):
        async with bare_mount(settings, disk, direct=task.direct) as mount:
            await (_look(mount) if task.work is None else _work(mount, task.work))
    tell(counts=disk.counts)
    if task.work is None:
        tell(faults=_faults(settings))


async def _work(mount: BareMount, workload: str) -> None:
    await mount.listdir()
    for number, operation in enumerate(WORKLOADS[workload], 1):
        await operation.perform(mount)
        tell(done=number)


async def _look(mount: BareMount) -> None:
    tell(found=_shown(await mount.contents()))
    await mount.settle()
    await mount.catch_up()
    await mount.settle()
    tell(sent=_shown(await mount.contents()))
    tell(conflicts=[str(conflict) for conflict in mount.parts.tree.conflicts.values()])


def _faults(settings: MountSettings) -> list[str]:
    """Check the cache that was left."""
    directory = CacheDirectory.claim(settings.cache_dir)
    content_files = ContentFiles(directory.layout.content, directory.layout.index)
    journal = SqliteJournal(directory.layout.journal, workspace=settings.workspace)
    return audit(journal, content_files)


def _shown(contents: Contents) -> dict[str, str | None]:
    return {path: None if content is None else content.hex() for path, content in contents.items()}


def _contents(shown: dict[str, str | None]) -> Contents:
    return {path: None if text is None else bytes.fromhex(text) for path, text in shown.items()}


def tell(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


class Processes:
    """The program below, and what its processes tell; one process at a time."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.t4_crash.dying_mount"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._program:
            assert self._program.stdin
            self._program.stdin.close()

    def run(
        self,
        settings: MountSettings,
        *,
        work: str | None = None,
        direct: bool = False,
        crash: CrashPoint | None = None,
    ) -> Outcome:
        point = None if crash is None else (crash.step.value, crash.occurrence, crash.moment.value)
        task = Task(settings.dump(), work, direct, point)
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps(asdict(task)) + "\n")
        self._program.stdin.flush()
        outcome = Outcome()
        for line in self._program.stdout:
            try:
                told = json.loads(line)
            except json.JSONDecodeError:
                continue  # it was killed while it told that
            if "ended" in told:
                outcome.killed = told["ended"] == -signal.SIGKILL
                outcome.failed = told["ended"] > 0
                return outcome
            _take(outcome, told)
        raise AssertionError("the program ended")


def _take(outcome: Outcome, told: dict[str, Any]) -> None:
    outcome.done = told.get("done", outcome.done)
    if "counts" in told:
        outcome.counts = {DiskStep(step): count for step, count in told["counts"].items()}
    outcome.faults += told.get("faults", ())
    outcome.conflicts += told.get("conflicts", ())
    for name in ("found", "sent"):
        if name in told:
            setattr(outcome, name, _contents(told[name]))


def main() -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # what recovery warns of is checked by its effect
    for line in sys.stdin:
        child = os.fork()
        if not child:
            task = Task(**json.loads(line))
            code = 1
            try:
                trio.run(run_task, task)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        os.write(1, b"\n")  # behind what it may have told in part
        tell(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
