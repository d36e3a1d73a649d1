"""`mountfs locks` and `mountfs unlock`, of one mount and of two."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.t6_system.machine import Machine, Server, wait_until

pytestmark = pytest.mark.kernel


@contextmanager
def holding(path: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that takes the lock and keeps it until its input ends; it says so when it has it."""
    with subprocess.Popen(
        ["flock", *options, path, "sh", "-c", "echo locked; read end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    ) as program:
        try:
            yield program
        finally:
            assert program.stdin is not None
            program.stdin.close()
            program.kill()


def has_it(program: "subprocess.Popen[bytes]") -> None:
    assert program.stdout is not None
    assert program.stdout.readline() == b"locked\n"


def locks(machine: Machine, *arguments: str | Path) -> list[dict[str, Any]]:
    told = json.loads(machine.run("locks", "--json", *arguments).succeeded().stdout)
    return [lock for mount in told["mounts"] for lock in mount["locks"]]


@pytest.fixture
def pair(machine: Machine, server: Server) -> tuple[Path, Path]:
    """Two mounts that both see `folder/file`."""
    first, second = machine.mountpoint("first"), machine.mountpoint("second")
    machine.mount(server, first).succeeded()
    (first / "folder").mkdir()
    (first / "folder" / "file").write_text("x")
    machine.run("sync", first).succeeded()
    machine.mount(server, second).succeeded()
    assert (second / "folder" / "file").read_text() == "x"
    return first, second


@pytest.mark.long
def test_locks_tell_who_holds_and_who_waits_here_and_elsewhere(
    machine: Machine, pair: tuple[Path, Path]
) -> None:
    first, second = (place / "folder" / "file" for place in pair)
    assert locks(machine) == []
    assert locks(machine, pair[0]) == []
    with ExitStack() as programs:
        holder = programs.enter_context(holding(first))
        has_it(holder)
        programs.enter_context(holding(second, "--shared"))
        wait_until(lambda: bool(locks(machine, second) and locks(machine, second)[0]["waiters"]))
        (here,), (there,) = locks(machine, first), locks(machine, second)
        assert here["path"] == there["path"] == "folder/file"
        assert [use["kind"] for use in here["holders"]] == ["exclusive"]
        assert here["holders"][0]["since_s"] > 0
        assert 0 < here["lease_s"] <= 60
        assert here["remote"]["here"] is True
        assert here["remote"]["holder"].endswith(f":{machine.daemon(pair[0]).pid}")
        assert here["remote"]["until"] > here["remote"]["since"]
        assert {program["pid"] for program in here["open_in"]} >= {holder.pid}
        assert there["holders"] == []
        assert [use["kind"] for use in there["waiters"]] == ["shared"]
        assert there["remote"] == {**here["remote"], "here": False, "until": there["remote"]["until"]}
        assert len(locks(machine)) == 2
        for place in pair:
            text = machine.run("locks", place).succeeded().stdout
            assert "folder/file" in text
            assert "on the workspace" in text


def test_folder_tells_locks_of_other_hosts_that_nobody_here_uses(
    machine: Machine, pair: tuple[Path, Path]
) -> None:
    with holding(pair[0] / "folder" / "file") as holder:
        has_it(holder)
        (lock,) = locks(machine, pair[1])
        assert (lock["path"], lock["holders"], lock["waiters"]) == ("folder/file", [], [])
        assert lock["remote"]["here"] is False


@pytest.mark.long
def test_locks_are_told_without_the_workspace(
    machine: Machine, server: Server, pair: tuple[Path, Path]
) -> None:
    with holding(pair[0] / "folder" / "file") as holder:
        has_it(holder)
        server.kill()
        (lock,) = locks(machine, pair[0])
        assert [use["kind"] for use in lock["holders"]] == ["exclusive"]
        assert lock["remote"] is None
        assert lock["remote_error"]


def test_broken_lock_goes_to_the_one_that_waits(machine: Machine, pair: tuple[Path, Path]) -> None:
    first, second = (place / "folder" / "file" for place in pair)
    with ExitStack() as programs:
        has_it(programs.enter_context(holding(first)))
        waiter = programs.enter_context(holding(second))
        wait_until(lambda: bool(locks(machine, second) and locks(machine, second)[0]["waiters"]))
        told = machine.run("unlock", "--force", second).succeeded().stdout
        assert f":{machine.daemon(pair[0]).pid}" in told
        has_it(waiter)


def test_lock_that_nobody_holds_is_broken_without_a_word_of_harm(
    machine: Machine, pair: tuple[Path, Path]
) -> None:
    told = machine.run("unlock", "--force", pair[0] / "folder" / "file").succeeded().stdout
    assert "nobody holds a lock" in told


def test_lock_is_kept_from_who_may_not_break_it(
    machine: Machine, server: Server, pair: tuple[Path, Path]
) -> None:
    first = pair[0] / "folder" / "file"
    place = machine.mountpoint("third")
    machine.run(
        "mount", "--url", server.url, "--workspace", "main", place, MOUNTFS_TOKEN=server.member_token()
    ).succeeded()
    assert (place / "folder" / "file").exists()
    with holding(first) as holder:
        has_it(holder)
        machine.run("unlock", "--force", place / "folder" / "file").refused(7, "administrator")
        assert locks(machine, first)[0]["remote"]["here"] is True
    machine.run("unlock", first).refused(2, "--force")
    machine.run("unlock", "--force", machine.folder / "elsewhere").refused(12, "not inside a mount")
    machine.run("unlock", "--force", pair[0] / "nothing").refused(2, "nothing")
    machine.run("locks", machine.folder / "elsewhere").refused(12, "not inside a mount")
