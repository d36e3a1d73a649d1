"""The template unit is one that systemd understands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.t6_system.machine import REPOSITORY

UNIT = REPOSITORY / "systemd" / "mountfs@.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT TESTED: there is no systemd-analyze")
def test_unit_is_understood(tmp_path: Path) -> None:
    # The program is not installed where the unit expects it; everything else is checked as it stands.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/mountfs/.venv/bin/mountfs", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
