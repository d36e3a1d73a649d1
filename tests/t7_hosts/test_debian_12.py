"""Debian 12 (libfuse 3.14): the commands of the README and the tutorial, and tests of the kernel side."""

import pytest

from tests.t7_hosts.newcomer import follow_the_tutorial, run_kernel_tests
from tests.t7_hosts.nspawn import Tree


@pytest.fixture(scope="module")
def release() -> str:
    return "bookworm"


def test_the_commands_of_the_tutorial_do_what_it_says(installed: Tree) -> None:
    follow_the_tutorial(installed)


def test_kernel_tests_pass(installed: Tree) -> None:
    """The suite runs on this release where CI does; here it is what the README installed that counts."""
    run_kernel_tests(installed, "tests/t5_kernel/adapter")
