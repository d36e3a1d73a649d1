"""The folder of records and sockets fails, or has what others left: mounts serve and end as ever."""

import signal

import pytest

from tests.small_disk import fill_disk, small_disk_at
from tests.t6_system.machine import Machine, Server, is_mounted, wait_until

pytestmark = pytest.mark.kernel


def test_a_full_disk_of_records_ends_no_mount(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    text = f'url = "{server.url}"\ntoken_file = "{server.token_file}"\n[mounts.project]\nworkspace = "main"\n'
    text += f'mountpoint = "{place}"\n'
    config = machine.configure(text)
    with small_disk_at(machine.runtime_dir, mebibytes=1) as runtime_dir:
        machine.run("mount", "--config", config, "project").succeeded()
        daemon = machine.daemon(place)
        try:
            fill_disk(runtime_dir / "filled")
            machine.configure(text + "drain_timeout_s = 7\n")
            daemon.send(signal.SIGHUP)
            wait_until(lambda: "changed: drain_timeout_s" in machine.log() or not daemon.is_alive())
            (place / "file").write_text("served")
            machine.run("umount", place).succeeded()
            assert not is_mounted(place)
        finally:
            daemon.send(signal.SIGKILL)
