"""`mountfs health`: what probes are told of a mount in each of its states."""

import os
import signal
from pathlib import Path

import pytest
import trio

from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon import health
from mountfs.daemon.control import server as control
from mountfs.daemon.errors import DaemonSilent, NotReady
from mountfs.daemon.mounted import Mounted
from mountfs.daemon.processes import ProcessIdentity
from mountfs.daemon.runtime_dir import MountRecord
from mountfs.kernel.mounts import Mount
from tests.t6_system.machine import Machine, Server
from tests.t6_system.stand_in import StandInMount


def _mounted(socket: Path) -> Mounted:
    """Return a mount whose daemon is this process; what its mountpoint shows is never looked at."""
    process = ProcessIdentity.of(os.getpid())
    assert process is not None
    place = Path("/mnt/w")
    record = MountRecord(
        process=process, mountpoint=place, cache_dir=place, url="", workspace="", drain_timeout_s=1.0
    )
    mount = Mount(str(place), "fuse.mountfs", "mountfs:main", 0, 99, read_only=False)
    return Mounted(place, mount, record, socket)


async def test_mount_that_is_being_ended_lives_and_is_not_ready(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, StandInMount(stopping=True), tmp_path / "s")
        mounted = _mounted(tmp_path / "s")
        alive = await trio.to_thread.run_sync(lambda: health.check_live(mounted, limit_s=10))
        assert alive.stopping
        with pytest.raises(NotReady, match="being ended"):
            await trio.to_thread.run_sync(lambda: health.check_ready(mounted, limit_s=10))
        nursery.cancel_scope.cancel()


async def test_answer_of_something_else_is_none(tmp_path: Path) -> None:
    async def chatter(stream: trio.SocketStream) -> None:
        await stream.send_all(b"[1]\n")
        await stream.aclose()

    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(tmp_path / "s"))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, chatter, [trio.SocketListener(listener)])
        with pytest.raises(DaemonSilent, match="does not answer"):
            await trio.to_thread.run_sync(lambda: health.check_live(_mounted(tmp_path / "s"), limit_s=10))
        nursery.cancel_scope.cancel()


def test_no_mount_is_not_healthy(machine: Machine) -> None:
    if os.getuid() == 0:  # the mounts that whoever runs this test may have are hidden
        hidden = machine.run_in_namespace("mount -t tmpfs none /run", "health")
        hidden.refused(ExitCode.NOT_MOUNTED, "nothing is mounted")
    machine.run("health", machine.mountpoint()).refused(ExitCode.NOT_MOUNTED, "is not a mount")
    machine.run("health", "--live", "--ready").refused(ExitCode.USAGE, "exclude")


@pytest.mark.kernel
def test_mount_is_ready_without_its_server_and_not_when_it_hangs_or_is_dead(
    machine: Machine, server: Server
) -> None:
    place = machine.mountpoint()
    machine.mount(server, place).succeeded()
    assert machine.run("health", "--live", place).succeeded().stdout == f"{place}: alive, online\n"
    server.kill()
    assert f"{place}: ready, " in machine.run("health", place).succeeded().stdout
    daemon = machine.daemon(place)
    os.kill(daemon.pid, signal.SIGSTOP)
    machine.run("health", "--timeout", "0.3", place).refused(ExitCode.TIMEOUT, "does not react in time")
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait_gone(10)
    machine.run("health", "--live", place).refused(ExitCode.TIMEOUT, "no daemon", "umount")
