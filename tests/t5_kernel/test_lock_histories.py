"""The short form of `scripts/torture-locks`: histories of locks on three mounts while the network fails."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

REPOSITORY = Path(__file__).parents[2]
FAULTS = ("delay", "cut")
"""Those that cost no lease, which lasts long here; what the others find is told in docs/reliability.md."""


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: network namespaces need root")
def test_history_under_faults_is_one_that_locks_allow() -> None:
    chosen = [word for fault in FAULTS for word in ("--fault", fault)]
    size = ["--seed", "7", "--sections", "60", "--faults", "6", "--limit", "25", "--lease", "30"]
    done = subprocess.run(
        [REPOSITORY / "scripts" / "torture-locks", *size, *chosen],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "| violations | 0 |" in done.stdout
    assert "| - cut | 3 |" in done.stdout
