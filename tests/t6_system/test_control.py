"""The control socket: every request, errors, and clients or daemons that misbehave."""

import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from mountfs.cli import exit_codes
from mountfs.cli.exit_codes import ExitCode
from mountfs.daemon.control import messages
from mountfs.daemon.control import server as control
from mountfs.daemon.control.client import ControlClient
from mountfs.daemon.control.messages import Progress
from mountfs.daemon.errors import DaemonSilent, ReportedError
from mountfs.daemon.running import DrainProgress, FailedUpload, SyncOutcome
from mountfs.model.errors import CacheInUse, LeaseNotOverridable, ReadOnlyCredential
from tests.t6_system.stand_in import LOCKS, STATUS, StandInMount
from tests.waiting import eventually

_T = TypeVar("_T")

_CONNECT_AS_NOBODY = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(10)
    client.connect(sys.argv[1])
    try:
        client.sendall(b'{"ask": "status"}\\n')
        sys.exit(bool(client.recv(10)))
    except ConnectionError:
        sys.exit(0)
"""


@asynccontextmanager
async def _served(mount: StandInMount, path: Path) -> AsyncIterator[ControlClient]:
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, mount, path)
        yield ControlClient(path)
        nursery.cancel_scope.cancel()


async def _ask(call: Callable[[], _T]) -> _T:
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


async def test_status_arrives_as_it_was_told(tmp_path: Path) -> None:
    async with _served(StandInMount(), tmp_path / "s") as client:
        assert await _ask(client.status) == STATUS


async def test_sync_carries_any_path_and_its_outcome(tmp_path: Path) -> None:
    mount = StandInMount(outcome=SyncOutcome(False, 2, (FailedUpload("a", "too big", ""),)))
    async with _served(mount, tmp_path / "s") as client:
        assert await _ask(lambda: client.sync(b"d\xff/n\n", timeout_s=5)) == mount.outcome
        await _ask(lambda: client.sync(None, timeout_s=None))
    assert mount.synced == [(b"d\xff/n\n", 5), (None, None)]


async def test_drain_tells_progress_and_what_is_left(tmp_path: Path) -> None:
    mount = StandInMount(drained=[DrainProgress(3, 300), DrainProgress(1, 100)], left=1)
    seen: list[Progress] = []
    async with _served(mount, tmp_path / "s") as client:
        assert await _ask(lambda: client.drain(10, seen.append)) == 1
    assert [(each.entries_left, each.bytes_left) for each in seen] == [(3, 300), (1, 100)]


async def test_locks_and_unlock_carry_any_path(tmp_path: Path) -> None:
    mount = StandInMount()
    async with _served(mount, tmp_path / "s") as client:
        assert await _ask(lambda: client.locks(None)) == LOCKS
        assert await _ask(lambda: client.locks(b"d\xff")) == LOCKS
        assert await _ask(lambda: client.unlock(b"a.lock")) == LOCKS[0].remote
        assert await _ask(lambda: client.unlock(b"free")) is None
    assert mount.asked == [None, b"d\xff", b"a.lock", b"free"]


async def test_lock_that_the_workspace_keeps_has_its_exit_code(tmp_path: Path) -> None:
    mount = StandInMount(error=LeaseNotOverridable("the service has no way to end it"))
    async with _served(mount, tmp_path / "s") as client:
        with pytest.raises(ReportedError, match="no way") as caught:
            await _ask(lambda: client.unlock(b"a.lock"))
    assert exit_codes.for_error(caught.value) is ExitCode.LOCK_KEPT


async def test_stop_and_audit(tmp_path: Path) -> None:
    mount = StandInMount()
    async with _served(mount, tmp_path / "s") as client:
        await _ask(lambda: client.stop(drain_timeout_s=1.5))
        assert await _ask(client.audit) == ["entry 7 has no content: x"]
    assert mount.stops == [1.5]


async def test_error_of_the_daemon_keeps_its_text_and_exit_code(tmp_path: Path) -> None:
    mount = StandInMount(error=ReadOnlyCredential("the token may only read"))
    async with _served(mount, tmp_path / "s") as client:
        with pytest.raises(ReportedError, match="may only read") as caught:
            await _ask(client.status)
    assert caught.value.hint == ReadOnlyCredential.default_hint
    assert exit_codes.for_error(caught.value) is ExitCode.ACCESS_DENIED


async def test_client_that_goes_away_ends_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "HEARTBEAT_S", 0.01)
    mount = StandInMount(hangs=True)
    async with _served(mount, tmp_path / "s") as client:
        stream = await trio.open_unix_socket(tmp_path / "s")
        await stream.send_all(messages.SyncRequest(path=None, timeout_s=None).to_line())
        await stream.receive_some(1)
        await stream.aclose()
        with trio.fail_after(10):
            await mount.cancelled.wait()
        assert await _ask(client.status) == STATUS


async def test_client_that_goes_away_while_it_is_told_of_progress_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == control.log.name]

    async with _served(StandInMount(drained=[DrainProgress(2, 200)]), tmp_path / "s"):
        stream = await trio.open_unix_socket(tmp_path / "s")
        await stream.send_all(messages.DrainRequest(timeout_s=60).to_line())
        await stream.aclose()
        await eventually(told, limit_s=10)
    assert told() == ["control: drain: the client went away before it was done"]


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b'{"ask": "fly"}\n', b'{"ask": "status", "x": 1}\n', b"\xff\n"]
)
async def test_request_that_is_not_understood_gets_an_answer(tmp_path: Path, line: bytes) -> None:
    async with _served(StandInMount(), tmp_path / "s") as client:
        stream = await trio.open_unix_socket(tmp_path / "s")
        await stream.send_all(line)
        with trio.fail_after(10):
            assert b"not understood" in await stream.receive_some()
        await stream.aclose()
        assert await _ask(client.status) == STATUS


async def test_socket_is_private_replaces_a_dead_one_and_goes_with_its_daemon(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with _served(StandInMount(), path) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await _ask(client.status) == STATUS
    assert not path.exists()


async def test_socket_of_a_live_daemon_is_not_taken_over(tmp_path: Path) -> None:
    async with _served(StandInMount(), tmp_path / "s") as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with _served(StandInMount(), tmp_path / "s"):
                pytest.fail("served twice")
        assert caught.group_contains(CacheInUse)
        assert await _ask(client.status) == STATUS


async def test_socket_works_below_a_deep_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    async with _served(StandInMount(), folder / "s") as client:
        assert await _ask(client.status) == STATUS


def test_daemon_that_hangs_is_told_within_the_bound(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen(1)
        with pytest.raises(DaemonSilent, match="does not react in time"):
            ControlClient(tmp_path / "s", silence_s=0.2).status()


def test_no_socket_and_an_answer_cut_short_are_told(tmp_path: Path) -> None:
    with pytest.raises(DaemonSilent, match="No such file"):
        ControlClient(tmp_path / "missing").status()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)

        def cut() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(DaemonSilent, match="ended while asked"):
            ControlClient(tmp_path / "s").status()
        thread.join(10)


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: becoming another user needs root")
async def test_other_users_are_not_admitted(tmp_path: Path) -> None:
    path = tmp_path / "s"
    os.chmod(tmp_path, 0o755)
    async with _served(StandInMount(), path):
        os.chmod(path, 0o666)
        # The folder is entered before the user changes: those above it may be private.
        command = ["/usr/bin/python3", "-c", _CONNECT_AS_NOBODY, path.name]
        with trio.fail_after(20):
            done = await trio.run_process(command, cwd=tmp_path, check=False, capture_stderr=True)
    assert (done.returncode, done.stderr) == (0, b"")
