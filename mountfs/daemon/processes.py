"""Processes by identity: a recycled pid is never taken for the process that had it before."""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process of this boot; `start_ticks` is its start time in clock ticks since the boot."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the identity of a live process; None when there is none, or only its zombie."""
        try:
            fields = _stat_fields(pid)
        except OSError:
            return None
        state, threads, start_ticks = fields[0], int(fields[17]), int(fields[19])
        # A killed process looks like a zombie while its other threads still hold its files open.
        is_zombie = state in "ZX" and threads <= 1
        return None if is_zombie else cls(pid, start_ticks, _boot_id())

    def is_alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def is_dying(self) -> bool:
        """Tell whether it was killed, but has threads that cannot end: they wait in the kernel."""
        try:
            fields = _stat_fields(self.pid)
        except OSError:
            return False
        return fields[0] == "Z" and self.is_alive()

    def wait_gone(self, timeout_s: float) -> bool:
        """Wait for the end of the process, whoever its parent is; False when it outlives the time."""
        descriptor = self._open()
        if descriptor is None:
            return True
        try:
            return bool(select.select([descriptor], [], [], timeout_s)[0])
        finally:
            os.close(descriptor)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process; nothing happens when it is gone."""
        descriptor = self._open()
        if descriptor is None:
            return
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    def _open(self) -> int | None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        # Checked after opening: from here on the descriptor cannot come to mean another process.
        if self.is_alive():
            return descriptor
        os.close(descriptor)
        return None


def _stat_fields(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    # The program's name may hold blanks and parentheses; what follows its last one does not.
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def users_of(directory: Path) -> list[tuple[int, str]]:
    """Return (pid, program) of the visible processes that have something open at or below `directory`.

    Only links in /proc are read, so that a file system that hangs does not hang the caller.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _uses(entry, os.fspath(directory)):
            found.append((int(entry.name), _program(entry)))
    return sorted(found)


def _uses(process: Path, directory: str) -> bool:
    try:
        links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
    except OSError:
        return False
    return any(_is_at_or_below(_target(link), directory) for link in links)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _is_at_or_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
