"""Asks for known vulnerabilities of pinned requirements; that nobody could be asked is told apart.

No database that is kept up to date comes as a package: pip-audit asks over the network, OSV first, then the
package index itself.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NOT_AUDITED: Final = 75
SERVICES: Final = ("osv", "pypi")
_LIMIT_S: Final = 300

ACCEPTED: Final[Mapping[str, str]] = {
    "CVE-2025-69872": "diskcache unpickles what lies in its folder; storage/ gives it a Disk that does not",
}
"""Vulnerabilities that do not concern this program, each with the reason."""


@dataclass(frozen=True)
class Judgement:
    """`audited`: packages that the database knows. `known`: one line for each vulnerability that counts."""

    audited: int
    known: tuple[str, ...]
    accepted: tuple[str, ...]


def judge(report: Mapping[str, Any]) -> Judgement:
    """Read pip-audit's report. A package that it left out was not audited."""
    known, accepted, audited = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            continue
        audited += 1
        for found in package["vulns"]:
            names = [found["id"], *found["aliases"]]
            reason = next((ACCEPTED[name] for name in names if name in ACCEPTED), None)
            line = f"{package['name']} {package['version']}: {' '.join(names)}"
            if reason is not None:
                accepted.append(f"{line}, accepted: {reason}")
            else:
                known.append(f"{line}, mended in {', '.join(found['fix_versions']) or 'no version yet'}")
    return Judgement(audited, tuple(known), tuple(accepted))


def ask(service: str, requirements: Path) -> tuple[Judgement | None, str]:
    """Return what the service knows; None where it did not answer, and why."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format=json"]
    command += ["--progress-spinner=off", "--timeout=15", f"--vulnerability-service={service}"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, f"--requirement={requirements}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        judgement = judge(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_LIMIT_S} s"
    except ValueError:
        said = done.stderr.strip().splitlines()
        return None, said[-1] if said else f"pip-audit ended with {done.returncode}"
    return (judgement, "") if judgement.audited else (None, "it knows none of the packages")


def _first_pin(requirements: Path) -> str:
    """Return the first requirement with its hashes."""
    lines = requirements.read_text().splitlines(keepends=True)
    end = next((at for at, line in enumerate(lines) if at and not line.startswith(" ")), len(lines))
    return "".join(lines[:end])


def reachable_service(requirements: Path) -> tuple[str | None, list[str]]:
    """Return the first service that answers for one package, and why others did not."""
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(_first_pin(requirements))
        for service in SERVICES:
            judgement, why = ask(service, one)
            if judgement is not None:
                return service, refused
            refused.append(f"{service}: {why}")
    return None, refused


def main(files: Sequence[str]) -> int:
    service, refused = reachable_service(Path(files[0]))
    if service is None:
        for line in refused:
            print(f"audit: {line}", file=sys.stderr)
        print("audit: NO DATABASE ANSWERS: the dependencies are NOT audited", file=sys.stderr)
        return NOT_AUDITED
    failed = False
    for name in files:
        judgement, why = ask(service, Path(name))
        if judgement is None:
            print(f"audit: {name}: NOT audited, {service}: {why}", file=sys.stderr)
            return NOT_AUDITED
        for line in (*judgement.accepted, *judgement.known):
            print(f"{name}: {line}")
        print(
            f"{name}: {judgement.audited} packages audited by {service}, {len(judgement.known)} known faults"
        )
        failed = failed or bool(judgement.known)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
