"""No signal that asks a daemon for something is lost, whenever it comes."""

import signal
import subprocess
import sys

import pytest

from tests.t6_system.machine import REPOSITORY, Machine, Server, is_mounted, wait_until

BECOMES_ANOTHER = """
import os, signal, sys, trio
from mountfs.daemon import signals

async def another_thread_works():
    await trio.to_thread.run_sync(lambda: None)

trio.run(another_thread_works)
signals.admit_held_signals()
os.kill(os.getpid(), signal.SIGTERM)
signals.hold_signals()
os.kill(os.getpid(), signal.SIGHUP)
trio.run(another_thread_works)
held = "import signal; print(*sorted(number.name for number in signal.sigpending()))"
os.execv(sys.executable, [sys.executable, "-c", held])
"""


def test_signals_wait_for_the_next_program_also_where_other_threads_could_have_them() -> None:
    program = [sys.executable, "-c", BECOMES_ANOTHER]
    done = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["SIGHUP", "SIGTERM"]


@pytest.mark.kernel
def test_stop_of_a_mount_that_was_just_made_takes_it_away(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    login = ("--url", server.url, "--workspace", "main", "--token-file", server.token_file)
    with machine.started("mount", "--foreground", *login, place) as process:
        wait_until(lambda: is_mounted(place), pause_s=0.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not is_mounted(place)
