"""Runs the workloads: every system in turn, so that noise of the machine hits all alike."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from scripts.benchmarks.isolation import Failed, isolated
from scripts.benchmarks.processes import Absent
from scripts.benchmarks.results import BARE, Results
from scripts.benchmarks.systems import SYSTEMS
from scripts.benchmarks.systems.base import Setting, System
from scripts.benchmarks.systems.local import LocalDisk
from scripts.benchmarks.systems.mountfs import EmbeddedServer
from scripts.benchmarks.workloads.base import MEBIBYTE, Bare, NotMeasured, Place, Readings, Sizes, Workload

Tell = Callable[[str], None]

CLEAR_S: Final = 45.0
"""What a system gets to remove the files of a workload, and then to come to rest."""


@dataclass(frozen=True)
class Plan:
    """What to run; `folder` is empty and removed by the caller."""

    systems: tuple[str, ...]
    workloads: tuple[Workload, ...]
    repeats: int
    delays_ms: tuple[int, ...]
    sizes: Sizes
    limit_s: float
    settle_s: float
    """How long a system may send what a workload has prepared; then it is measured as it is.
    What has to be cold is not measured then."""
    folder: Path
    programs: Path


def run(plan: Plan, results: Results, tell: Tell) -> None:
    """Fill the results; every process and mount has ended on return, also on an interrupt."""
    near = [workload for workload in plan.workloads if not workload.relayed]
    far = [workload for workload in plan.workloads if workload.relayed]
    if near:
        with ExitStack() as ends:
            _Run(plan, results, tell, ends, relayed=False).near(near)
    if far:
        with ExitStack() as ends:
            _Run(plan, results, tell, ends, relayed=True).far(far)


def rotated(names: Sequence[str], by: int) -> Iterator[str]:
    """All of them, each turn beginning with another one."""
    start = by % len(names) if names else 0
    yield from names[start:]
    yield from names[:start]


class _Run:
    """One stage: the systems it has started, and their turns."""

    def __init__(self, plan: Plan, results: Results, tell: Tell, ends: ExitStack, *, relayed: bool) -> None:
        self._plan = plan
        self._results = results
        self._tell = tell
        self._ends = ends
        self._scratch = plan.folder / "scratch"
        self._scratch.mkdir(exist_ok=True)
        self._turn = 0
        folder = plan.folder / ("relayed" if relayed else "direct")
        self._setting = Setting(folder, plan.programs, relayed)
        self._systems = dict(self._started())

    def near(self, workloads: Iterable[Workload]) -> None:
        bare = self._bare_server() if any(workload.bare for workload in workloads) else None
        for repeat, workload in self._turns(workloads):
            for name in rotated([*self._systems, BARE], self._turn):
                if name in self._systems:
                    self._measure(self._systems[name], workload, repeat)
                elif bare is not None and workload.bare is not None:
                    self._measure_bare(workload, bare, repeat)

    def far(self, workloads: Iterable[Workload]) -> None:
        for repeat, workload in self._turns(workloads):
            for delay_ms in rotated([str(delay) for delay in self._plan.delays_ms], self._turn):
                if workload.name == "far_end" and int(delay_ms):
                    continue
                for name in rotated(list(self._systems), self._turn):
                    self._measure_far(self._systems[name], workload, repeat, int(delay_ms))

    def _turns(self, workloads: Iterable[Workload]) -> Iterator[tuple[int, Workload]]:
        for repeat in range(self._plan.repeats):
            for workload in workloads:
                self._turn += 1
                self._tell(f"{workload.name} ({repeat + 1} of {self._plan.repeats})")
                yield repeat, workload

    def _started(self) -> Iterator[tuple[str, System]]:
        for name in self._plan.systems:
            system = SYSTEMS[name](self._setting)
            if name in self._results.absent or (self._setting.relayed and not system.has_server):
                continue
            self._ends.callback(system.stop)
            try:
                system.start()
            except (Absent, OSError) as error:
                reason = self._reason(error)
                if name in self._results.versions:
                    self._results.lack("mount behind the delay proxy", name, reason)
                else:
                    self._results.absent[name] = reason
                self._tell(f"{name} is absent: {reason}")
                with suppress(RuntimeError):
                    system.stop()
                continue
            self._results.versions[name] = system.version
            yield name, system

    def _bare_server(self) -> Bare:
        folder = self._setting.folder / BARE
        folder.mkdir(parents=True)
        server = EmbeddedServer(folder)
        self._ends.callback(server.stop)
        server.wait_ready()
        return Bare(server.url(), server.token)

    def _measure_bare(self, workload: Workload, bare: Bare, repeat: int) -> None:
        assert workload.bare is not None
        function, place = workload.bare, self._place(self._plan.folder, workload, repeat)
        try:
            readings = isolated(lambda: function(place, bare), self._plan.limit_s)
        except (Failed, NotMeasured) as error:
            self._results.lack(workload.name, BARE, self._reason(error))
        else:
            self._take(readings, BARE)

    def _measure_far(self, system: System, workload: Workload, repeat: int, delay_ms: int) -> None:
        if system.relay is None:
            return
        system.relay.set_delay_ms(delay_ms)
        try:
            tag = "" if workload.name == "far_end" else f"@{delay_ms}ms"
            self._measure(system, workload, repeat, tag)
        finally:
            system.relay.set_delay_ms(0)
            self._settle(system, self._plan.settle_s)

    def _measure(self, system: System, workload: Workload, repeat: int, tag: str = "") -> None:
        if system.name == LocalDisk.name and not workload.on_disk:
            return
        if system.name in self._results.absent:
            return
        begin = time.monotonic()
        place = self._place(system.directory, workload, repeat, tag, system)
        try:
            with system.beside() if workload.beside else nullcontext() as beside:
                other = beside and beside / place.directory.name
                readings = self._readings(system, workload, replace(place, beside=other))
        except (Failed, NotMeasured, Absent) as error:
            reason = self._reason(error)
            self._results.lack(workload.name, system.name, reason)
            self._tell(f"  {system.name}: {reason}")
            self._check_alive(system)
        else:
            self._take(readings, system.name, tag)
        finally:
            self._clear(system, place)
        self._tell(f"  {system.name}{tag}: {time.monotonic() - begin:.1f} s with all around it")

    def _readings(self, system: System, workload: Workload, place: Place) -> Readings:
        prepare, limit_s = workload.prepare, self._plan.limit_s

        def make_ready() -> None:
            place.directory.mkdir()
            if prepare is not None:
                prepare(place)

        isolated(make_ready, limit_s)
        is_cold = self._settle(system, self._plan.settle_s) and workload.cold and system.forget()
        before = system.relay.received_bytes() if system.relay else 0
        readings = dict(isolated(lambda: workload.run(place), limit_s))
        if system.relay and system.relays_content and "far.transferred" in workload.metrics:
            readings["far.transferred"] = (system.relay.received_bytes() - before) / MEBIBYTE
        kept = {name: value for name, value in readings.items() if is_cold or not _needs_cold(name)}
        if not kept:
            raise NotMeasured("the server did not have everything in time, so nothing was cold")
        return kept

    def _reason(self, error: Exception) -> str:
        """The error without the place of the work folder, which means nothing to readers."""
        return str(error).replace(f"{self._setting.folder}/", "")

    def _take(self, readings: Readings, system: str, tag: str = "") -> None:
        for metric, value in readings.items():
            self._results.add(metric + tag, system, value)

    def _place(
        self, folder: Path, workload: Workload, repeat: int, tag: str = "", system: System | None = None
    ) -> Place:
        return Place(
            directory=folder / f"{workload.name}{tag.replace('@', '-')}-{repeat}",
            inputs=self._plan.folder / "inputs",
            scratch=self._scratch,
            sizes=self._plan.sizes,
            confirm=system.confirm() if system else None,
            daemon_pid=system.daemon_pid() if system else None,
        )

    def _clear(self, system: System, place: Place) -> None:
        """Leave nothing behind that works on while the next system is measured: what one still sends then is
        given up after a while."""
        if system.name in self._results.absent:
            return
        with suppress(Failed, NotMeasured):
            isolated(lambda: shutil.rmtree(place.directory, ignore_errors=True), CLEAR_S)
        if not self._settle(system, CLEAR_S):
            self._tell(f"  {system.name}: does not come to rest; mounted anew")
            system.abandon()

    def _settle(self, system: System, limit_s: float) -> bool:
        """Wait until the server has everything; tell whether it had in time."""
        confirm = system.confirm()
        if confirm is None or system.name in self._results.absent:
            return True
        try:
            isolated(confirm, limit_s)
        except (Failed, NotMeasured):
            return False
        return True

    def _check_alive(self, system: System) -> None:
        """A system that broke takes no further part."""
        try:
            isolated(lambda: system.directory.stat(), 20)
            if system.is_alive():
                return
        except Failed:
            pass
        self._results.absent[system.name] = "its mount broke during the run"
        self._tell(f"  {system.name}: its mount broke, it takes no further part")


def _needs_cold(metric: str) -> bool:
    return metric.endswith(".cold") or metric.startswith("far.")


def started_at() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
