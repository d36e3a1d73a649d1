"""The short form of `scripts/torture-locks`: histories of locks on three mounts while things go wrong."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

REPOSITORY = Path(__file__).parents[2]
FAULTS = ("delay", "cut", "partition of one mount", "pause of a daemon", "kill of a daemon")
"""The last three for longer than a lease lasts here; what the others find is told in docs/reliability.md."""


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: network namespaces need root")
def test_history_under_faults_is_one_that_locks_allow() -> None:
    chosen = [word for fault in FAULTS for word in ("--fault", fault)]
    size = ["--seed", "42", "--sections", "60", "--faults", "5", "--limit", "75", "--lease", "2"]
    done = subprocess.run(
        [REPOSITORY / "scripts" / "torture-locks", *size, *chosen],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "| violations | 0 |" in done.stdout
    for fault in FAULTS:
        assert f"| - {fault} | 1 |" in done.stdout
