"""The checker of lock histories: it lets pass what locks allow, and refuses what they cannot."""

import json
from dataclasses import replace

import pytest

from scripts.lock_histories.history import Register, Section, Span, Step, violations
from scripts.lock_histories.log import read_sections

STEPS = tuple(Step)


def section(name: str, seen: str, at: float, *, mount: str = "a", fails: Step | None = None) -> Section:
    """A section whose steps begin at `at` and take a second each; it ends with the step that fails."""
    made = Section(name, mount, "r", seen=seen)
    for number, step in enumerate(STEPS):
        error = "EIO" if step is fails else ""
        made.steps[step] = Span(at + number, at + number + 0.9, error)
        if step is fails:
            break
    return made


def kinds(sections: list[Section], register: Register) -> list[str]:
    return [found.kind for found in violations(sections, {"r": register})]


def chain(*mounts: str) -> list[Section]:
    """Sections one behind the other, each of the mount that is named."""
    names = [f"s{number}" for number in range(len(mounts))]
    return [
        section(name, before, 10.0 * number, mount=mount)
        for number, (name, before, mount) in enumerate(zip(names, ("", *names), mounts, strict=False))
    ]


def test_sections_in_turn_are_allowed() -> None:
    assert kinds(chain("a", "b", "a", "c"), Register(["s0", "s1", "s2", "s3"], [0, 1, 4])) == []


def test_register_that_nobody_wrote_is_allowed() -> None:
    assert kinds([section("s0", "", 0, fails=Step.LOCK)], Register([])) == []


def test_two_holders_at_once_are_refused() -> None:
    first, second = chain("a", "b")
    second = section("s1", "s0", 2.0, mount="b")
    assert kinds([first, second], Register(["s0", "s1"])) == ["two holders at once"]


def test_holder_within_a_longer_one_is_refused_also_behind_another() -> None:
    long = section("s0", "", 0.0)
    long.steps[Step.UNLOCK] = Span(100.0, 101.0)
    others = [section("s1", "s0", 10.0, mount="b"), section("s2", "s1", 30.0, mount="c")]
    assert kinds([long, *others], Register(["s0", "s1", "s2"])) == ["two holders at once"] * 2


def test_lock_that_is_given_while_the_last_holder_unlocks_is_allowed() -> None:
    first, second = section("s0", "", 0.0), section("s1", "s0", 2.2, mount="b")
    second.steps[Step.LOCK] = Span(0.0, 3.05)
    assert first.steps[Step.UNLOCK].begin == 3.0
    assert kinds([first, second], Register(["s0", "s1"])) == []


def test_stale_read_is_refused() -> None:
    sections = chain("a", "b", "c")
    sections[2].seen = "s0"
    assert kinds(sections, Register(["s0", "s1", "s2"])) == ["a stale read"]


def test_lost_update_is_refused() -> None:
    sections = chain("a", "b", "c")
    sections[2].seen = "s0"
    assert "a lost update" in kinds(sections, Register(["s0", "s2"]))


def test_lost_update_at_the_end_is_refused() -> None:
    assert kinds(chain("a", "b"), Register(["s0"])) == ["a lost update"]


def test_update_of_a_section_that_was_not_told_of_success_may_be_there_or_not() -> None:
    first, doubtful = section("s0", "", 0.0), section("s1", "s0", 10.0, fails=Step.UNLOCK)
    assert kinds([first, doubtful], Register(["s0", "s1"])) == []
    assert kinds([first, doubtful], Register(["s0"])) == []
    unfinished = replace(doubtful, steps={**doubtful.steps, Step.UNLOCK: Span(13.0, None)})
    assert kinds([first, unfinished], Register(["s0"])) == []


def test_update_twice_and_update_of_nobody_are_refused() -> None:
    first, second = chain("a", "b")
    assert "an update came twice" in kinds([first, second], Register(["s0", "s1", "s1"]))
    assert "an update of nobody" in kinds([first, second], Register(["s0", "s1", "s9"]))


def test_commit_of_a_section_that_never_had_the_lock_is_refused() -> None:
    refused = section("s1", "s0", 10.0)
    refused.steps[Step.LOCK] = Span(10.0, 10.5, "EWOULDBLOCK")
    assert kinds([section("s0", "", 0.0), refused], Register(["s0", "s1"])) == ["a commit without the lock"]


@pytest.mark.parametrize("versions", [[0, 2, 1, 2], [0, None, 2]])
def test_version_that_takes_updates_back_is_refused(versions: list[int | None]) -> None:
    assert kinds(chain("a", "b"), Register(["s0", "s1"], versions)) == ["a commit took updates back"]


def handed_over(name: str, seen: str, after: Section, *, fails: Step | None = None) -> Section:
    """A section that waits for the lock on the mount of the one before it, and has it by its unlock."""
    at = after.steps[Step.UNLOCK].begin
    heir = section(name, seen, at, mount=after.mount, fails=fails)
    heir.steps[Step.LOCK] = replace(heir.steps[Step.LOCK], begin=at - 1.0)
    return heir


def test_run_of_hand_overs_may_be_lost_with_its_lease_when_it_is_kept_aside() -> None:
    base, first = chain("b", "a")
    second = handed_over("s2", "s1", first)
    failed = handed_over("s3", "s2", second, fails=Step.UNLOCK)
    other = section("s4", "s0", 60.0, mount="b")
    sections = [base, first, second, failed, other]
    register = Register(["s0", "s4"], kept_aside=frozenset({"s1", "s2", "s3"}))
    assert kinds(sections, register) == []
    assert kinds(sections, replace(register, kept_aside=frozenset({"s2"}))) == ["content was discarded"]


def test_run_of_hand_overs_may_end_with_a_holder_that_never_came_to_read() -> None:
    base, first = chain("b", "a")
    failed = handed_over("s2", "", first, fails=Step.READ)
    register = Register(["s0"], kept_aside=frozenset({"s1"}))
    assert kinds([base, first, failed], register) == []


def killed_heir(name: str, after: Section, *, asked: float = -1.0, mount: str = "") -> Section:
    """A section that waits when the one before it unlocks, and whose daemon dies before it is told."""
    heir = section(name, "", after.steps[Step.UNLOCK].begin, mount=mount or after.mount, fails=Step.LOCK)
    lock, unlock = heir.steps[Step.LOCK], after.steps[Step.UNLOCK]
    assert unlock.end is not None
    heir.steps[Step.LOCK] = replace(lock, begin=unlock.begin + asked, end=unlock.end + 0.2, error="ENOTCONN")
    return heir


def test_hand_over_to_one_who_was_never_told_of_it_may_be_lost_when_it_is_kept_aside() -> None:
    base, first = chain("b", "a")
    other = section("s3", "s0", 60.0, mount="b")
    register = Register(["s0", "s3"], kept_aside=frozenset({"s1"}))
    assert kinds([base, first, killed_heir("s2", first), other], register) == []
    assert kinds([base, first, killed_heir("s2", first)], replace(register, names=["s0"])) == []
    gone = replace(register, kept_aside=frozenset())
    assert kinds([base, first, killed_heir("s2", first), other], gone) == ["content was discarded"]


def test_who_was_never_told_of_the_lock_is_an_excuse_only_as_the_heir() -> None:
    base, first = chain("b", "a")
    other = section("s3", "s0", 60.0, mount="b")
    register = Register(["s0", "s3"], kept_aside=frozenset({"s1"}))
    for no_heir in (killed_heir("s2", first, asked=1.0), killed_heir("s2", first, mount="b")):
        assert kinds([base, first, no_heir, other], register) == ["a lost update"]
    late = killed_heir("s2", first)
    late.steps[Step.LOCK] = replace(late.steps[Step.LOCK], end=other.held_from and other.held_from + 1)
    assert kinds([base, first, late, other], register) == ["a lost update"]
    early = killed_heir("s2", first)
    early.steps[Step.LOCK] = replace(early.steps[Step.LOCK], end=first.steps[Step.UNLOCK].begin - 0.1)
    assert kinds([base, first, early, other], register) == ["a lost update"]


def test_run_of_hand_overs_that_ends_with_a_success_is_not_lost() -> None:
    base, first = chain("b", "a")
    second = handed_over("s2", "s1", first)
    register = Register(["s0"], kept_aside=frozenset({"s1", "s2"}))
    assert kinds([base, first, second], register) == ["a lost update"] * 2


def test_failure_of_one_that_asked_after_the_unlock_is_no_excuse() -> None:
    base, first = chain("b", "a")
    failed = section("s2", "s1", 30.0, fails=Step.UNLOCK)
    register = Register(["s0"], kept_aside=frozenset({"s1", "s2"}))
    assert kinds([base, first, failed], register) == ["a lost update"]


def test_loss_on_another_mount_is_no_excuse() -> None:
    base, first = chain("b", "a")
    failed = replace(handed_over("s2", "s1", first, fails=Step.UNLOCK), mount="b")
    register = Register(["s0"], kept_aside=frozenset({"s1", "s2"}))
    assert kinds([base, first, failed], register) == ["a lost update"]


def test_log_of_a_worker_is_read_step_by_step() -> None:
    lines = [
        {"section": "w-1", "mount": "a", "register": "r", "step": "lock", "begin": 1.0},
        {"section": "w-1", "step": "lock", "end": 2.0},
        {"section": "w-1", "step": "read", "begin": 2.1},
        {"section": "w-1", "step": "read", "end": 2.2, "seen": "v-7"},
        {"section": "w-1", "step": "append", "begin": 2.3},
        {"section": "w-1", "step": "append", "end": 2.4},
        {"section": "w-1", "step": "unlock", "begin": 2.5},
        {"section": "w-1", "step": "unlock", "end": 3.5, "error": "EIO"},
        {"section": "w-2", "mount": "a", "register": "r", "step": "lock", "begin": 4.0},
    ]
    first, second = read_sections([json.dumps(line) for line in lines] + ['{"section": "w-3", "st'])
    assert (first.name, first.mount, first.seen, first.held_from, first.held_until) == (
        *("w-1", "a", "v-7", 2.0, 2.5),
    )
    assert first.steps[Step.UNLOCK] == Span(2.5, 3.5, "EIO")
    assert not first.succeeded
    assert second.held_from is None
