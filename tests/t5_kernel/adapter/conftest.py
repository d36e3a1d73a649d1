"""What the adapter's tests share: a daemon of a file system in memory, and programs that use it."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.t5_kernel.adapter.processes import Daemon, Process

PRELUDE = """
import errno, fcntl, os, signal, sys
say = lambda *words: print(*words, flush=True)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.path.exists("/dev/fuse"):
        return
    for item in items:
        if item.get_closest_marker("kernel") and Path(__file__).parent in item.path.parents:
            item.add_marker(
                pytest.mark.skip(reason="NOT TESTED: there is no /dev/fuse, nothing can be mounted")
            )


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    daemons: list[Daemon] = []

    def start(environment: dict[str, str] | None = None, **options: Any) -> Daemon:
        mountpoint = tmp_path / "mount"
        mountpoint.mkdir(exist_ok=True)
        daemons.append(Daemon(mountpoint, tmp_path / f"log{len(daemons)}", environment or {}, **options))
        assert daemons[-1].is_mounted(), daemons[-1].log.read_text()
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(handlers_limit_s=0.5)


@pytest.fixture
def start_program() -> Iterator[Callable[..., Process]]:
    """Start a program that uses the mount: Python with some imports, `say` and `sys.argv[1:]`."""
    programs: list[Process] = []

    def start(code: str, *arguments: str | Path) -> Process:
        command = [sys.executable, "-I", "-S", "-c", PRELUDE + code, *map(str, arguments)]
        programs.append(Process(command))
        return programs[-1]

    yield start
    for program in programs:
        program.close()
