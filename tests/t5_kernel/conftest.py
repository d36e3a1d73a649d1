"""Fixtures of the tests of whole mounts."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.path.exists("/dev/fuse"):
        return
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(
                pytest.mark.skip(reason="NOT TESTED: there is no /dev/fuse, nothing can be mounted")
            )


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Return a function that starts a server with these switches, once."""
    worlds: list[World] = []

    def make(*switches: str) -> World:
        worlds.append(World(tmp_path, *switches))
        return worlds[-1]

    try:
        yield make
    finally:
        for world in worlds:
            world.print_logs()
            world.clean_up()


@pytest.fixture
def world(make_world: Callable[..., World]) -> Iterator[World]:
    """Return a server with an empty workspace."""
    made = make_world()
    with made.bounded():
        yield made
