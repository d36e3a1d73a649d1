"""Runs a case in two places, each in a process of its own, and tells where their notes differ."""

import json
import os
import shutil
import traceback
from pathlib import Path

from scripts.posix.cases import CASES, Case
from scripts.posix.notes import Notes, Place

Line = tuple[str, str]


def noted(case: str, top: Path) -> list[Line]:
    """Run the case in a new directory below `top`, which is removed afterwards, and return its notes."""
    folder = top / case.replace(".", "-")
    folder.mkdir()
    lines = noted_in(CASES[case], folder)
    folder.chmod(0o755)
    shutil.rmtree(folder)
    return lines


def noted_in(case: Case, folder: Path) -> list[Line]:
    """Run a case in a directory that is there, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as out:
            out.write(json.dumps(_run(case, folder)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        lines = [(label, outcome) for label, outcome in json.loads(told.read())]
    os.waitpid(child, 0)
    return lines


def _run(case: Case, folder: Path) -> list[Line]:
    notes = Notes()
    os.umask(0o022)
    try:
        case(Place(folder), notes)
    except BaseException:
        notes.lines.append(("the case itself", traceback.format_exc()))
    return [(label, outcome.replace(str(folder), "TOP")) for label, outcome in notes.lines]


def differences(case: str, mount: Path, plain: Path) -> list[str]:
    """Return a line for each note of the case that is another on the mount than on the plain directory."""
    return differing(noted(case, mount), noted(case, plain))


def differing(here: list[Line], there: list[Line]) -> list[str]:
    """Return a line for each note that is another on the mount, which comes first."""
    found = [
        f"{number}: {label}: {seen} on the mount, {expected} on the plain directory"
        for number, ((label, seen), (_, expected)) in enumerate(zip(here, there, strict=False))
        if seen != expected
    ]
    if len(here) != len(there):
        found.append(
            f"{len(here)} notes on the mount, {len(there)} on the plain directory: {here[-1]}, {there[-1]}"
        )
    return found
