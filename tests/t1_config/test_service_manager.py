"""The service manager hears what sd_notify would tell it, and nobody waits for it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from mountfs.daemon import service_manager


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            monkeypatch.delenv(name, raising=False)
        yield heard


def test_ready_and_stopping_are_heard(manager: socket.socket) -> None:
    service_manager.tell_ready("serving")
    assert manager.recv(4096).decode().splitlines() == ["READY=1", "STATUS=serving"]
    service_manager.tell_stopping(30)
    assert manager.recv(4096).decode().splitlines()[:2] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=90000000"]


def test_without_a_manager_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not service_manager.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not service_manager.tell("READY=1")


def test_the_watchdog_is_ours_alone(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service_manager.watchdog_interval_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert service_manager.watchdog_interval_s() == 10
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert service_manager.watchdog_interval_s() is None


async def test_signs_of_life_are_given_while_there_is_life(
    manager: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    asked: list[float] = []

    async def is_alive() -> bool:
        asked.append(trio.current_time())
        return len(asked) <= 2

    with trio.move_on_after(35):
        await service_manager.give_signs_of_life(is_alive)
    assert len(asked) == 4
    manager.setblocking(False)
    assert [manager.recv(100), manager.recv(100)] == [b"WATCHDOG=1"] * 2
    with pytest.raises(BlockingIOError):
        manager.recv(100)
