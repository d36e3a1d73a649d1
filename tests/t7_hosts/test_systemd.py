"""A real systemd, booted: what the units, the helper of mount(8) and a reboot do with mounts. In order: the
tests of one release share its machine."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.t6_system.machine import Server
from tests.t7_hosts.conftest import SOURCE
from tests.t7_hosts.nspawn import Machine, Tree

RELEASES = ("trixie", "bookworm") if os.environ.get("MOUNTFS_EVERY_RELEASE") else ("trixie",)
"""One is enough, to save minutes: what differs is libfuse, not what the units ask of systemd."""

UNIT = "mountfs@project"
WATCHDOG_S = 10
"""Less, and a machine that is busy with the other groups could be taken for one that hangs."""

MANAGER = "export XDG_RUNTIME_DIR=/run/user/$(id -u); systemctl --user"
OWN = "export XDG_RUNTIME_DIR=/run/user/$(id -u); export PATH=$HOME/.local/bin:$PATH; cd ~/source"

CONFIG = """
url = "{url}"

[mounts.project]
workspace = "main"
mountpoint = "/srv/project"
upload_delay_s = 60

[mounts.second]
workspace = "main"
mountpoint = "/srv/second"
token_file = "project.token"

[mounts.tab]
workspace = "main"
mountpoint = "/srv/tab"
token_file = "project.token"
upload_delay_s = 60
"""

AGENT = """
[Unit]
Requires=mountfs@project.service
After=mountfs@project.service

[Service]
Type=oneshot
ExecStart=/root/agent
"""


READER = """
import ctypes, json, mmap, os, signal, subprocess
asked = subprocess.run(["mountfs", "status", "--json", "/srv/second"], capture_output=True, check=True)
page = os.open("/srv/second/page", os.O_RDWR)
buffer = (ctypes.c_char * 4096).from_buffer(mmap.mmap(page, 4096))
folder = os.open("/srv/project/crowded", os.O_RDONLY | os.O_DIRECTORY)
pid = json.loads(asked.stdout)["mounts"][0]["pid"]
print(pid, flush=True)
os.kill(pid, signal.SIGSTOP)
ctypes.CDLL(None).getdents64(folder, buffer, 4096)
"""
"""Reads a folder of one mount into memory that another one has to bring, whose daemon stands still: so long
the kernel has the folder locked, and the daemon of the folder knows nothing of that."""

AGENT_PROGRAM = """#!/bin/sh -e
grep -q ' /srv/project fuse.mountfs ' /proc/mounts
echo hello > /srv/project/from-agent
"""


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def configured(installed: Tree, server: Server) -> Tree:
    token = server.token_file.read_text()
    installed.write("/etc/mountfs/all.toml", CONFIG.format(url=server.url))
    installed.write("/etc/mountfs/project.token", token, 0o600)
    installed.write("/etc/systemd/system/agent.service", AGENT)
    installed.write("/root/agent", AGENT_PROGRAM, 0o755)
    installed.write(
        f"/etc/systemd/system/{UNIT}.service.d/test.conf", f"[Service]\nWatchdogSec={WATCHDOG_S}\n"
    )
    installed.write(
        "/home/agent/.config/mountfs/mine.toml",
        f'url = "{server.url}"\nworkspace = "main"\nmountpoint = "/home/agent/mine"\ntoken_file = "token"\n',
    )
    installed.write("/home/agent/.config/mountfs/token", token, 0o600)
    installed.run("useradd --shell /bin/bash agent; chown -R agent: /home/agent").succeeded()
    # Whatever the tests write reaches the workspace before the next release looks at it.
    return installed


@pytest.fixture(scope="module")
def machine(configured: Tree) -> Iterator[Machine]:
    booted = Machine(configured)
    try:
        yield booted
    finally:
        booted.close()


def _sees(machine: Machine, name: str, content: str) -> None:
    """Check what the workspace has, by a mount that shares nothing with the others."""
    machine.run("mountpoint -q /srv/second || mountfs mount --mkdir second").succeeded()
    machine.wait(f'test "$(cat /srv/second/{name})" = "{content}"')


def test_configuration_is_sound_and_the_unit_is_understood(machine: Machine) -> None:
    machine.run("mountfs config check").succeeded()
    machine.run(f"systemd-analyze verify {UNIT}.service").succeeded()


def test_a_unit_that_needs_the_mount_starts_when_it_answers(machine: Machine) -> None:
    machine.run("systemctl start agent.service").succeeded()
    assert machine.show(UNIT, "ActiveState") == "active"
    assert "main at /srv/project" in machine.show(UNIT, "StatusText")
    machine.run("grep -q hello /srv/project/from-agent").succeeded()


def test_the_token_is_in_no_argument_and_not_in_the_journal(machine: Machine, server: Server) -> None:
    token = server.token_file.read_text().strip()
    assert token not in machine.run("ps axww").succeeded().output
    assert token not in machine.run("journalctl --no-pager").output


def test_reload_reads_the_configuration(machine: Machine) -> None:
    machine.run("sed -i 's/^upload_delay_s = 60/upload_delay_s = 59/' /etc/mountfs/all.toml").succeeded()
    machine.run(f"systemctl reload {UNIT}").succeeded()
    machine.wait(f"journalctl --unit={UNIT} | grep -q 'changed: upload_delay_s'")
    assert machine.show(UNIT, "ActiveState") == "active"


def test_the_installed_version_goes_on_in_the_same_service(machine: Machine) -> None:
    pid = machine.show(UNIT, "MainPID")
    machine.run(
        "exec 7>/srv/project/held && echo before >&7 && mountfs upgrade project && echo after >&7"
    ).succeeded()
    machine.run("printf 'before\\nafter\\n' | cmp - /srv/project/held").succeeded()
    assert machine.show(UNIT, "MainPID") == pid
    machine.wait(f'test "$(systemctl show --value --property=ActiveState {UNIT})" = active')


def test_a_daemon_that_stops_answering_is_restarted_and_nothing_is_lost(machine: Machine) -> None:
    machine.run("echo kept > /srv/project/kept").succeeded()
    pid = machine.show(UNIT, "MainPID")
    machine.run(f"kill -STOP {pid}").succeeded()
    machine.wait(
        f'test "$(systemctl show --value --property=NRestarts {UNIT})" = 1 && '
        f'test "$(systemctl show --value --property=ActiveState {UNIT})" = active',
        limit_s=WATCHDOG_S * 10,
    )
    assert machine.show(UNIT, "MainPID") != pid
    machine.run("grep -q kept /srv/project/kept").succeeded()


def test_a_killed_daemon_that_cannot_end_is_replaced(machine: Machine, configured: Tree) -> None:
    """A notice of it waits for a program, whose request was never read. systemd gives up waiting for
    its end, signal by signal, and starts another one, which ends it."""
    configured.write(f"/etc/systemd/system/{UNIT}.service.d/impatient.conf", "[Service]\nTimeoutStopSec=5\n")
    machine.run("systemctl daemon-reload").succeeded()
    machine.run("mountpoint -q /srv/second || mountfs mount --mkdir second").succeeded()
    machine.run("mountpoint -q /srv/tab || mountfs mount --mkdir tab").succeeded()
    machine.run("mkdir /srv/project/crowded; head -c 4096 /dev/zero > /srv/project/page").succeeded()
    machine.run("mountfs sync --timeout 60 /srv/project").succeeded()
    machine.wait("test -s /srv/second/page -a -d /srv/tab/crowded")
    configured.write("/root/reader.py", READER)
    daemon, restarts = machine.show(UNIT, "MainPID"), int(machine.show(UNIT, "NRestarts"))

    reader = _started(machine, "python3 /root/reader.py")
    machine.wait(f"grep -q filemap_fault /proc/{reader}/stack")
    other = machine.run("cat /root/started.out").output.strip()
    unread = _started(machine, "mkdir /srv/project/crowded/unread")
    machine.wait(f"grep -q filename_create /proc/{unread}/stack")
    machine.run("echo news > /srv/tab/crowded/news; mountfs sync --timeout 60 /srv/tab").succeeded()
    machine.wait(f"cat /proc/{daemon}/task/*/stack | grep -q fuse_reverse_inval_entry")
    machine.run(f"kill -KILL {daemon}; kill -CONT {other}").succeeded()
    machine.wait(f"grep -q request_wait_answer /proc/{unread}/stack")
    assert machine.show(UNIT, "MainPID") == daemon

    machine.wait(
        f'test "$(systemctl show --value --property=NRestarts {UNIT})" = {restarts + 1} && '
        f'test "$(systemctl show --value --property=ActiveState {UNIT})" = active',
        limit_s=WATCHDOG_S * 20,
    )
    assert machine.show(UNIT, "MainPID") != daemon
    machine.wait(f"! test -e /proc/{daemon} -o -e /proc/{unread}")
    machine.run("grep -q news /srv/project/crowded/news").succeeded()
    machine.run("mountfs umount /srv/second; mountfs umount /srv/tab").succeeded()
    machine.run(
        f"rm /etc/systemd/system/{UNIT}.service.d/impatient.conf; systemctl daemon-reload"
    ).succeeded()


def _started(machine: Machine, command: str) -> int:
    """Start a program that goes on by itself; return its process."""
    return int(machine.run(f"{command} > /root/started.out 2>&1 < /dev/null & echo $!").succeeded().output)


def test_stop_sends_what_is_waiting(machine: Machine) -> None:
    machine.run("echo drained > /srv/project/drained").succeeded()
    machine.run(f"systemctl stop {UNIT}").succeeded()
    assert (machine.show(UNIT, "Result"), machine.show(UNIT, "ExecMainStatus")) == ("success", "0")
    machine.run("mountpoint -q /srv/project && exit 1 || true").succeeded()
    _sees(machine, "drained", "drained")


def test_restart_is_quick(machine: Machine) -> None:
    machine.run(f"systemctl start {UNIT}").succeeded()
    started = time.monotonic()
    machine.run(f"systemctl restart {UNIT}").succeeded()
    took_s = time.monotonic() - started
    machine.run("cat /srv/project/drained").succeeded()
    print(f"restart took {took_s:.2f} s")
    assert took_s < 20


def test_fstab_mounts_and_umount_sends_first(machine: Machine) -> None:
    machine.run(
        "mkdir -p /srv/tab; echo 'tab /srv/tab fuse.mountfs _netdev,nofail 0 0' >> /etc/fstab"
    ).succeeded()
    machine.run("systemctl daemon-reload; systemctl start srv-tab.mount").succeeded()
    assert machine.show("srv-tab.mount", "ActiveState") == "active"
    machine.run("echo tab > /srv/tab/by-fstab").succeeded()
    machine.run("umount /srv/tab").succeeded()
    _sees(machine, "by-fstab", "tab")
    machine.run("mount /srv/tab && grep -q tab /srv/tab/by-fstab && umount /srv/tab").succeeded()
    done = machine.run("mount -t fuse.mountfs -o nonsense=1 tab /srv/tab")
    assert done.code == 1
    assert "unknown option nonsense" in done.output


def test_unit_of_a_user_without_rights(machine: Machine) -> None:
    # As udev makes it; the one of this machine may be root's alone.
    machine.run("umount --lazy /dev/fuse; rm /dev/fuse; mknod --mode=666 /dev/fuse c 10 229").succeeded()
    machine.run("loginctl enable-linger agent").succeeded()
    machine.wait("test -S /run/user/$(id -u agent)/systemd/private")
    machine.run(f"{MANAGER} start mountfs@mine", user="agent").succeeded()
    machine.run("echo user > ~/mine/by-user && mountfs sync ~/mine", user="agent").succeeded()
    _sees(machine, "by-user", "user")
    machine.run(f"{MANAGER} stop mountfs@mine", user="agent").succeeded()
    machine.run("mountpoint -q ~/mine && exit 1 || true", user="agent").succeeded()


def test_a_user_installs_for_himself_and_removes_it(machine: Machine) -> None:
    machine.run(
        f"""cp -r {SOURCE} /home/agent/source
        mkdir -p /home/agent/.cache
        cp -r /root/.cache/pip /home/agent/.cache/
        chown -R agent: /home/agent/source /home/agent/.cache"""
    ).succeeded()
    told = machine.run(f"{OWN}; scripts/install", user="agent", timeout_s=900).succeeded().output
    assert "/home/agent/.config/mountfs/NAME.toml" in told
    assert "enable --now mountfs@NAME" in told

    machine.run(f"{MANAGER} enable --now mountfs@mine", user="agent").succeeded()
    started = machine.run(f"{MANAGER} show --property=ExecStart mountfs@mine", user="agent").output
    assert "/home/agent/.local/share/mountfs/program/.venv/bin/mountfs mount" in started
    machine.run("echo own > ~/mine/by-own && ~/.local/bin/mountfs sync ~/mine", user="agent").succeeded()
    _sees(machine, "by-own", "own")

    refused = machine.run(f"{OWN}; scripts/install --remove", user="agent")
    assert refused.code == 1
    assert "mounts are still served" in refused.output
    machine.run(f"{MANAGER} stop mountfs@mine", user="agent").succeeded()
    machine.run(f"{OWN}; scripts/install --remove", user="agent").succeeded()
    left = machine.run(
        "find ~ -name '*mountfs*' ! -path '*/source/*' ! -path '*/.cache/*' ! -path '*/.config/mountfs*'",
        user="agent",
    )
    assert left.succeeded().output.strip() == ""
    # What the machine has is untouched.
    machine.run("test -x /usr/local/bin/mountfs -a -e /etc/systemd/user/mountfs@.service").succeeded()


def test_what_a_power_cut_left_is_sent_after_the_reboot(machine: Machine, configured: Tree) -> None:
    machine.run(f"systemctl enable {UNIT}").succeeded()
    machine.run("echo resumed > /srv/project/resumed").succeeded()
    machine.cut_power()
    again = Machine(configured)
    try:
        again.wait(f"systemctl is-active --quiet {UNIT}")
        again.run("grep -q resumed /srv/project/resumed").succeeded()
        again.run("mountfs sync --timeout 60 /srv/project").succeeded()
        _sees(again, "resumed", "resumed")
        again.run("echo shutdown > /srv/project/shutdown").succeeded()
        again.power_off()
    finally:
        again.close()
    third = Machine(configured)
    try:
        _sees(third, "shutdown", "shutdown")
    finally:
        third.close()


def test_the_installation_goes_without_a_trace(installed: Tree) -> None:
    """Last: the machine is off."""
    installed.run(f"{SOURCE}/scripts/install --remove").succeeded()
    kept = ("/root/*", "/etc/mountfs*", "/etc/systemd/system/*.service.d*")
    places = ("/home/*", "/tmp/*", "/var/*", *kept)
    but = " ".join(f"! -path '{place}'" for place in places)
    left = installed.run(f"find / -xdev -name '*mountfs*' {but}")
    assert left.succeeded().output.strip() == ""
