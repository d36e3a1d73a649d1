"""Programs the benchmark starts, and mounts it makes: each with its end."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

START_S = 40.0
STOP_S = 15.0


class Absent(Exception):
    """A system cannot be prepared here; the text is the reason that is reported."""


def find_program(name: str, folders: Sequence[Path] = ()) -> str:
    """Return the path of a program, looked for in the folders first; raises Absent."""
    places = [*map(str, folders), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise Absent(f"{name} is not installed")
    return found


def free_port(also: int = 0) -> int:
    """Return a loopback port nobody uses; with `also`, the port that much higher is free, too."""
    for port in range(21000 + os.getpid() % 5000, 40000):
        if _is_free(port) and (not also or _is_free(port + also)):
            return port
    raise Absent("no free port")


_given: set[int] = set()


def _is_free(port: int) -> bool:
    if port in _given:
        return False
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    _given.add(port)
    return True


def answers(port: int) -> bool:
    """Whether something accepts connections at a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    """Look until the condition holds; raises Absent when it does not in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise Absent(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.02)


def run_tool(
    command: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float = 120
) -> str:
    """Run a program to its end and return what it printed; raises Absent with its complaint."""
    full = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(
            command, env=full, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{Path(command[0]).name}: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Absent(f"{Path(command[0]).name}: {lines[-1] if lines else done.returncode}")
    return done.stdout


class Program:
    """A running program in a session of its own, its output in a log file."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = Path(command[0]).name
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the program to be ready; raises Absent with the end of its log when it ends first."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise Absent(f"{self.name} ended: {self.last_words()}")
            return condition()

        wait_until(ready, what)

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][-200:] if lines else f"exit code {self.process.returncode}"

    def stop(self) -> None:
        """End the program and whatever it started in its session."""
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait(STOP_S)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def unmount(mountpoint: Path) -> None:
    """Unmount if something is mounted there, by force if it must be."""
    commands = (["umount"], ["fusermount3", "-u"], ["umount", "-l"], ["fusermount3", "-u", "-z"])
    for command in commands:
        if not is_mounted(mountpoint):
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*command, str(mountpoint)], capture_output=True, timeout=STOP_S, check=False)
    if is_mounted(mountpoint):
        raise RuntimeError(f"{mountpoint} cannot be unmounted")


def is_mounted(mountpoint: Path) -> bool:
    """Whether something is mounted there, without asking the mount itself, which may hang."""
    place = str(mountpoint).replace(" ", "\\040")
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == place for line in table)
