"""The last resort: a daemon whose own end hangs is ended, and leaves no mount and no waiting program."""

import signal
import subprocess
import sys

import pytest

from mountfs.daemon import watchdog
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel

_HANGING = """
import sys
import trio
from mountfs.daemon import watchdog
from mountfs.filesystem.filesystem import WorkspaceFilesystem

async def hang(filesystem, *arguments):
    # A program waits for us with the directory locked, and a thread of ours waits for that directory.
    filesystem._kernel.entry_changed(1, b"other")
    print("hanging", flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

watchdog.GRACE_S = 1.0
setattr(WorkspaceFilesystem, sys.argv.pop(1), hang)
from mountfs.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(("handler", "program"), [("locate", "cat"), ("make_directory", "mkdir")])
@pytest.mark.long
def test_handler_that_ignores_its_cancellation(
    machine: Machine, server: Server, handler: str, program: str
) -> None:
    place = machine.mountpoint()
    config = machine.configure("drain_timeout_s = 1")
    options = ["--url", server.url, "--workspace", "main", "--token-file", str(server.token_file)]
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            _HANGING,
            handler,
            "mount",
            "--foreground",
            "--no-passthrough",
            *options,
            "--config",
            str(config),
            str(place),
        ],
        env=machine.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        try:
            wait_until(lambda: any(machine.runtime_dir.glob("*.json")))
            (place / "a.txt").write_text("closed before")
            path = place / ("a.txt" if program == "cat" else "new")
            _end_with_a_waiting_program(daemon, [program, str(path)])
        finally:
            daemon.kill()
    assert not is_mounted(place)
    machine.mount(server, place).succeeded()
    assert (place / "a.txt").read_text() == "closed before"
    machine.run("umount", place).succeeded()


def _end_with_a_waiting_program(daemon: subprocess.Popen[str], command: list[str]) -> None:
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd="/") as waiting:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "hanging\n"
            daemon.send_signal(signal.SIGTERM)
            _out, told = daemon.communicate(timeout=60)
            assert daemon.returncode == watchdog.HUNG_EXIT_CODE, told
            assert "the end of the mount hangs" in told
            assert waiting.wait(30) == 1
        finally:
            waiting.kill()
