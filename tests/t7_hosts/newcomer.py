"""What somebody does who has just cloned the repository, in a tree where `scripts/install` has run."""

import re
from typing import Final

from tests.t6_system.machine import REPOSITORY
from tests.t7_hosts.conftest import SOURCE
from tests.t7_hosts.nspawn import DISK, Tree

TOO_LONG: Final = "four_hundred or killed_daemon or death_of_the_holder"
"""These wait for leases to end, or for a busy machine; the suite has them for the release it runs on."""

TOOLS: Final = "pytest pytest-trio pytest-timeout pytest-xdist hypothesis filelock portalocker"

EVENTS: Final = "cat /tmp/second/.mountfs/events\n"
WATCHED: Final = """
cat /tmp/second/.mountfs/events > /tmp/events &
until grep -q listening /tmp/events; do sleep 0.1; done
echo second > ~/workspace/second.txt
until grep -q '"created".*second.txt' /tmp/events; do sleep 0.1; done
kill $!
"""
"""What the tutorial does there in two terminals."""

SECOND_LOCK: Final = "flock /tmp/second/first.txt"
UNTIL_LOCKED: Final = "until grep -q mine ~/workspace/first.txt; do sleep 0.1; done\n"
"""Who types needs longer than the first lock."""


def tutorial() -> str:
    """Return the commands of docs/tutorial.md as one script; its first is the one of the README."""
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    commands = "".join(re.findall(r"^    (.*\n)", text, re.MULTILINE))
    assert commands.startswith("scripts/quickstart ~/workspace\n")
    assert (commands.count(EVENTS), commands.count(SECOND_LOCK)) == (1, 1)
    return commands.replace(EVENTS, WATCHED).replace(SECOND_LOCK, UNTIL_LOCKED + SECOND_LOCK)


def follow_the_tutorial(tree: Tree) -> None:
    """Check that its commands do what it says; the first alone installs all that is needed."""
    done = tree.run(
        f"""cd {SOURCE}
        {tutorial()}
        mountfs up ~/workspace
        test "$(cat ~/workspace/first.txt)" = $'hello\\nmine'
        test "$(cat ~/workspace/second.txt)" = second
        mountfs down ~/workspace""",
        timeout_s=900,
    ).succeeded()
    # Of the second host, before and under the lock.
    assert "\nhello\n" in done.output
    assert "\nhello\nmine\n" in done.output


def run_kernel_tests(tree: Tree, *tests: str) -> None:
    """Run them with the extension and the libraries that the tutorial's first command makes."""
    tree.run(
        f"""cd {SOURCE}
        [ -d .venv ] || {{ scripts/quickstart ~/workspace && mountfs down ~/workspace; }}
        sed -n '/;/!s/^\\([a-z0-9._-]*==[^ ]*\\).*/\\1/p' requirements/dev.txt > /tmp/pins
        .venv/bin/pip install --quiet --constraint /tmp/pins {TOOLS}
        cp .venv/lib/python3*/site-packages/mountfs/kernel/_extras*.so mountfs/kernel/
        .venv/bin/python -m pytest --quiet --basetemp {DISK}/t -p no:cacheprovider -n 2 --dist worksteal \\
            {" ".join(tests)} -m 'not long' -k 'not ({TOO_LONG})'""",
        timeout_s=1300,
    ).succeeded()
