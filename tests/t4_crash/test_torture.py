"""The short form of `scripts/torture`: two mounts go on through kills and faults, and a model judges."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.kernel
@pytest.mark.long
@pytest.mark.timeout(600)
def test_nothing_is_lost_torn_or_there_twice(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "scripts.torture_files", "--minutes", "0.5", "--seed", "1"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
