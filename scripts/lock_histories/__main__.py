"""`scripts/torture-locks`: programs lock registers on three mounts, things go wrong, a checker judges."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path

from scripts.benchmarks.processes import Absent
from scripts.lock_histories.faults import KINDS, Faults, plan
from scripts.lock_histories.history import Section, Violation, violations
from scripts.lock_histories.log import read_sections
from scripts.lock_histories.rig import Rig, Shape
from scripts.lock_histories.workspace import registers_of

SHOWN = 20
"""How many violations of a kind are told one by one."""

UNLOCKED = b'"step": "unlock", "end"'


@dataclass
class Outcome:
    """What a run was, and what it found."""

    seed: str
    shape: Shape
    took_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    sections: list[Section] = field(default_factory=list)
    committed: int = 0
    handed_over: int = 0
    copies: int = 0
    found: list[Violation] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """When a run ends: with so many sections and faults, or after a time."""

    sections: int
    faults: int
    limit_s: float
    kinds: tuple[str, ...]


def run(folder: Path, seed: str, shape: Shape, goal: Goal) -> Outcome:
    """Run and check; every process, mount and namespace is gone on return."""
    outcome = Outcome(seed, shape)
    began = time.monotonic()
    with Rig(folder, shape, seed) as rig:
        rig.start_workers()
        chance = random.Random(f"pauses-{seed}")
        faults = Faults(rig)
        for fault in plan(seed, len(shape.mounts), shape.lease_s, goal.kinds):
            enough = sum(outcome.faults.values()) >= goal.faults and _finished(rig) >= goal.sections
            if enough or time.monotonic() - began > goal.limit_s:
                break
            if sum(outcome.faults.values()) < goal.faults:
                print(f"{time.monotonic() - began:7.1f} s  {fault.kind}, {fault.lasts_s:.1f} s", flush=True)
                faults.apply(fault)
                outcome.faults[fault.kind] += 1
            time.sleep(chance.uniform(0.2, 1.5))
        _judge(rig, outcome)
    outcome.took_s = time.monotonic() - began
    return outcome


def _finished(rig: Rig) -> int:
    return sum(log.read_bytes().count(UNLOCKED) for log in rig.logs)


def _judge(rig: Rig, outcome: Outcome) -> None:
    stuck = rig.stop_workers()
    outcome.found += [Violation("a program is stuck", "the mount", name) for name in stuck]
    for mount in rig.mounts:
        if complaint := mount.sync():
            outcome.found.append(Violation("not everything is confirmed", f"mount {mount.name}", complaint))
        if count := mount.tracebacks():
            outcome.found.append(Violation("a daemon failed", f"mount {mount.name}", f"{count} tracebacks"))
    told = rig.server.ask("collect", *rig.shape.registers)
    registers = registers_of(told)
    for log in rig.logs:
        outcome.sections += read_sections(log.read_text().splitlines())
    outcome.found += violations(outcome.sections, registers)
    mount_of = {section.name: section.mount for section in outcome.sections}
    for name, register in registers.items():
        outcome.committed += len(register.names)
        outcome.copies += told[name]["copies"]
        mounts = [mount_of.get(entry) for entry in register.names]
        outcome.handed_over += sum(one != other for one, other in pairwise(mounts))


def report(outcome: Outcome) -> str:
    """The result as a table of Markdown."""
    sections = outcome.sections
    rows = [
        ("seed", outcome.seed),
        ("locks", outcome.shape.kind),
        ("mounts and programs on each; registers", _shape(outcome.shape)),
        ("time", f"{outcome.took_s:.0f} s"),
        ("critical sections that had the lock", str(sum(each.held_from is not None for each in sections))),
        ("of these, committed", str(outcome.committed)),
        ("hand-overs between mounts", str(outcome.handed_over)),
        ("sections that ended early or with an error", str(sum(not each.succeeded for each in sections))),
        ("conflict copies", str(outcome.copies)),
        ("faults", str(sum(outcome.faults.values()))),
        *((f"- {kind}", str(count)) for kind, count in sorted(outcome.faults.items())),
        ("violations", str(len(outcome.found))),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows)])


def _shape(shape: Shape) -> str:
    return f"{len(shape.mounts)} and {shape.workers}; {len(shape.registers)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/torture-locks", description=__doc__)
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**9)))
    parser.add_argument("--sections", type=int, default=10_000, help="at least so many critical sections")
    parser.add_argument("--faults", type=int, default=200, help="and so many faults")
    parser.add_argument("--limit", type=float, default=3600.0, metavar="S", help="but no longer than this")
    parser.add_argument("--fault", action="append", choices=KINDS, help="only these kinds; may be repeated")
    parser.add_argument("--workers", type=int, default=2, help="programs on each mount")
    parser.add_argument("--registers", type=int, default=3, help="files they lock")
    parser.add_argument("--lease", type=int, default=3, metavar="S", help="duration of the leases")
    parser.add_argument("--kind", choices=["flock", "fcntl"], default="flock")
    parser.add_argument("--keep", action="store_true", help="leave logs and caches where they are")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    shape = Shape(
        workers=given.workers,
        registers=tuple(f"r{number}" for number in range(given.registers)),
        lease_s=given.lease,
        kind=given.kind,
    )
    goal = Goal(given.sections, given.faults, given.limit, tuple(given.fault or KINDS))
    folder = Path(tempfile.mkdtemp(prefix="torture-locks-"))
    keep = given.keep
    try:
        outcome = run(folder, given.seed, shape, goal)
        keep = keep or bool(outcome.found)
    except Absent as error:
        print(f"not possible here: {error}", file=sys.stderr)
        return 2
    finally:
        if keep:
            print(f"logs are left in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(report(outcome))
    for kind, group in groupby(sorted(outcome.found, key=lambda each: each.kind), lambda each: each.kind):
        violations_of_kind = list(group)
        print(f"\n{kind}: {len(violations_of_kind)}")
        for violation in violations_of_kind[:SHOWN]:
            print(f"  {violation}")
    return 1 if outcome.found else 0


if __name__ == "__main__":
    sys.exit(main())
