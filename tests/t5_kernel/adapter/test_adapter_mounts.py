"""The mount as a thing: found, recognised, refused, ended from outside, cleared away."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mountfs.kernel import mounts
from mountfs.kernel.mounts import Mount, MountState
from mountfs.kernel.notifier import Notifier
from mountfs.kernel.preflight import check_mountpoint
from mountfs.kernel.requirements import findings
from mountfs.kernel.session import MountOptions, mount
from mountfs.model.errors import FuseUnavailable, MountpointUnusable
from tests.t5_kernel.adapter.memory_filesystem import MemoryFilesystem
from tests.t5_kernel.adapter.processes import Daemon, Process

MOUNTINFO = rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / /a\040b\011c\012d\134e rw,nosuid master:3 shared:9 - fuse.mountfs mountfs:team\040x rw,user_id=0
41 22 0:51 / /read-only ro - tmpfs \043none rw
"""


def test_mountinfo_is_parsed_with_its_escapes_and_optional_fields() -> None:
    assert mounts.parse_mountinfo(MOUNTINFO) == [
        Mount("/", "ext4", "/dev/sda1", 8, 1, read_only=False),
        Mount("/a b\tc\nd\\e", "fuse.mountfs", "mountfs:team x", 0, 50, read_only=False),
        Mount("/read-only", "tmpfs", "#none", 0, 51, read_only=True),
    ]


@pytest.mark.kernel
def test_mount_is_found_with_its_type_and_source(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(source="mountfs:a, b\\c é", read_only=True)
    found = mounts.mount_at(str(daemon.mountpoint))
    assert found
    assert (found.source, found.is_ours, found.read_only) == ("mountfs:a, b\\c \\xe9", True, True)
    assert found in mounts.mountfs_mounts()
    assert mounts.state_of(found) is MountState.LIVE
    assert daemon.ask("await session.answers()") is True
    with pytest.raises(OSError, match="Read-only"):
        (daemon.mountpoint / "file").touch()


@pytest.mark.kernel
@pytest.mark.parametrize("environment", [{}, {"MOUNTFS_NO_EXTENSION": "1"}])
def test_unmounting_from_outside_ends_the_session(
    start_daemon: Callable[..., Daemon], environment: dict[str, str]
) -> None:
    daemon = start_daemon(environment)
    (daemon.mountpoint / "file").write_bytes(b"content")
    subprocess.run(["umount", daemon.mountpoint], check=True, timeout=20)
    assert daemon.ends() == "unmounted"


@pytest.mark.kernel
def test_connection_aborted_from_outside_ends_the_session(daemon: Daemon) -> None:
    found = mounts.mount_at(str(daemon.mountpoint))
    assert found
    assert mounts.abort_connection(found)
    assert daemon.ends() == "unmounted"
    assert mounts.mount_at(str(daemon.mountpoint)) is None


@pytest.mark.kernel
def test_silent_mount_is_neither_dead_nor_cleared(daemon: Daemon) -> None:
    found = mounts.mount_at(str(daemon.mountpoint))
    assert found
    daemon.popen.send_signal(signal.SIGSTOP)
    assert mounts.state_of(found, limit_s=0.5) is MountState.SILENT
    daemon.popen.send_signal(signal.SIGCONT)
    assert mounts.state_of(found) is MountState.LIVE


@pytest.mark.kernel
def test_live_and_foreign_mounts_are_never_cleared(daemon: Daemon) -> None:
    assert not mounts.clear_dead_mount(str(daemon.mountpoint))
    assert not mounts.clear_dead_mount("/proc")
    assert not mounts.clear_dead_mount(str(daemon.mountpoint.parent))
    assert mounts.mount_at(str(daemon.mountpoint))


@pytest.mark.kernel
def test_program_inside_the_mount_does_not_stop_its_end(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    inside = start_program("os.chdir(sys.argv[1]); say('inside'); sys.stdin.readline()", daemon.mountpoint)
    assert inside.line() == "inside"
    daemon.expected_log = [
        f"WARNING mountfs.kernel.session {daemon.mountpoint} is in use; detaching it, "
        "and its programs get errors from now on"
    ]
    daemon.popen.send_signal(signal.SIGTERM)
    assert daemon.ends() == "signal"
    assert mounts.mount_at(str(daemon.mountpoint)) is None


def test_unusable_mountpoints_are_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = {
        tmp_path / "missing": "no such directory",
        tmp_path / "file": "not a directory",
        tmp_path: "not empty",
        Path("/proc"): "mounted here already",
    }
    for place, message in places.items():
        with pytest.raises(MountpointUnusable, match=message) as refused:
            check_mountpoint(str(place))
        assert refused.value.hint
    (tmp_path / "empty").mkdir()
    check_mountpoint(str(tmp_path / "empty"))


@pytest.mark.kernel
async def test_mount_that_the_kernel_refuses_is_one_clear_error(tmp_path: Path) -> None:
    longer_than_a_page = MountOptions(str(tmp_path), source="x" * 5000)
    with pytest.raises(FuseUnavailable, match="mounting failed"):
        async with mount(MemoryFilesystem(), Notifier(), longer_than_a_page):
            pass
    assert mounts.mount_at(str(tmp_path)) is None


def test_findings_say_what_to_do_where_something_is_missing() -> None:
    found = findings()
    assert {finding.name for finding in found} >= {"kernel", "fuse device", "right to mount", "passthrough"}
    assert all(finding.detail and (finding.ok or finding.hint) for finding in found)
    device = next(finding for finding in found if finding.name == "fuse device")
    assert device.ok == os.access("/dev/fuse", os.R_OK | os.W_OK)
