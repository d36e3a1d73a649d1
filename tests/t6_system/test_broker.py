"""A broker with rights mounts; the daemon that serves the mount has none, and cannot gain any."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from mountfs.cli.exit_codes import ExitCode
from tests.t5_kernel.next_version import CANNOT_GO_ON, NextVersion
from tests.t6_system.machine import REPOSITORY, Machine, Server, is_mounted, wait_until

USER = "nobody"
COMMAND = [sys.executable, "-P", "-m", "mountfs.cli"]


def _as_user(*command: str) -> "subprocess.CompletedProcess[str]":
    user = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--reset-env"]
    return subprocess.run(
        [*user, "env", f"PYTHONPATH={REPOSITORY}", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _unable() -> str:
    if os.geteuid() != 0:
        return "NOT TESTED: only root can be a broker"
    if _as_user(sys.executable, "-P", "-c", "import mountfs").returncode != 0:
        return f"NOT TESTED: {USER} may not read the program in {sys.prefix}"
    return ""


pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(_unable()), reason=_unable() or "able")]


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All daemons of the user keep their records in one folder, which goes with the test: one at a time."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "broker.lock"):
        yield


@pytest.fixture
def folder(alone: None) -> Iterator[Path]:
    """Return a folder that the user may enter; pytest's own are for root alone."""
    made = Path(tempfile.mkdtemp(prefix="mountfs-broker-"))
    made.chmod(0o755)
    (made / "cache").mkdir()
    os.chown(made / "cache", pwd.getpwnam(USER).pw_uid, -1)
    (made / "mnt").mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made)
        shutil.rmtree(f"/tmp/mountfs-{pwd.getpwnam(USER).pw_uid}", ignore_errors=True)


@pytest.fixture
def version(folder: Path) -> NextVersion:
    """Return the version that is to go on with what `broker` mounts."""
    return NextVersion(folder / "next")


@pytest.fixture
def broker(
    machine: Machine, server: Server, folder: Path, version: NextVersion
) -> Iterator["subprocess.Popen[str]"]:
    """Return a running broker whose mount answers."""
    with _brokered(machine, server, folder, version) as process:
        yield process


@contextmanager
def _brokered(
    machine: Machine, server: Server, folder: Path, version: NextVersion
) -> Iterator["subprocess.Popen[str]"]:
    options = ["--url", server.url, "--workspace", "main", "--cache", str(folder / "cache")]
    with machine.started(
        *("broker", "--user", USER, "--token-file", server.token_file, folder / "mnt"),
        *options,
        **version.variables,
    ) as process:
        wait_until(lambda: is_mounted(folder / "mnt") and _status_code(folder / "mnt") == 0)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _status_code(place: Path) -> int:
    return _as_user(*COMMAND, "status", str(place)).returncode


def _daemon_of(broker: "subprocess.Popen[str]") -> int:
    return int(Path(f"/proc/{broker.pid}/task/{broker.pid}/children").read_text().split()[0])


def test_the_daemon_has_no_rights_and_the_mount_serves(broker: "subprocess.Popen[str]", folder: Path) -> None:
    told = Path(f"/proc/{_daemon_of(broker)}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(pwd.getpwnam(USER).pw_uid)] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Groups"].split() in ([], ["65534"])
    (folder / "mnt" / "a.txt").write_text("by root")
    assert _as_user("cat", str(folder / "mnt" / "a.txt")).stdout == "by root"
    wait_until(lambda: _as_user(*COMMAND, "sync", str(folder / "mnt")).returncode == 0)


def test_a_stop_sends_and_takes_the_mount_away(broker: "subprocess.Popen[str]", folder: Path) -> None:
    (folder / "mnt" / "a.txt").write_text("x")
    broker.send_signal(signal.SIGTERM)
    assert broker.wait(60) == 0
    assert not is_mounted(folder / "mnt")


def test_umount_of_the_user_ends_both(broker: "subprocess.Popen[str]", folder: Path) -> None:
    done = _as_user(*COMMAND, "umount", str(folder / "mnt"))
    assert (done.returncode, done.stderr) == (0, "")
    assert broker.wait(30) == 0
    assert not is_mounted(folder / "mnt")


def test_a_killed_daemon_leaves_no_mount_behind(broker: "subprocess.Popen[str]", folder: Path) -> None:
    os.kill(_daemon_of(broker), signal.SIGKILL)
    assert broker.wait(30) == 128 + signal.SIGKILL
    assert not is_mounted(folder / "mnt")


@pytest.mark.long
def test_the_installed_version_goes_on_without_rights(broker: "subprocess.Popen[str]", folder: Path) -> None:
    place, daemon = folder / "mnt", _daemon_of(broker)
    with (place / "a.txt").open("w+", buffering=1) as file:
        file.write("before\n")
        upgraded = _as_user(*COMMAND, "upgrade", str(place))
        assert (upgraded.returncode, upgraded.stderr) == (0, "")
        file.write("after\n")
        file.seek(0)
        assert file.read() == "before\nafter\n"
    assert _daemon_of(broker) == daemon
    done = _as_user(*COMMAND, "umount", str(place))
    assert (done.returncode, done.stderr) == (0, "")
    assert broker.wait(30) == 0
    assert not is_mounted(place)


@pytest.mark.long
def test_a_version_that_fails_leaves_no_mount_behind(
    machine: Machine,
    server: Server,
    broker: "subprocess.Popen[str]",
    folder: Path,
    version: NextVersion,
) -> None:
    place = folder / "mnt"
    (place / "a.txt").write_text("closed")
    version.has(CANNOT_GO_ON)
    told = _as_user(*COMMAND, "upgrade", str(place))
    assert told.returncode == ExitCode.UPGRADE_REFUSED, told
    assert "the daemon ended" in told.stderr
    assert broker.wait(60) == ExitCode.UNEXPECTED
    assert broker.stderr is not None
    assert "division by zero" in broker.stderr.read()
    assert not is_mounted(place)
    version.is_mended()
    with _brokered(machine, server, folder, version):
        assert (place / "a.txt").read_text() == "closed"


def test_what_no_broker_can_do_is_refused(machine: Machine, folder: Path) -> None:
    place = folder / "mnt"
    machine.run("broker", "--user", "root", place, "x").refused(ExitCode.CONFIGURATION, "root")
    machine.run("broker", "--user", "no-such-user", place, "x").refused(
        ExitCode.CONFIGURATION, "no-such-user"
    )
    machine.run(
        "mount",
        "--foreground",
        place,
        "--url",
        "https://x",
        "--workspace",
        "w",
        MOUNTFS_FUSE_FD="99",
        MOUNTFS_TOKEN="t",
    ).refused(ExitCode.FUSE_UNAVAILABLE, "MOUNTFS_FUSE_FD")
    assert not is_mounted(place)
