"""What the report of a dependency audit means: faults, accepted ones, and what was not audited at all."""

from pathlib import Path

import pytest

from scripts.lib import audit

_FAULT = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.0"], "description": ""}
_PICKLE = {"id": "PYSEC-2", "aliases": ["CVE-2025-69872"], "fix_versions": [], "description": ""}


def test_faults_are_told_and_accepted_ones_apart() -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1.0", "vulns": [_FAULT]},
            {"name": "diskcache", "version": "5.6.3", "vulns": [_PICKLE]},
            {"name": "b", "version": "1.0", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ]
    }
    found = audit.judge(report)
    assert (found.audited, found.known) == (3, ("a 1.0: PYSEC-1 CVE-1, mended in 2.0",))
    assert len(found.accepted) == 1


def test_a_database_that_knows_nothing_has_audited_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1.0 \\\n    --hash=sha256:00\nb==1.0 \\\n    --hash=sha256:00\n")
    asked: list[str] = []

    def ask(service: str, requirements: Path) -> tuple[None, str]:
        asked.append(requirements.read_text())
        return None, "no answer"

    monkeypatch.setattr(audit, "ask", ask)
    assert audit.main([str(pins)]) == audit.NOT_AUDITED
    assert asked == ["a==1.0 \\\n    --hash=sha256:00\n"] * len(audit.SERVICES)
    assert "NOT audited" in capsys.readouterr().err
