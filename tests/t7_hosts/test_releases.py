"""Debian 12 (libfuse 3.14) and Debian 13 (libfuse 3.17): the README's commands install, and the kernel's
tests pass."""

from tests.t7_hosts.conftest import SOURCE
from tests.t7_hosts.nspawn import Tree

KERNEL_TESTS = (
    "tests/t5_kernel/adapter tests/t5_kernel/test_mount_files.py tests/t5_kernel/test_mount_locks.py"
)

TOO_LONG = "four_hundred or killed_daemon or death_of_the_holder"
"""These wait for leases to end, or for a busy machine; the suite has them for the release it runs on."""

PREPARE = ". scripts/lib/steps.sh; . scripts/lib/system.sh; . scripts/lib/environment.sh; ensure_venv"


def test_the_first_command_of_the_readme_gives_a_live_mount(installed: Tree) -> None:
    installed.run(
        f"""cd {SOURCE}
        scripts/quickstart ~/workspace
        echo hello > ~/workspace/a.txt
        .venv/bin/mountfs sync ~/workspace
        .venv/bin/mountfs down ~/workspace
        .venv/bin/mountfs up ~/workspace
        test "$(cat ~/workspace/a.txt)" = hello
        flock ~/workspace/a.txt true
        .venv/bin/mountfs down ~/workspace""",
        timeout_s=400,
    ).succeeded()


def test_kernel_tests_pass(installed: Tree) -> None:
    installed.run(
        f"""cd {SOURCE}
        {PREPARE}
        ensure_requirements requirements/dev.txt
        ensure_editable
        .venv/bin/python -m pytest --quiet --basetemp /tmp/t -p no:cacheprovider -n0 {KERNEL_TESTS} \\
            -k 'not ({TOO_LONG})'""",
        timeout_s=580,
    ).succeeded()
