"""Versions, trash, search and the log, as users call them on a mount."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.t6_system.machine import Machine, Server, wait_until

pytestmark = pytest.mark.kernel


@pytest.fixture
def place(machine: Machine, server: Server) -> Path:
    mountpoint = machine.mountpoint()
    machine.mount(server, mountpoint).succeeded()
    return mountpoint


def saved(machine: Machine, path: Path, content: str) -> None:
    path.write_text(content)
    machine.run("sync", path).succeeded()


def versions(machine: Machine, path: Path) -> list[dict[str, Any]]:
    told = json.loads(machine.run("versions", "--json", path).succeeded().stdout)["versions"]
    assert isinstance(told, list)
    return told


@pytest.mark.long
def test_old_version_is_listed_read_and_restored(machine: Machine, place: Path) -> None:
    path = place / "a@b.txt"
    saved(machine, path, "first")
    saved(machine, path, "second")
    told = versions(machine, path)
    assert [(row["size"], row["current"]) for row in told] == [(6, True), (5, False)]
    assert "~1" in machine.run("versions", path).succeeded().stdout
    assert machine.run("cat", f"{path}@~1").succeeded().stdout == "first"
    assert machine.run("cat", f"{path}@{told[1]['id']}").succeeded().stdout == "first"
    assert "restored" in machine.run("restore", path).succeeded().stdout
    assert path.read_text() == "first"
    machine.run("restore", path, told[0]["id"]).succeeded()
    assert path.read_text() == "second"
    assert len(versions(machine, path)) == 4
    machine.run("cat", f"{path}@~9").refused(2, "no version ~9")
    machine.run("cat", place / "nothing").refused(2, "PATH@VERSION")
    machine.run("versions", place / "nothing").refused(2, "not in the mount")
    machine.run("versions", place).refused(2, "a file or folder")
    machine.run("versions", machine.folder).refused(12)


def test_unsent_changes_are_not_replaced(machine: Machine, server: Server) -> None:
    place = machine.mountpoint("slow")
    machine.mount(server, place, "--set", "upload_delay_s=60").succeeded()
    path = place / "a"
    saved(machine, path, "first")
    saved(machine, path, "second")
    path.write_text("second, unsent")
    machine.run("restore", path).refused(14, "mountfs sync")
    machine.run("sync", path).succeeded()
    assert path.read_text() == "second, unsent"


@pytest.mark.long
def test_deleted_file_comes_back_from_the_trash(machine: Machine, place: Path) -> None:
    (place / "folder").mkdir()
    path = place / "folder" / "a"
    saved(machine, path, "content")
    path.unlink()
    machine.run("sync", place).succeeded()
    (row,) = json.loads(machine.run("trash", "list", "--mount", place, "--json").succeeded().stdout)["trash"]
    assert (row["path"], row["kind"]) == ("folder/a", "file")
    assert "folder/a" in machine.run("trash", "list", "--mount", place).succeeded().stdout
    assert f"restored {path}" in machine.run("restore", path).succeeded().stdout
    assert path.read_text() == "content"
    path.unlink()
    machine.run("sync", place).succeeded()
    machine.run("trash", "restore", "--mount", place, row["id"]).succeeded()
    assert path.read_text() == "content"
    path.unlink()
    machine.run("sync", place).succeeded()
    machine.run("trash", "purge", "--mount", place).refused(2, "--all")
    assert "purged folder/a" in machine.run("trash", "purge", "--mount", place, "a").succeeded().stdout
    assert "is empty" in machine.run("trash", "list", "--mount", place).succeeded().stdout
    machine.run("restore", path).refused(2, "neither in the mount nor in the trash")


def test_what_was_just_removed_is_in_the_trash(machine: Machine, server: Server) -> None:
    place = machine.mountpoint("slow")
    machine.mount(server, place, "--set", "upload_delay_s=60").succeeded()
    path = place / "a"
    saved(machine, path, "content")
    path.unlink()
    machine.run("restore", path).succeeded()
    assert path.read_text() == "content"
    path.unlink()
    assert "purged a" in machine.run("trash", "purge", "--mount", place, "--all").succeeded().stdout


def test_search_prints_paths_in_the_mount(machine: Machine, place: Path) -> None:
    (place / "docs").mkdir()
    saved(machine, place / "docs" / "needle.txt", "haystack")
    saved(machine, place / "other.txt", "a needle inside")
    machine.run("sync", place).succeeded()
    found = machine.run("search", "--mount", place, "needle").succeeded().stdout.split("\n")
    assert found[:-1] == [str(place / "docs" / "needle.txt"), str(place / "other.txt")]
    by_name = machine.run("search", "--mount", place, "--name", "needle").succeeded().stdout
    assert by_name == f"{place / 'docs' / 'needle.txt'}\n"
    told = json.loads(
        machine.run("search", "--mount", place, "--content", "--json", "needle").succeeded().stdout
    )
    assert [hit["path"] for hit in told["hits"]] == ["other.txt"]
    assert machine.run("search", "--mount", place, "unheard-of").succeeded().stdout == ""
    machine.run("search", "--mount", place, "x").refused(2, "2 to 1000")


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_log_tells_who_changed_what(machine: Machine, place: Path) -> None:
    script = 'mkdir "$0/folder" && echo x > "$0/folder/a" && mv "$0/folder/a" "$0/folder/b"'
    subprocess.run(
        ["sh", "-c", script, str(place)], check=True, env={**os.environ, "MOUNTFS_AGENT": "agent-7"}, cwd="/"
    )
    machine.run("sync", place).succeeded()
    (place / "folder" / "b").unlink()
    machine.run("sync", place).succeeded()
    wait_until(lambda: "trash" in machine.run("log", "--json", place).succeeded().stdout)
    rows = rows_of(machine.run("log", "--json", place).succeeded().stdout)
    own = {row["effect"]: row for row in rows if row["source"] == "mount"}
    assert set(own) == {"create folder", "create file", "trash"}
    assert own["create file"]["path"] == "folder/b"
    assert own["create file"]["who"]["agent"] == "agent-7"
    assert own["create file"]["who"]["uid"] == os.getuid()
    assert own["create folder"]["who"]["program"] == "mkdir"
    assert own["trash"]["who"]["pid"] == os.getpid()
    assert all(row["request"] != "-" and row["certain"] for row in own.values())
    remote = [row["event"] for row in rows if row["source"] == "workspace"]
    assert [event.removeprefix("workspace_storage_") for event in remote] == [
        "folder_created",
        "file_added",
        "file_deleted",
    ]
    assert rows == sorted(rows, key=lambda row: row["at"][:19])
    text = machine.run("log", place).succeeded().stdout
    assert "agent agent-7" in text
    below = rows_of(machine.run("log", "--json", place / "folder").succeeded().stdout)
    assert {row.get("path") for row in below} == {"folder", "folder/b"}


@pytest.mark.long
def test_log_tells_after_a_restart_who_had_changed_what(machine: Machine, server: Server) -> None:
    place = machine.mountpoint()
    slow = machine.configure("upload_delay_s = 60")
    machine.mount(server, place, "--config", slow).succeeded()
    saved(machine, place / "old", "x")
    subprocess.run(
        ["sh", "-c", 'rm "$0/old" && echo x > "$0/new"', str(place)],
        check=True,
        env={**os.environ, "MOUNTFS_AGENT": "earlier"},
    )
    daemon = machine.daemon(place)
    daemon.send(signal.SIGKILL)
    assert daemon.wait_gone(30)
    machine.mount(server, place, "--config", slow).succeeded()
    machine.run("sync", place).succeeded()
    wait_until(lambda: {row["effect"] for row in own_rows(machine, place)} >= {"create file", "trash"})
    who = {(row["effect"], row["path"]): row["who"] for row in own_rows(machine, place)}
    assert who["create file", "old"]["pid"] == os.getpid()
    assert (who["create file", "new"]["program"], who["create file", "new"]["agent"]) == ("sh", "earlier")
    assert (who["trash", "old"]["program"], who["trash", "old"]["uid"]) == ("rm", os.getuid())


HOLDER = """
import fcntl, os, sys
with open(sys.argv[1]) as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def own_rows(machine: Machine, path: Path) -> list[dict[str, Any]]:
    rows = rows_of(machine.run("log", "--json", path).succeeded().stdout)
    return [row for row in rows if row["source"] == "mount"]


def test_log_tells_who_locked(machine: Machine, place: Path) -> None:
    saved(machine, place / "a", "x")
    path = place / "a"
    # With nothing to write: what comes behind it is written all the same.
    machine.run("sync", place).succeeded()
    environment = {**os.environ, "MOUNTFS_AGENT": "locker"}
    subprocess.run(["flock", str(path), "true"], check=True, env=environment)
    wait_until(lambda: any(row["effect"] == "unlock" for row in own_rows(machine, path)))
    rows = {row["effect"]: row for row in own_rows(machine, path)}
    assert (rows["lock"]["who"]["program"], rows["lock"]["who"]["agent"]) == ("flock", "locker")
    assert rows["unlock"]["who"]["agent"] == "locker"
    assert rows["create file"]["who"]["pid"] == os.getpid()

    # One that ends without unlocking.
    environment["MOUNTFS_AGENT"] = "killed"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    wait_until(lambda: [row["effect"] for row in own_rows(machine, path)].count("unlock") == 2)
    told = [row["who"]["agent"] for row in own_rows(machine, path) if "lock" in row["effect"]]
    assert told == ["locker", "locker", "killed", "killed"]


def test_log_follows(machine: Machine, place: Path) -> None:
    saved(machine, place / "a", "x")
    with machine.started("log", "--follow", "--json", place) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())
        saved(machine, place / "later", "x")
        assert any(json.loads(line).get("path") == "later" for line in follower.stdout)


def test_log_follows_all_that_happens_however_little_is_shown_first(
    machine: Machine, server: Server, place: Path
) -> None:
    other = machine.mountpoint("other")
    machine.mount(server, other).succeeded()
    saved(machine, other / "before", "x")
    saved(machine, other / "last", "x")
    with machine.started("log", "--follow", "--json", "--limit", "1", place) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["name"] == "last"
        for number in range(3):
            saved(machine, other / f"later-{number}", "x")
        told = [json.loads(follower.stdout.readline())["name"] for _number in range(3)]
    assert told == ["later-0", "later-1", "later-2"]


def test_log_follows_the_daemon_that_comes_after(machine: Machine, server: Server) -> None:
    place, other = machine.mountpoint(), machine.mountpoint("other")
    machine.mount(server, place).succeeded()
    machine.mount(server, other).succeeded()
    saved(machine, other / "before", "x")
    with machine.started("log", "--follow", "--json", place) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["name"] == "before"
        machine.run("umount", place).succeeded()
        machine.mount(server, place).succeeded()
        saved(machine, other / "later", "x")
        assert json.loads(follower.stdout.readline())["name"] == "later"


HURRIED_LOG = """
import sys
from datetime import timedelta
from mountfs.cli import log, main

log._ASK_EVERY_S, log._OVERLAP = 0.2, timedelta(seconds=1)
main.main(["log", "--follow", "--json", sys.argv[1]])
"""


def test_log_tells_what_happened_while_nobody_could_be_asked(machine: Machine, server: Server) -> None:
    place, other = machine.mountpoint(), machine.mountpoint("other")
    machine.mount(server, place).succeeded()
    machine.mount(server, other).succeeded()
    saved(machine, other / "before", "x")
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HURRIED_LOG, place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=machine.environment(),
    ) as follower:
        try:
            assert follower.stdout is not None
            assert follower.stderr is not None
            assert json.loads(follower.stdout.readline())["name"] == "before"
            machine.run("umount", place).succeeded()
            assert "without the events" in follower.stderr.readline()
            saved(machine, other / "meanwhile", "x")
            machine.mount(server, place).succeeded()
            assert json.loads(follower.stdout.readline())["name"] == "meanwhile"
        finally:
            follower.kill()
