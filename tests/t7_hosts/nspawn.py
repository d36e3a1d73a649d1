"""A Debian tree as a machine: commands in it, and its own systemd booted in it, by systemd-nspawn."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.t6_system.machine import wait_until

_BOOT_S = 90
_COMMAND_S = 240

_PASSED = ("PIP_", "LANG")

DISK = "/mnt"
"""Where a tree has a file system that is no layer over another: passthrough needs that for its cache."""

_NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")

_GROUPS = Path("/sys/fs/cgroup")

_IN_GROUP = 'mkdir -p "$1"; echo $$ > "$1/cgroup.procs"; shift; exec "$@"'
"""Runs a command in a control group."""


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    """What it wrote, to standard output and standard error."""

    def succeeded(self) -> Self:
        assert self.code == 0, self.output
        return self


@dataclass
class Tree:
    """A layer of its own over others that stay as they are. Left by `close`.

    `base`: the lowest, a whole tree. `middle`: a layer above it, that another Tree made (`upper`).
    """

    base: Path
    scratch: Path
    middle: Path | None = None

    @property
    def root(self) -> Path:
        return self.scratch / "root"

    @property
    def upper(self) -> Path:
        """What differs from the layers below."""
        return self.scratch / "upper"

    @property
    def name(self) -> str:
        """Of the machine; no two that run at once share it."""
        return f"mountfs-{self.scratch.name}-{os.getpid()}"

    @property
    def _group(self) -> Path:
        """systemd-nspawn makes groups of fixed names below its own: machines that run at once must not share
        one."""
        return _unified_groups() / self.name

    def open(self) -> Self:
        for name in ("root", "upper", "work", "disk"):
            (self.scratch / name).mkdir(parents=True)
        lower = ":".join(str(layer) for layer in (self.middle, self.base) if layer is not None)
        options = f"lowerdir={lower},upperdir={self.upper},workdir={self.scratch}/work"
        subprocess.run(["mount", "-t", "overlay", "tree", "-o", options, str(self.root)], check=True)
        return self

    def close(self) -> None:
        subprocess.run(["umount", "--recursive", "--lazy", str(self.root)], check=False)
        for group, _, _ in os.walk(self._group, topdown=False):
            with suppress(OSError):  # something in it still ends
                os.rmdir(group)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def command(self) -> list[str]:
        """Return the command that runs the tree's machine, to be completed."""
        variables = [
            f"--setenv={name}={value}" for name, value in os.environ.items() if name.startswith(_PASSED)
        ]
        binds = [f"--bind-ro={place}" for place in package_places()]
        # What is built here is thrown away: built quickly is better than quick.
        variables.append("--setenv=CFLAGS=-O1 -g0")
        for place in ("/root/.cache/pip", "/var/cache/apt/archives"):  # downloads, kept for the next run
            kept = self.base.with_name(f"{self.base.name}.downloads") / place.lstrip("/")
            (kept / "partial").mkdir(parents=True, exist_ok=True)
            binds.append(f"--bind={kept}:{place}")
        return [
            *_in_group(self._group),
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--capability=all"),
            *(f"--machine={self.name}", "--resolv-conf=replace-host", "--timezone=off", "--bind=/dev/fuse"),
            *(f"--bind={self.scratch}/disk:{DISK}", f"--directory={self.root}", *variables, *binds),
        ]

    def run(self, command: str, *, timeout_s: float = _COMMAND_S) -> Ran:
        """Run a shell command in the tree, without an init."""
        return run_command([*self.command(), "--as-pid2", "/bin/bash", "-ec", command], timeout_s)


class Machine:
    """The tree's own systemd, booted. `close` powers it off if nothing else did."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._log = (tree.scratch / "console.log").open("ab")
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self._process = subprocess.Popen(
            [*tree.command(), "--boot", "--console=pipe"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self._init = 0
        try:
            wait_until(self._has_booted, limit_s=_BOOT_S)
        except AssertionError:
            self.kill()
            raise AssertionError(f"no boot: {(tree.scratch / 'console.log').read_text()[-4000:]}") from None

    def _has_booted(self) -> bool:
        assert self._process.poll() is None, (self.tree.scratch / "console.log").read_text()[-4000:]
        self._init = self._init or _init_below(self._process.pid)
        if not self._init:
            return False
        state = self.run("systemctl is-system-running").output.strip()
        return state in ("running", "degraded")

    def run(self, command: str, *, user: str = "root", timeout_s: float = _COMMAND_S) -> Ran:
        """Run a shell command beside the booted system, as one of its users."""
        inner = ["/bin/bash", "-ec", command]
        if user != "root":
            inner = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env", *inner]
        # A process from outside of its groups is nobody to a systemd.
        group = re.search(r"^0::/(.*)$", Path(f"/proc/{self._init}/cgroup").read_text(), re.MULTILINE)
        assert group is not None
        entered = ["nsenter", "--target", str(self._init), *_NAMESPACES, "--wdns=/", *inner]
        return run_command([*_in_group(_unified_groups() / group[1]), *entered], timeout_s)

    def wait(self, condition: str, *, limit_s: float = 60) -> None:
        """Return when this shell command succeeds."""
        wait_until(lambda: self.run(condition).code == 0, limit_s=limit_s)

    def show(self, unit: str, name: str) -> str:
        return self.run(f"systemctl show --value --property={name} {unit}").succeeded().output.strip()

    def journal(self, unit: str) -> str:
        return self.run(f"journalctl --no-pager --output=cat --unit={unit}").output

    def power_off(self) -> None:
        """Shut the system down in order, and return when it is off."""
        self.run("systemctl poweroff")
        self._process.wait(180)

    def cut_power(self) -> None:
        """End everything in it at once; nothing in it hears of that."""
        os.kill(self._init, signal.SIGKILL)
        self._process.wait(30)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
        self._log.close()

    def close(self) -> None:
        if self._process.poll() is None and self._init:
            with suppress(subprocess.TimeoutExpired):
                self.power_off()
        self.kill()


def _unified_groups() -> Path:
    """Return where control groups of version 2 are: beside those of version 1, or alone."""
    unified = _GROUPS / "unified"
    return unified if unified.is_dir() else _GROUPS


def _in_group(group: Path) -> list[str]:
    return ["/bin/sh", "-ec", _IN_GROUP, "sh", str(group)]


def package_places() -> list[str]:
    """Return the folders of this machine in which its pip looks for packages."""
    listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"(?:file://|[' ])(/[^' ]+)", listed)
    places = {place.removesuffix("/simple") for place in found}
    return sorted(place for place in places if os.path.isdir(place))


def _init_below(pid: int) -> int:
    """Return the process that is the first of the namespace below `pid`; 0: there is none yet."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split():
        with suppress(OSError):
            numbers = re.search(r"^NSpid:\s(.*)$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
            if numbers is not None and numbers[1].split()[1:] == ["1"]:
                return int(child)
    return 0


def run_command(command: Sequence[str], timeout_s: float) -> Ran:
    """Run a command, show it and its end to who reads the test's output, and return how it ended."""
    started = time.monotonic()
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=timeout_s,
        check=False,
    )
    took_s = time.monotonic() - started
    print(f"[{took_s:.1f} s, {done.returncode}] {command[-1]}\n{done.stdout[-3000:]}")
    return Ran(done.returncode, done.stdout)
