"""Runs the workloads: every system in turn, so that noise of the machine hits all alike."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from scripts.benchmarks import inputs
from scripts.benchmarks.isolation import Failed, isolated
from scripts.benchmarks.processes import Absent
from scripts.benchmarks.results import BARE, Results
from scripts.benchmarks.stages import Stage
from scripts.benchmarks.systems import SYSTEMS
from scripts.benchmarks.systems.base import Setting, System
from scripts.benchmarks.systems.local import LocalDisk
from scripts.benchmarks.systems.mountfs import EmbeddedServer
from scripts.benchmarks.workloads.base import MEBIBYTE, Bare, NotMeasured, Place, Readings, Workload
from scripts.lib.relay import Relay

Tell = Callable[[str], None]

CLEAR_S: Final = 45.0
"""What a system gets to remove the files of a workload, and then to come to rest."""


@dataclass(frozen=True)
class Plan:
    """What to run; `folder` is empty and removed by the caller."""

    stages: tuple[Stage, ...]
    repeats: int
    folder: Path
    programs: Path


def run(plan: Plan, results: Results, tell: Tell) -> None:
    """Fill the results; every process and mount has ended on return, also on an interrupt.

    A stage that cannot go on is noted, and the next one begins.
    """
    for stage in plan.stages:
        results.sizes[stage.name] = asdict(stage.sizes)
        begin = time.monotonic()
        try:
            with ExitStack() as ends:
                _Run(plan, stage, results, tell, ends).all()
        except Exception as error:
            results.lack(f"the rest of stage {stage.name}", "all systems", f"{type(error).__name__}: {error}")
        tell(f"stage {stage.name} took {time.monotonic() - begin:.0f} s")


def rotated(names: Sequence[str], by: int) -> Iterator[str]:
    """All of them, each turn beginning with another one."""
    start = by % len(names) if names else 0
    yield from names[start:]
    yield from names[:start]


@dataclass(frozen=True)
class _BareLoop:
    """The embedded server for bare loops, and the delay proxy before it."""

    server: Bare
    relay: Relay | None


class _Run:
    """One stage: the systems it has started, and their turns."""

    def __init__(self, plan: Plan, stage: Stage, results: Results, tell: Tell, ends: ExitStack) -> None:
        self._stage = stage
        self._repeats = plan.repeats
        self._results = results
        self._tell = tell
        self._ends = ends
        folder = plan.folder / stage.name
        self._inputs, self._scratch = folder / "inputs", folder / "scratch"
        for made in (self._inputs, self._scratch):
            made.mkdir(parents=True)
        self._setting = Setting(folder, plan.programs, stage.relayed)
        self._broken: set[str] = set()
        tell(f"inputs of stage {stage.name}")
        inputs.prepare(self._inputs, stage.sizes)
        self._systems = dict(self._started())

    def all(self) -> None:
        bare = self._bare_loop() if any(workload.bare for workload in self._stage.workloads) else None
        turn = 0
        for repeat in range(self._repeats):
            for workload in self._stage.workloads:
                turn += 1
                self._tell(f"{self._stage.name}: {workload.name} ({repeat + 1} of {self._repeats})")
                for name in rotated([*self._systems, BARE], turn):
                    for delays_ms in self._stage.turns(workload):
                        if name in self._systems:
                            self._measure(self._systems[name], workload, repeat, delays_ms)
                        elif bare is not None:
                            self._measure_bare(bare, workload, repeat, delays_ms)

    def _started(self) -> Iterator[tuple[str, System]]:
        for name in self._stage.systems:
            system = SYSTEMS[name](self._setting)
            if name in self._results.absent or (self._stage.relayed and not system.has_server):
                continue
            self._ends.callback(self._stop, system)
            try:
                system.start()
            except (Absent, OSError) as error:
                reason = self._reason(error)
                if name in self._results.versions:
                    self._results.lack(f"stage {self._stage.name}", name, reason)
                else:
                    self._results.absent[name] = reason
                self._tell(f"{name} is absent: {reason}")
                self._stop(system)
                continue
            self._results.versions[name] = system.version
            yield name, system

    def _stop(self, system: System) -> None:
        """A mount that cannot be unmounted stays: that is no reason to lose what was measured."""
        try:
            system.stop()
        except (OSError, RuntimeError) as error:
            self._tell(f"{system.name} does not end: {error}")

    def _bare_loop(self) -> _BareLoop:
        folder = self._setting.folder / BARE
        folder.mkdir(parents=True)
        server = EmbeddedServer(folder)
        self._ends.callback(server.stop)
        server.wait_ready()
        relay = Relay.started(server.port) if self._stage.relayed else None
        if relay is not None:
            self._ends.callback(relay.stop)
        return _BareLoop(Bare(server.url(relay.port if relay else None), server.token), relay)

    def _measure_bare(
        self, bare: _BareLoop, workload: Workload, repeat: int, delays_ms: Sequence[int]
    ) -> None:
        if workload.bare is None:
            return
        for delay_ms in delays_ms:
            tag = self._stage.tag(delay_ms)
            place = self._place(self._setting.folder, f"{workload.name}{tag}", repeat)
            if bare.relay is not None:
                bare.relay.set_delay_ms(delay_ms)
            try:
                readings = isolated(partial(workload.bare, place, bare.server), self._stage.limit_s)
            except (Failed, NotMeasured) as error:
                self._results.lack(f"{workload.name}{tag}", BARE, self._reason(error))
            else:
                self._take(readings, BARE, tag)

    def _measure(self, system: System, workload: Workload, repeat: int, delays_ms: Sequence[int]) -> None:
        """Whatever goes wrong is noted: the trouble of one system must not cost what others have shown."""
        if system.name == LocalDisk.name and not workload.on_disk:
            return
        tags = [self._stage.tag(delay_ms) for delay_ms in delays_ms]
        if system.name in self._broken:
            self._lack(workload, tags, system, "its mount broke before")
            return
        begin = time.monotonic()
        name = f"{workload.name}{tags[0]}"
        place = self._place(system.directory, name, repeat, system)
        try:
            with system.beside() if workload.beside else nullcontext() as beside:
                place = replace(place, beside=beside and beside / place.directory.name)
                self._make_ready(system, workload, place)
                for delay_ms in delays_ms:
                    self._take(self._readings(system, workload, place, delay_ms), system.name, tags[0])
                    tags.pop(0)
        except Exception as error:
            self._lack(workload, tags, system, self._reason(error))
            self._check_alive(system)
        finally:
            self._clear(system, place)
        self._tell(f"  {system.name}, {name}: {time.monotonic() - begin:.1f} s with all around it")

    def _lack(self, workload: Workload, tags: Sequence[str], system: System, reason: str) -> None:
        for tag in tags:
            self._results.lack(f"{workload.name}{tag}", system.name, reason)
            self._tell(f"  {system.name}{tag}: {reason}")

    def _make_ready(self, system: System, workload: Workload, place: Place) -> None:
        prepare = workload.prepare

        def make_ready() -> None:
            place.directory.mkdir()
            if prepare is not None:
                prepare(place)

        isolated(make_ready, self._stage.limit_s)

    def _readings(self, system: System, workload: Workload, place: Place, delay_ms: int) -> Readings:
        is_cold = self._settle(system, self._stage.settle_s) and workload.cold and system.forget()
        place = replace(place, confirm=system.confirm(), daemon_pid=system.daemon_pid())
        before = system.received_bytes()
        with system.delayed(delay_ms):
            readings = dict(isolated(partial(workload.run, place), self._stage.limit_s))
        if system.relays and "far.transferred" in workload.metrics:
            readings["far.transferred"] = (system.received_bytes() - before) / MEBIBYTE
        kept = {name: value for name, value in readings.items() if is_cold or not _needs_cold(name)}
        if not kept:
            raise NotMeasured("the server did not have everything in time, so nothing was cold")
        return kept

    def _reason(self, error: Exception) -> str:
        """The error without the place of the work folder, which means nothing to readers."""
        return (str(error) or type(error).__name__).replace(f"{self._setting.folder}/", "")

    def _take(self, readings: Readings, system: str, tag: str = "") -> None:
        for metric, value in readings.items():
            self._results.add(metric + tag, system, value)

    def _place(self, folder: Path, name: str, repeat: int, system: System | None = None) -> Place:
        return Place(
            directory=folder / f"{name.replace('@', '-')}-{repeat}",
            inputs=self._inputs,
            scratch=self._scratch,
            sizes=self._stage.sizes,
            confirm=system.confirm() if system else None,
            daemon_pid=system.daemon_pid() if system else None,
        )

    def _clear(self, system: System, place: Place) -> None:
        """Leave nothing behind that works on while the next system is measured: what one still sends then is
        given up after a while."""
        if system.name in self._broken:
            return
        with suppress(Failed, NotMeasured):
            isolated(lambda: shutil.rmtree(place.directory, ignore_errors=True), CLEAR_S)
        if not self._settle(system, CLEAR_S):
            self._tell(f"  {system.name}: does not come to rest; mounted anew")
            try:
                system.abandon()
            except Exception as error:
                self._break(system, self._reason(error))

    def _settle(self, system: System, limit_s: float) -> bool:
        """Wait until the server has everything; tell whether it had in time."""
        confirm = system.confirm()
        if confirm is None or system.name in self._broken:
            return True
        try:
            isolated(confirm, limit_s)
        except (Failed, NotMeasured):
            return False
        return True

    def _check_alive(self, system: System) -> None:
        """A system that broke takes no further part in this stage."""
        with suppress(Failed, NotMeasured):
            isolated(lambda: system.directory.stat(), 20)
            if system.is_alive():
                return
        self._break(system, "its mount broke")

    def _break(self, system: System, reason: str) -> None:
        self._broken.add(system.name)
        self._tell(f"  {system.name}: takes no further part in this stage: {reason}")


def _needs_cold(metric: str) -> bool:
    return metric.endswith(".cold") or metric.startswith("far.")


def started_at() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
