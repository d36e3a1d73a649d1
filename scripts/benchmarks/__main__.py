"""The command line behind `scripts/bench`."""

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from scripts.benchmarks import machine, report, runner
from scripts.benchmarks.results import Results
from scripts.benchmarks.stages import STAGES, Choice, stages
from scripts.benchmarks.systems import SYSTEMS
from scripts.benchmarks.workloads import WORKLOADS
from scripts.benchmarks.workloads.base import Workload

ROOT = Path(__file__).parents[2]
INTERRUPTED = 130
STAGES_HELP = (
    "near: everything, with servers on this machine; far: everything, small, through a delay proxy with 0 ms "
    "and with --delay; large: transfers and listings at full size in the same way, only mountfs and bare "
    "loops; default: %(default)s"
)


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    results = Results(machine={"date": runner.started_at(), **machine.describe()}, command=_command())
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=given.work))
    complete = False
    try:
        plan = _plan(given, folder)
        if not plan.stages:
            print(f"no workload of {given.stages} matches {given.only}", file=sys.stderr)
            return 2
        runner.run(plan, results, _tell)
        complete = True
    except KeyboardInterrupt:
        _tell("interrupted; every process and mount has ended")
    finally:
        # What a mount that could not be unmounted leaves here must not cost the results.
        shutil.rmtree(folder, ignore_errors=True)
    if not complete:
        results.command += " (interrupted)"
    target = ROOT / "docs" if given.write_docs and complete else given.work / "results"
    data = report.write(results, target)
    _draw(given.work / "venv", data, target / "img")
    print(report.render(results))
    print(f"\nwritten to {target}")
    return 0 if complete else INTERRUPTED


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="The same workloads on mountfs, its peers and the local disk. "
        "--install also installs the peers that are Debian packages.",
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="default: below $XDG_CACHE_HOME/mountfs-bench"
    )
    parser.add_argument("--only", default="", metavar="REGEX", help="of the names of workloads and metrics")
    parser.add_argument("--systems", default=",".join(SYSTEMS), metavar="A,B", help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--delay", type=int, default=40, metavar="MS", help="of the far stage; default: 40")
    parser.add_argument("--stages", default=",".join(STAGES), metavar="A,B", help=STAGES_HELP)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="everything tiny: tries the benchmark itself")
    size.add_argument("--full", action="store_true", help="the large sizes on every system that has a server")
    parser.add_argument("--write-docs", action="store_true", help="write to docs/ instead of the work folder")
    given = parser.parse_args()
    if unknown := set(given.systems.split(",")) - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}")
    if unknown := set(given.stages.split(",")) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    return given


def _plan(given: argparse.Namespace, folder: Path) -> runner.Plan:
    wanted = re.compile(given.only)
    choice = Choice(
        systems=tuple(given.systems.split(",")),
        stages=tuple(given.stages.split(",")),
        delay_ms=given.delay,
        quick=given.quick,
        full=given.full,
    )
    return runner.Plan(
        stages=stages(choice, [workload for workload in WORKLOADS if _matches(wanted, workload)]),
        repeats=given.repeats,
        folder=folder,
        programs=given.work / "venv" / "bin",
    )


def _matches(wanted: re.Pattern[str], workload: Workload) -> bool:
    return any(wanted.search(name) for name in (workload.name, *workload.metrics))


def _command() -> str:
    """As it was called, without the place of the work folder."""
    words = sys.argv[1:]
    if "--work" in words:
        at = words.index("--work")
        del words[at : at + 2]
    return shlex.join(["scripts/bench", *words])


def _draw(environment: Path, data: Path, folder: Path) -> None:
    python = environment / "bin" / "python"
    done = None
    if python.exists():
        command = [str(python), "-m", "scripts.benchmarks.charts", str(data), str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done is None or done.returncode:
        _tell(
            "no charts: matplotlib is not installed" if done is None else f"no charts: {done.stderr.strip()}"
        )


def _tell(text: str) -> None:
    print(f"-- {text}", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Begin the end; a second signal must not stop it half way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
