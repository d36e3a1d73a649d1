"""The log of a worker: JSON lines, one at the begin and one at the end of each step."""

import json
from collections.abc import Iterable
from contextlib import suppress

from scripts.lock_histories.history import Section, Span, Step


def read_sections(lines: Iterable[str]) -> list[Section]:
    """The sections that a log tells of; a line that was cut off at the end tells nothing."""
    sections: dict[str, Section] = {}
    for line in lines:
        with suppress(json.JSONDecodeError):
            _note(sections, json.loads(line))
    return list(sections.values())


def _note(sections: dict[str, Section], told: dict[str, object]) -> None:
    name, step = str(told["section"]), Step(told["step"])
    if name not in sections:
        sections[name] = Section(name, str(told["mount"]), str(told["register"]))
    section = sections[name]
    if "begin" in told:
        section.steps[step] = Span(float(str(told["begin"])), None)
        return
    begun = section.steps[step]
    section.steps[step] = Span(begun.begin, float(str(told["end"])), str(told.get("error", "")))
    if "seen" in told:
        section.seen = str(told["seen"])
