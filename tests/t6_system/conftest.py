"""Fixtures of the system tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.t6_system.machine import Machine, Server


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a fresh user; at the end no process, mount or socket of it is left."""
    fresh = Machine(tmp_path)
    try:
        yield fresh
    finally:
        fresh.clean_up()


@pytest.fixture
def server(machine: Machine) -> Server:
    """Return a running server with the workspace `main`."""
    return machine.serve()
