"""Programs that need what the cache does not have, while the server hangs: each wait ends by a signal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.t6_system.machine import Machine, Server, wait_until

pytestmark = pytest.mark.kernel

AT_ONCE_S = 5.0
"""Far below the times after which a wait ends by itself, 10 and 30 seconds; enough for a busy machine."""

ACTIONS = {
    "cat": "open(path, 'rb').read()",
    "ls": "os.listdir(folder)",
    "append": "os.write(os.open(path, os.O_WRONLY | os.O_APPEND), b'x')",
    "truncate": "os.truncate(path, 5)",
}

PROGRAM = """
import os, signal, sys
path, folder = sys.argv[1] + "/uncached", sys.argv[1] + "/unlisted"
signal.signal(signal.SIGURG, lambda *_: None)
print("begins", flush=True)
try:
    {action}
    print("done", flush=True)
except OSError as error:
    print(error.errno, flush=True)
"""


@contextmanager
def _waiting(place: Path, action: str) -> Iterator["subprocess.Popen[str]"]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(action=ACTIONS[action]), str(place)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "begins\n"
        wait_until(lambda: _sleeps(program.pid))
        yield program
    finally:
        program.kill()
        program.wait(60)
        assert program.stdout is not None
        program.stdout.close()


def _sleeps(pid: int) -> bool:
    """Tell whether the process waits in a call on the mount."""
    return Path(f"/proc/{pid}/wchan").read_text() in {
        *("request_wait_answer", "folio_wait_bit_common", "__fuse_simple_request", "__folio_lock_killable"),
    }


@pytest.mark.long
def test_signal_ends_every_wait_for_the_server(machine: Machine, server: Server) -> None:
    maker, place = machine.mountpoint("maker"), machine.mountpoint()
    machine.mount(server, maker, "--cache", machine.folder / "maker-cache").succeeded()
    (maker / "uncached").write_bytes(bytes(300_000))
    (maker / "unlisted").mkdir()
    machine.run("sync", maker).succeeded()
    machine.run("umount", maker).succeeded()
    machine.mount(server, place).succeeded()
    assert sorted(os.listdir(place)) == ["uncached", "unlisted"]
    server.freeze()
    for action in ACTIONS:
        for number in (signal.SIGKILL, signal.SIGTERM):
            with _waiting(place, action) as program:
                began = time.monotonic()
                program.send_signal(number)
                assert program.wait(60) == -number, action
                assert time.monotonic() - began < AT_ONCE_S, action
    server.thaw()
    machine.run("umount", place).succeeded()


@pytest.mark.long
def test_harmless_signal_does_not_end_a_wait(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    (place / "unlisted").mkdir()
    machine.run("sync", place).succeeded()
    machine.run("umount", place).succeeded()
    machine.mount(server, place, "--cache", machine.folder / "other-cache").succeeded()
    assert os.listdir(place) == ["unlisted"]
    server.freeze()
    with _waiting(place, "ls") as program:
        program.send_signal(signal.SIGURG)
        server.thaw()
        assert program.communicate(timeout=60)[0] == "done\n"
    machine.run("umount", place).succeeded()
