"""The file system below the cache, with errors, short writes and the death of the process at named steps."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from mountfs.model.allocation import Allocation
from mountfs.model.disk import DiskStep
from mountfs.storage.system_disk import SystemDisk

T = TypeVar("T")

INDEX_STEPS = {DiskStep.SAVE_INDEX, DiskStep.FORGET_INDEX}


class Moment(StrEnum):
    BEFORE = "before"
    WITHIN = "within"
    """A write has done its first half; what cannot be halved has not begun."""
    AFTER = "after"


@dataclass(frozen=True)
class CrashPoint:
    """The process dies at the `occurrence`th time of a step, from 1."""

    step: DiskStep
    occurrence: int
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.step} {self.occurrence}"


class FaultyDisk(SystemDisk):
    """Everything happens on the real disk, but what a test says; may be used from several threads."""

    def __init__(self, *, crash: CrashPoint | None = None) -> None:
        self.counts: Counter[DiskStep] = Counter()
        self.observer: Callable[[DiskStep], None] | None = None
        """Called with each step that was done, while no other is done; the index is left out, as one step
        may wait in its database for another."""
        self._crash = crash
        self._errors: dict[DiskStep, tuple[int, int | None]] = {}
        self._short: dict[DiskStep, int | None] = {}
        self._lock = threading.Lock()
        self._observing = threading.Lock()

    def fail(self, *steps: DiskStep, errno: int, times: int | None = None) -> None:
        """From now on these steps fail, so many times each."""
        for step in steps:
            self._errors[step] = (errno, times)

    def shorten(self, *steps: DiskStep, times: int | None = None) -> None:
        """From now on these steps write one half of what they are told to."""
        for step in steps:
            self._short[step] = times

    def heal(self) -> None:
        self._errors.clear()
        self._short.clear()

    # The port.

    def open(self, step: DiskStep, path: str | Path, flags: int) -> int:
        return self._do(step, lambda: super(FaultyDisk, self).open(step, path, flags))

    def write(self, step: DiskStep, descriptor: int, content: bytes, offset: int) -> int:
        def write(size: int) -> int:
            return super(FaultyDisk, self).write(step, descriptor, content[:size], offset)

        size = len(content)
        return self._do(step, lambda: write(size), lambda: write(size // 2))

    def allocate(self, step: DiskStep, descriptor: int, allocation: Allocation) -> None:
        self._do(step, lambda: super(FaultyDisk, self).allocate(step, descriptor, allocation))

    def copy(
        self, step: DiskStep, source: int, offset: int, target: int, target_offset: int, size: int
    ) -> int:
        def copy(size: int) -> int:
            return super(FaultyDisk, self).copy(step, source, offset, target, target_offset, size)

        return self._do(step, lambda: copy(size), lambda: copy(size // 2))

    def resize(self, step: DiskStep, descriptor: int, size: int) -> None:
        self._do(step, lambda: super(FaultyDisk, self).resize(step, descriptor, size))

    def sync(self, step: DiskStep, descriptor: int) -> None:
        self._do(step, lambda: super(FaultyDisk, self).sync(step, descriptor))

    def write_back(self, step: DiskStep, descriptor: int) -> None:
        self._do(step, lambda: super(FaultyDisk, self).write_back(step, descriptor))

    def unlink(self, step: DiskStep, path: Path) -> None:
        self._do(step, lambda: super(FaultyDisk, self).unlink(step, path))

    def rename(self, step: DiskStep, path: Path, target: Path) -> None:
        self._do(step, lambda: super(FaultyDisk, self).rename(step, path, target))

    def link(self, step: DiskStep, descriptor: int, path: str) -> None:
        self._do(step, lambda: super(FaultyDisk, self).link(step, descriptor, path))

    def commit(self, step: DiskStep, transaction: Callable[[], object]) -> None:
        self._do(step, transaction)

    def _do(self, step: DiskStep, whole: Callable[[], T], half: Callable[[], T] | None = None) -> T:
        with self._lock:
            self.counts[step] += 1
            crash = self._crash
            dies = crash is not None and (crash.step, crash.occurrence) == (step, self.counts[step])
            number = self._next_error(step)
            is_short = half is not None and self._is_short(step)
        if dies and crash is not None and crash.moment is not Moment.AFTER:
            if half is not None and crash.moment is Moment.WITHIN:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        if number is not None:
            raise OSError(number, os.strerror(number))
        act = half if half is not None and is_short else whole
        if self.observer is not None and step not in INDEX_STEPS:
            with self._observing:
                result = act()
                self.observer(step)
        else:
            result = act()
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def _next_error(self, step: DiskStep) -> int | None:
        number, times = self._errors.get(step, (0, 0))
        if times == 0:
            return None
        self._errors[step] = (number, None if times is None else times - 1)
        return number

    def _is_short(self, step: DiskStep) -> bool:
        times = self._short.get(step, 0)
        if times:
            self._short[step] = times - 1
        return times is None or times > 0
