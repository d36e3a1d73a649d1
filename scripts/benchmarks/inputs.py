"""What the workloads read: a repository, a tar file of its tree, wheels."""

import os
import random
import re
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

from scripts.benchmarks.workloads.base import Sizes
from scripts.benchmarks.workloads.programs import call

ROOT = Path(__file__).parents[2]
WORDS = ("return", "value", "import", "class", "result", "None", "self", "for", "in", "assert", "path")
FILES_IN_FOLDER = 25


def prepare(folder: Path, sizes: Sizes) -> None:
    """Fill an empty folder."""
    repository = folder / "repository"
    _write_tree(repository, sizes.tree_files)
    with tarfile.open(folder / "tree.tar", "w") as archive:
        archive.add(repository, "tree")
    _commit(repository)
    wheels = folder / "wheels"
    wheels.mkdir()
    _fetch_wheels(wheels, sizes.wheels)


def _write_tree(root: Path, count: int) -> None:
    chance = random.Random(7)
    for number in range(count):
        folder = root / f"part{number // FILES_IN_FOLDER // 10}" / f"module{number // FILES_IN_FOLDER}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = chance.randrange(5, 120)
        text = "\n".join(" ".join(chance.choices(WORDS, k=7)) for _ in range(lines))
        (folder / f"file{number}.py").write_text(text + "\n")


def _commit(repository: Path) -> None:
    author = ("-c", "user.name=Bench", "-c", "user.email=bench@example.invalid", "-c", "gc.auto=0")
    call("git", "init", "-q", str(repository))
    call("git", "-C", str(repository), "add", "--all")
    call("git", "-C", str(repository), *author, "commit", "-q", "--no-verify", "-m", "A tree of small files")


def _fetch_wheels(folder: Path, names: tuple[str, ...]) -> None:
    """The versions mountfs itself is pinned to; none without a network."""
    pinned = (ROOT / "requirements" / "runtime.txt").read_text()
    wanted = [match for name in names if (match := re.search(rf"^{name}==[\w.]+", pinned, re.MULTILINE))]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*command, "-d", str(folder), *(match.group() for match in wanted)],
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            check=False,
            timeout=180,
        )
