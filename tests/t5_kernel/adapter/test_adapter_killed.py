"""A killed daemon that cannot end: its notice waits in the kernel for a request that only it would answer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mountfs.daemon import runtime_dir
from mountfs.daemon.ending import clear_dead, end_mount
from mountfs.daemon.mounted import find
from mountfs.daemon.processes import ProcessIdentity
from mountfs.daemon.runtime_dir import MountRecord
from mountfs.kernel import mounts
from tests.t5_kernel.adapter.processes import Daemon, Process
from tests.t5_kernel.adapter.test_adapter_notifier import CREATE_FOR_EVER
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel


@pytest.fixture
def program(start_program: Callable[..., Process], daemon: Daemon) -> Process:
    """It waits for an answer, and has its directory's lock meanwhile."""
    started = start_program(CREATE_FOR_EVER, daemon.mountpoint / "never")
    daemon.wait_until("filesystem.stuck_requests == 1")
    return started


@pytest.fixture
def killed(
    daemon: Daemon, program: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ProcessIdentity:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    process = ProcessIdentity.of(daemon.pid)
    assert process is not None
    runtime_dir.write_record(
        MountRecord(
            process=process,
            mountpoint=daemon.mountpoint,
            cache_dir=tmp_path / "cache",
            url="",
            workspace="",
            drain_timeout_s=0.0,
        )
    )
    daemon.ask("notifier.entry_changed(1, b'any')")
    wait_until(lambda: "fuse_reverse_inval_entry" in _kernel_stacks(daemon.pid))
    daemon.popen.kill()
    wait_until(process.is_dying)
    return process


def _kernel_stacks(pid: int) -> str:
    return "".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stack"))


def test_the_next_mount_clears_its_place(killed: ProcessIdentity, daemon: Daemon, program: Process) -> None:
    clear_dead(daemon.mountpoint)
    assert not killed.is_alive()
    assert mounts.mount_at(str(daemon.mountpoint)) is None
    assert program.line() in {"ENOTCONN", "ECONNABORTED"}


def test_umount_clears_its_place(killed: ProcessIdentity, daemon: Daemon, program: Process) -> None:
    ended = end_mount(find(daemon.mountpoint), drain_timeout_s=None, tell=lambda progress: None)
    assert ended.was_dead
    assert not killed.is_alive()
    assert mounts.mount_at(str(daemon.mountpoint)) is None
    assert program.line() in {"ENOTCONN", "ECONNABORTED"}
