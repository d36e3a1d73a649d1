"""Every way to end a mount in every state: no process stays, the mount can be replaced, nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mountfs.cli.exit_codes import ExitCode
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel

REPOSITORY = Path(__file__).parents[2]

EVERY_CELL = bool(os.environ.get("MOUNTFS_EVERY_SHUTDOWN"))
"""Try every way in every state, for some minutes."""

END_S = 30.0
"""A second of uploads, ten for requests that do not end, a few for each of the other steps."""

KILLED_S = 10.0

LARGE = bytes(range(256)) * 4096 * 24

LISTING = "import os, sys; print('begins', flush=True); os.listdir(sys.argv[1] + '/unlisted')"
CLOSING = """
import os, sys
file = os.open(sys.argv[1] + "/closed", os.O_CREAT | os.O_WRONLY)
os.write(file, b"content")
print("begins", flush=True)
os.close(file)
"""
MAPPING = """
import mmap, os, sys
file = os.open(sys.argv[1] + "/shared", os.O_RDONLY)
mapped = mmap.mmap(file, 10_000, prot=mmap.PROT_READ)
print("begins", flush=True)
while True:
    mapped[0], os.pread(file, 10_000, 0)
"""
WRITING_ELSEWHERE = """
import itertools, sys, time
from tests.t2_server.serving import Api
api = Api(*sys.argv[2:])
print("begins", flush=True)
for number in itertools.count():
    try:
        api.upload("shared", b"%08d" % number * 1250)
    except Exception:
        time.sleep(0.1)
"""
LOCKING = """
import fcntl, os, sys
file = os.open(sys.argv[1] + "/lock", os.O_CREAT | os.O_RDWR)
print("begins", flush=True)
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@dataclass
class Scene:
    """A mount whose cache knows a folder without its entries, and what was closed in it."""

    machine: Machine
    server: Server
    place: Path
    closed: dict[str, bytes] = field(default_factory=dict)
    programs: list["subprocess.Popen[str]"] = field(default_factory=list)

    def mount(self) -> None:
        config = self.machine.folder / "mountfs.toml"
        self.machine.mount(self.server, self.place, "--config", config).succeeded()

    def write(self, name: str, content: bytes) -> None:
        (self.place / name).write_bytes(content)
        self.closed[name] = content

    def start(self, source: str, *arguments: str) -> "subprocess.Popen[str]":
        program = subprocess.Popen(
            [sys.executable, "-c", source, str(self.place), *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.programs.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "begins\n"
        return program

    def start_waiting(self, source: str) -> None:
        """Start a program, and return when it waits in a call on the mount."""
        program = self.start(source)
        wait_until(lambda: Path(f"/proc/{program.pid}/wchan").read_text() == "request_wait_answer")

    def kill_programs(self) -> None:
        """Kill what runs; all of it has to be gone soon."""
        for program in self.programs:
            program.kill()
        for program in self.programs:
            program.wait(KILLED_S)
            for pipe in (program.stdin, program.stdout):
                assert pipe is not None
                pipe.close()
        self.programs.clear()

    def bring_server_back(self) -> None:
        if self.server.process.poll() is None:
            self.server.thaw()
        else:
            self.server = self.machine.serve(data=self.server.data, port=self.server.port)


def _idle(scene: Scene) -> None:
    del scene


def _uploading(scene: Scene) -> None:
    scene.write("large", LARGE)


def _server_hangs(scene: Scene) -> None:
    scene.server.freeze()
    scene.write("new", b"content")


def _server_away(scene: Scene) -> None:
    scene.server.stop()
    scene.write("new", b"content")


def _program_reads(scene: Scene) -> None:
    scene.server.freeze()
    scene.start_waiting(LISTING)


def _program_locks(scene: Scene) -> None:
    holder = scene.start(LOCKING)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    scene.start_waiting(LOCKING)


def _program_closes(scene: Scene) -> None:
    scene.server.freeze()
    scene.start_waiting(CLOSING)
    scene.closed["closed"] = b"content"


def _others_write(scene: Scene) -> None:
    """What a program has mapped changes all the time, and the kernel is told."""
    scene.start(WRITING_ELSEWHERE, scene.server.url, scene.server.token_file.read_text().strip())
    wait_until((scene.place / "shared").exists)
    scene.start(MAPPING)


STATES: dict[str, Callable[[Scene], None]] = {
    "idle": _idle,
    "uploading": _uploading,
    "server hangs": _server_hangs,
    "server away": _server_away,
    "program reads": _program_reads,
    "program locks": _program_locks,
    "program closes": _program_closes,
    "others write": _others_write,
}


def _end_by_signals(*numbers: signal.Signals) -> Callable[[Scene], None]:
    def end(scene: Scene) -> None:
        daemon = scene.machine.daemon(scene.place)
        for number in numbers:
            daemon.send(number)
        assert daemon.wait_gone(END_S)

    return end


def _end_by_umount(scene: Scene) -> None:
    daemon = scene.machine.daemon(scene.place)
    if scene.programs:
        scene.machine.run("umount", "--timeout", "1", scene.place).refused(ExitCode.BUSY, "in use")
        scene.kill_programs()
    done = scene.machine.run("umount", "--timeout", "1", scene.place)
    assert done.code in {ExitCode.OK, ExitCode.DATA_LEFT}, done
    assert daemon.wait_gone(END_S)


def _end_by_lazy_umount(scene: Scene) -> None:
    """The mount is gone from its place at once, and ends with the last use of it."""
    daemon = scene.machine.daemon(scene.place)
    subprocess.run(["umount", "--lazy", scene.place], check=True)
    assert not is_mounted(scene.place)
    scene.kill_programs()
    assert daemon.wait_gone(END_S)


def _end_while_the_server_dies(scene: Scene) -> None:
    daemon = scene.machine.daemon(scene.place)
    daemon.send(signal.SIGTERM)
    scene.server.kill()
    assert daemon.wait_gone(END_S)


ENDS: dict[str, Callable[[Scene], None]] = {
    "SIGTERM": _end_by_signals(signal.SIGTERM),
    "SIGTERM twice": _end_by_signals(signal.SIGTERM, signal.SIGTERM),
    "umount": _end_by_umount,
    "SIGKILL": _end_by_signals(signal.SIGKILL),
    "umount --lazy": _end_by_lazy_umount,
    "SIGTERM, and the server dies": _end_while_the_server_dies,
}

CELLS = [
    (state, end)
    for row, state in enumerate(STATES)
    for column, end in enumerate(ENDS)
    if EVERY_CELL or (row + column) % len(STATES) == 4
]
"""The others are in the tests of this folder in other forms, or differ little."""


@contextmanager
def _scene(machine: Machine, server: Server, *, durability: str) -> Iterator[Scene]:
    scene = Scene(machine, server, machine.mountpoint())
    machine.configure(f'drain_timeout_s = 1\ndurability = "{durability}"\nupload_delay_s = 0.1\n')
    scene.mount()
    (scene.place / "unlisted").mkdir()
    machine.run("sync", scene.place).succeeded()
    machine.run("umount", scene.place).succeeded()
    # With another cache, which has not listed the folder.
    (cache,) = (machine.folder / "home" / ".cache" / "mountfs").iterdir()
    cache.rename(machine.folder / "first-cache")
    scene.mount()
    assert os.listdir(scene.place) == ["unlisted"]
    try:
        yield scene
    finally:
        scene.kill_programs()


@pytest.mark.parametrize(("state", "end"), CELLS)
@pytest.mark.long
def test_end(machine: Machine, server: Server, state: str, end: str) -> None:
    durability = "remote" if state == "program closes" else "local"
    with _scene(machine, server, durability=durability) as scene:
        STATES[state](scene)
        began = time.monotonic()
        ENDS[end](scene)
        assert time.monotonic() - began < END_S + KILLED_S
        assert is_mounted(scene.place) == (end == "SIGKILL")
        scene.kill_programs()
        scene.bring_server_back()
        scene.mount()
        machine.run("sync", "--timeout", "80", scene.place).succeeded()
        assert {name: (scene.place / name).read_bytes() for name in scene.closed} == scene.closed
        machine.run("doctor", scene.place).succeeded()
        machine.run("umount", scene.place).succeeded()
