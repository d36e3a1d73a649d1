"""Debian 13 (libfuse 3.17): the commands of the README and the tutorial, and tests of the kernel side."""

import pytest

from tests.t7_hosts.newcomer import follow_the_tutorial, run_kernel_tests
from tests.t7_hosts.nspawn import Tree


@pytest.fixture(scope="module")
def release() -> str:
    return "trixie"


def test_the_commands_of_the_tutorial_do_what_it_says(installed: Tree) -> None:
    follow_the_tutorial(installed)


def test_kernel_tests_pass(installed: Tree) -> None:
    """What differs is libfuse and Python: the adapter, whole mounts, and their way to another process."""
    run_kernel_tests(
        installed,
        "tests/t5_kernel/adapter",
        "tests/t5_kernel/test_mount_files.py",
        "tests/t5_kernel/test_mount_locks.py",
        "tests/t5_kernel/test_mount_upgrade.py",
    )
