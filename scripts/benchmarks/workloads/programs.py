"""Everyday programs: git, tar, grep, pip."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.workloads.base import NotMeasured, Place, Readings, Unit, Workload
from scripts.benchmarks.workloads.clock import timed

ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",  # several peers show files as another user's
    "GIT_CONFIG_VALUE_0": "*",
    "LC_ALL": "C",
}


def call(*command: str, codes: Sequence[int] = (0,)) -> str:
    """Run a program that is looked for in PATH; return all it printed. Raises OSError with its complaint."""
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        lines = done.stderr.strip().splitlines()
        raise OSError(f"{command[0]}: {lines[-1] if lines else done.returncode}")
    return done.stdout + done.stderr


def _clone(place: Place) -> None:
    call("git", "clone", "-q", "--no-hardlinks", str(place.inputs / "repository"), str(_work_tree(place)))


def _work_tree(place: Place) -> Path:
    return place.directory / "clone"


def git(place: Place) -> Readings:
    with timed() as cloning:
        _clone(place)
    ask = ("git", "-C", str(_work_tree(place)), "status", "--short")
    call(*ask)
    with timed() as status:
        told = call(*ask)
    if told:  # it only warns of folders it cannot read
        raise OSError(f"git status: {told.splitlines()[0]}")
    return {"git.clone": cloning.seconds, "git.status": status.seconds}


def tar(place: Place) -> Readings:
    call_grep = ("grep", "-r", "no such text", str(place.directory))
    with timed() as extracting:
        call("tar", "-x", "--no-same-owner", "-f", str(place.inputs / "tree.tar"), "-C", str(place.directory))
    call(*call_grep, codes=(1,))
    with timed() as searching:
        call(*call_grep, codes=(1,))
    return {"tar.extract": extracting.seconds, "grep.recursive": searching.seconds}


def pip(place: Place) -> Readings:
    wheels = sorted((place.inputs / "wheels").glob("*.whl"))
    if not wheels:
        raise NotMeasured("no wheels could be had")
    install = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-cache-dir")
    target = str(place.directory / "site")
    with timed() as span:
        call(*install, "--root-user-action", "ignore", "--target", target, *map(str, wheels))
    return {"pip.install": span.seconds}


WORKLOADS = (
    Workload("git", {"git.clone": Unit.SECONDS, "git.status": Unit.SECONDS}, git),
    Workload("tar", {"tar.extract": Unit.SECONDS, "grep.recursive": Unit.SECONDS}, tar),
    Workload("pip", {"pip.install": Unit.SECONDS}, pip),
)
