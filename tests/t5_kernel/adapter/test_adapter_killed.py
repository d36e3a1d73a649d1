"""A daemon that is killed while the kernel holds up one of its notices: the notice waits for the lock of a
directory, which a program has that waits for an answer of the daemon."""

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
from tests.t5_kernel.adapter.test_adapter_notifier import CREATE_FOR_EVER, REMOVE_FOR_EVER, needs_epochs
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

ENDS_WITHIN_S = 20.0
"""Whatever the load of the machine: none of it is a wait for a time."""

ENDED = {"ENOTCONN", "ECONNABORTED"}


def held_up(daemon: Daemon, start_program: Callable[..., Process]) -> Process:
    """Return a program that waits for the daemon while a notice of that waits for the program."""
    never = daemon.mountpoint / "never"
    never.mkdir()
    ino = never.stat().st_ino
    program = start_program(REMOVE_FOR_EVER, never)
    daemon.wait_until("filesystem.stuck_requests == 1")
    daemon.ask(f"notifier.entry_changed({ino}, b'any')")
    wait_until(lambda: "fuse_reverse_inval_entry" in _kernel_stacks(daemon.pid))
    return program


def killed(daemon: Daemon) -> ProcessIdentity:
    process = ProcessIdentity.of(daemon.pid)
    assert process is not None
    daemon.popen.kill()
    return process


def _kernel_stacks(pid: int) -> str:
    return "".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stack"))


def _waits_for_a_lock(pid: int) -> bool:
    """Tell whether it sleeps in the kernel, and not for an answer."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "D" and "fuse" not in _kernel_stacks(pid)


def test_it_ends_and_so_does_the_wait_of_the_program(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    program = held_up(daemon, start_program)
    assert killed(daemon).wait_gone(ENDS_WITHIN_S)
    assert program.line() in ENDED


@needs_epochs
def test_it_ends_where_further_programs_wait_for_the_directory(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    programs = [start_program(CREATE_FOR_EVER, daemon.mountpoint / "never")]
    daemon.wait_until("filesystem.stuck_requests == 1")
    programs.append(start_program(CREATE_FOR_EVER, daemon.mountpoint / "neither"))
    wait_until(lambda: _waits_for_a_lock(programs[1].pid))
    daemon.ask("notifier.entry_changed(1, b'any')")
    assert daemon.ask("await notifier.drained()") is True
    assert killed(daemon).wait_gone(ENDS_WITHIN_S)
    assert {program.line() for program in programs} <= ENDED


def test_program_whose_request_nobody_read_can_be_killed_and_it_ends_then(
    daemon: Daemon, start_program: Callable[..., Process]
) -> None:
    never = daemon.mountpoint / "never"
    never.mkdir()
    ino = never.stat().st_ino
    remover = start_program(REMOVE_FOR_EVER, never)
    daemon.wait_until("filesystem.stuck_requests == 1")
    unread = start_program(CREATE_FOR_EVER, never / "file")
    wait_until(lambda: _waits_for_a_lock(unread.pid))
    daemon.ask(f"notifier.entry_changed({ino}, b'any')")
    wait_until(lambda: "fuse_reverse_inval_entry" in _kernel_stacks(daemon.pid))
    process = killed(daemon)
    assert remover.line() in ENDED
    wait_until(lambda: "request_wait_answer" in _kernel_stacks(unread.pid))
    assert process.is_dying()
    unread.popen.kill()
    assert process.wait_gone(ENDS_WITHIN_S)


class TestWithoutTheExtension:
    """An ordinary thread writes its notices, and the kernel waits for that before it closes the device."""

    @pytest.fixture
    def daemon(
        self, start_daemon: Callable[..., Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Daemon:
        daemon = start_daemon({"MOUNTFS_NO_EXTENSION": "1"})
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
        return daemon

    def test_the_next_mount_clears_its_place(
        self, daemon: Daemon, start_program: Callable[..., Process]
    ) -> None:
        program = held_up(daemon, start_program)
        process = killed(daemon)
        wait_until(process.is_dying)
        clear_dead(daemon.mountpoint)
        assert not process.is_alive()
        assert mounts.mount_at(str(daemon.mountpoint)) is None
        assert program.line() in ENDED

    def test_umount_clears_its_place(self, daemon: Daemon, start_program: Callable[..., Process]) -> None:
        program = held_up(daemon, start_program)
        process = killed(daemon)
        wait_until(process.is_dying)
        ended = end_mount(find(daemon.mountpoint), drain_timeout_s=None, tell=lambda progress: None)
        assert ended.was_dead
        assert not process.is_alive()
        assert mounts.mount_at(str(daemon.mountpoint)) is None
        assert program.line() in ENDED
