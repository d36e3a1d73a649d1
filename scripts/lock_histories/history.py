"""What programs saw of locks, and whether it can have been locks at all. Pure.

Each critical section takes the lock of one register, reads it, appends its own name, and unlocks. So the
content of a register is the order in which the workspace has the sections' commits, and each section knows
its predecessor: that is all a checker needs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Step(Enum):
    """The steps of a critical section, in their order."""

    LOCK = "lock"
    READ = "read"
    APPEND = "append"
    UNLOCK = "unlock"


@dataclass(frozen=True)
class Span:
    """When a step began and ended, by one monotonic clock; `end` is None where nothing tells of its end."""

    begin: float
    end: float | None
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return self.end is not None and not self.error


@dataclass
class Section:
    """One critical section. `seen` is the last name in the register when it was read, "" for an empty one."""

    name: str
    mount: str
    register: str
    steps: dict[Step, Span] = field(default_factory=dict)
    seen: str | None = None

    @property
    def held_from(self) -> float | None:
        """When it was told that it has the lock; None where it never was."""
        lock = self.steps.get(Step.LOCK)
        return lock.end if lock is not None and lock.succeeded else None

    @property
    def held_until(self) -> float:
        """The last moment at which it surely believed to have the lock."""
        assert self.held_from is not None
        last = max(self.steps.values(), key=lambda span: span.begin)
        return max(self.held_from, last.begin)

    @property
    def appended(self) -> bool:
        """Whether its name may be in the register."""
        return Step.APPEND in self.steps

    @property
    def succeeded(self) -> bool:
        """Whether every step said that it was done."""
        return all(step in self.steps and self.steps[step].succeeded for step in Step)


@dataclass(frozen=True)
class Register:
    """What the workspace has in the end: the names in the register, oldest first; each of its versions as the
    number of names it had, None for one that is no beginning of the last; names in conflict copies."""

    names: Sequence[str]
    versions: Sequence[int | None] = ()
    kept_aside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Violation:
    """One thing that no lock can have allowed."""

    kind: str
    register: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} in {self.register}: {self.text}"


def violations(sections: Iterable[Section], registers: Mapping[str, Register]) -> list[Violation]:
    """Everything that is wrong with the history; empty for one that locks allow."""
    known = {section.name: section for section in sections}
    found: list[Violation] = []
    for name, register in registers.items():
        mine = [section for section in known.values() if section.register == name]
        found += _unknown_or_twice(name, register, known)
        found += _broken_versions(name, register)
        found += _overlapping(name, register, known)
        found += _stale_reads(name, register, known)
        found += _lost(name, register, mine)
    return found


def _unknown_or_twice(name: str, register: Register, known: Mapping[str, Section]) -> Iterable[Violation]:
    for entry, times in Counter(register.names).items():
        if times > 1:
            yield Violation("an update came twice", name, f"{entry} is there {times} times")
        if entry not in known or known[entry].register != name or not known[entry].appended:
            yield Violation("an update of nobody", name, f"{entry} was appended by no section")
        elif known[entry].held_from is None:
            yield Violation("a commit without the lock", name, f"{entry} never had the lock")


def _broken_versions(name: str, register: Register) -> Iterable[Violation]:
    """A version that took something back would show an update that was lost for a while."""
    before = 0
    for number, length in enumerate(register.versions):
        if length is None or length < before:
            yield Violation(
                "a commit took updates back", name, f"version {number} of {len(register.versions)}"
            )
        else:
            before = length


def _overlapping(name: str, register: Register, known: Mapping[str, Section]) -> Iterable[Violation]:
    """Two holders at once, of those whose commits the workspace shows."""
    latest: Section | None = None
    for entry in register.names:
        section = known.get(entry)
        if section is None or section.held_from is None:
            continue
        if latest is not None and section.held_from < latest.held_until:
            over = latest.held_until - section.held_from
            yield Violation(
                "two holders at once",
                name,
                f"{section.name} ({section.mount}) had the lock {over:.6f} s before "
                f"{latest.name} ({latest.mount}) began to give it back",
            )
        if latest is None or section.held_until > latest.held_until:
            latest = section


def _stale_reads(name: str, register: Register, known: Mapping[str, Section]) -> Iterable[Violation]:
    """Each holder has to read what its predecessor published."""
    for before, entry in zip(("", *register.names), register.names, strict=False):
        section = known.get(entry)
        if section is not None and section.seen != before:
            yield Violation("a stale read", name, f"{entry} read {section.seen!r} after {before!r}")


def _lost(name: str, register: Register, sections: Sequence[Section]) -> Iterable[Violation]:
    """An update whose section was told that all is done has to be there.

    One exception follows from what is promised: between the holders of one mount the lock passes on without
    the network, so a run of hand-overs may be lost as a whole with the lease it ran under. Then its last
    section was not told that it succeeded, and the content of all of them is kept aside.
    """
    there = set(register.names)
    refused = [section for section in sections if section.held_from is None and Step.LOCK in section.steps]
    in_order = sorted(
        (section for section in sections if section.held_from is not None),
        key=lambda section: section.held_from or 0.0,
    )
    for place, section in enumerate(in_order):
        if section.succeeded and section.name not in there:
            if not _handed_over_to_a_loss(section, in_order[place + 1 :], refused, there):
                yield Violation(
                    "a lost update", name, f"{section.name} ({section.mount}) was told it is safe"
                )
            elif section.name not in register.kept_aside:
                yield Violation("content was discarded", name, f"{section.name} is in no conflict copy")


def _handed_over_to_a_loss(
    section: Section, later: Sequence[Section], refused: Sequence[Section], there: set[str]
) -> bool:
    """Follow the hand-overs on the section's mount to one that failed, none of which was committed. It is a
    hand-over where whoever had the lock next of all asked for it before the unlock returned.

    The one that failed may be among those who were never told of the lock: a daemon can die between its
    answers to the unlock and to the heir.
    """
    for heir in later:
        if any(_may_have_inherited(each, section, heir) for each in refused):
            return True
        if heir.mount != section.mount or heir.name in there or not _waited_for(section, heir):
            return False
        if not heir.succeeded:
            return True
        section = heir
    return any(_may_have_inherited(each, section, None) for each in refused)


def _may_have_inherited(refused: Section, section: Section, next_holder: Section | None) -> bool:
    """Whether it waited when the section unlocked, and failed before anybody else had the lock."""
    failed = refused.steps[Step.LOCK].end
    nobody_between = next_holder is None or failed is None or failed <= (next_holder.held_from or 0.0)
    unlocking = section.steps[Step.UNLOCK].begin
    still_waited = failed is None or failed >= unlocking
    return (
        refused.mount == section.mount and _waited_for(section, refused) and still_waited and nobody_between
    )


def _waited_for(section: Section, heir: Section) -> bool:
    """Whether it asked for the lock before the section's unlock returned."""
    unlocked = section.steps[Step.UNLOCK].end
    return unlocked is not None and heir.steps[Step.LOCK].begin <= unlocked
