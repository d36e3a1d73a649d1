"""A mount is ended by somebody else while `mountfs umount` waits for its uploads: each tells what is true."""

import os
import signal
from collections.abc import Callable

import pytest

from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon.control.messages import Progress
from mountfs.daemon.ending import Ended, end_mount
from mountfs.daemon.errors import NotMounted
from mountfs.daemon.mounted import find
from tests.t6_system.machine import Machine, Server, is_mounted

pytestmark = pytest.mark.kernel


def _umount(machine: Machine, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> Ended:
    """End the mount; when its uploads are first told of, do the other thing before anything else is heard."""
    todo = [meanwhile]

    def tell(_progress: Progress) -> None:
        if todo:
            todo.pop()()

    monkeypatch.setenv("XDG_RUNTIME_DIR", machine.environment()["XDG_RUNTIME_DIR"])
    return end_mount(find(machine.mountpoint()), drain_timeout_s=60, tell=tell)


def test_a_mount_that_a_signal_ended_in_order_is_ended(
    machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    daemon = machine.daemon(place)
    os.listdir(place)  # what was never listed cannot be served while the server hangs
    server.freeze()
    (place / "file").write_text("to be sent")

    def end() -> None:
        server.thaw()
        daemon.send(signal.SIGTERM)
        assert daemon.wait_gone(60)

    assert _umount(machine, monkeypatch, end) == Ended(0)
    assert not is_mounted(place)


@pytest.mark.parametrize("waits", [True, False])
def test_a_mount_that_another_command_ended_is_no_mount_any_more(
    machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    os.listdir(place)  # as above
    server.freeze()
    (place / "file").write_text("to be sent")

    def end() -> None:
        if waits:
            server.thaw()
            machine.run("umount", place).succeeded()
        else:
            machine.run("umount", "--no-wait", place).refused(ExitCode.DATA_LEFT, "1 changes are left")

    with pytest.raises(NotMounted, match="by another command"):
        _umount(machine, monkeypatch, end)
    assert not is_mounted(place)
    assert list(machine.runtime_dir.iterdir()) == []
