"""Real programs on a mount do what they do on a plain directory, and another mount shows what came of it."""

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, Mount, World
from tests.t5_kernel.programs.inputs import make_inputs
from tests.t5_kernel.programs.scripts import NEEDS, SCRIPTS
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

Shown = dict[str, tuple[object, ...]]

OWN_PATH_SUFFIXES = (".pyc", "RECORD", "index", "pip-")
"""Files whose content depends on the time, or on the path in a way that replacing it does not undo."""


@dataclass
class Sides:
    """`first` and `second` show one workspace, `plain` is a directory beside their caches."""

    world: World
    first: Mount
    second: Mount
    plain: Path
    inputs: Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    world = World(tmp_path_factory.mktemp("programs"))
    try:
        folder = world.machine.folder
        plain, inputs = folder / "plain", folder / "inputs"
        plain.mkdir()
        inputs.mkdir()
        make_inputs(inputs)
        first = world.mount("first", upload_delay_s=0.2)
        # A venv has links to the interpreter.
        yield Sides(world, first, world.mount("second", outside_links=True), plain, inputs)
        for mount in world.mounts:
            mount.audit()
            assert "Traceback" not in mount.log()
    finally:
        world.print_logs()
        world.clean_up()


@pytest.fixture
def sides(shared: Sides) -> Iterator[Sides]:
    with shared.world.bounded():
        yield shared


def _run(sides: Sides, script: str, folder: Path) -> str:
    folder.mkdir()
    environment = {
        **os.environ,
        "IN": str(sides.inputs),
        "PYTHON": sys.executable,
        "HOME": str(sides.world.machine.folder),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "",
    }
    said = sides.world.run("sh", "-euc", script, cwd=folder, env=environment)
    return said.replace(str(folder), "TOP")


def _shown(top: Path) -> Shown:
    """Return what each path below is: kind, mode and target of a link, or size and hash."""
    found: Shown = {}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = Path(folder, name)
            status = path.lstat()
            mode = status.st_mode
            if stat.S_ISLNK(mode):
                what: tuple[object, ...] = ("link", os.readlink(path), status.st_size)
            elif stat.S_ISDIR(mode):
                what = ("folder",)
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                what = ("file", bool(mode & 0o100), status.st_size, digest)
            found[str(path.relative_to(top))] = what
    return found


def _shows(top: Path, shown: Shown) -> bool:
    try:
        return _shown(top) == shown
    except OSError:  # it comes and goes while it is looked at
        return False


def _without_paths(shown: Shown, top: Path) -> Shown:
    """Return the same without what has to differ between two places."""
    compared: Shown = {}
    for name, what in shown.items():
        if what[0] == "link":
            compared[name] = ("link", str(what[1]).replace(str(top), "TOP"))
        elif what[0] == "file" and (name.endswith(OWN_PATH_SUFFIXES) or _names(top / name, top)):
            compared[name] = what[:2]
        else:
            compared[name] = what
    return compared


def _names(file: Path, top: Path) -> bool:
    return os.fsencode(top) in file.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("program", SCRIPTS)
def test_program_does_what_it_does_on_a_plain_directory(sides: Sides, program: str) -> None:
    absent = [name for name in NEEDS.get(program, ()) if shutil.which(name) is None]
    if absent:
        pytest.skip(f"NOT TESTED: there is no {' and no '.join(absent)} on this machine")
    here, plain = sides.first / program, sides.plain / program
    said = _run(sides, SCRIPTS[program], here)
    assert said == _run(sides, SCRIPTS[program], plain)
    shown = _shown(here)
    assert _without_paths(shown, here) == _without_paths(_shown(plain), plain)
    sides.first.sync()
    assert sides.first.status()["uploads"]["failed"] == []
    wait_until(lambda: _shows(sides.second / program, shown), limit_s=PATIENCE_S)
