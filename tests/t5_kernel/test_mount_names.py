"""Names of every kind on two mounts: what one writes, the other reads under the same name."""

import os
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

NAMES = [
    b"\xff\xfe",
    b"\x01\x7f",
    b"new\nline",
    b"tab\tand \x1b[31m colour",
    b"trailing dot.",
    b"trailing space ",
    b'<>:"|?*\\',
    "\u00e4".encode(),
    b"CON",
    b"...",
    b"%41",
    "\uf00a".encode(),
    "\uf02e".encode(),
    b"n" * 255,
    b"\xff" * 255,
    "\u2603".encode() * 85,
]


def _tree(top: Path) -> dict[bytes, bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), os.fsencode(top))] = None
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, os.fsencode(top))] = file.read()
    return found


@pytest.mark.long
def test_every_name_is_the_same_on_another_mount_and_in_a_new_cache(world: World) -> None:
    first, second = world.mount("first"), world.mount("second")
    for number, name in enumerate(NAMES):
        folder = os.path.join(os.fsencode(first.place), b"folder-%d" % number, name)
        os.makedirs(folder)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    os.rename(first / "folder-0", first / "moved\n")
    first.sync()
    assert first.status()["uploads"]["failed"] == []
    expected = _tree(first.place)
    assert len(expected) == 3 * len(NAMES)
    wait_until(lambda: _tree(second.place) == expected, limit_s=PATIENCE_S)
    for old, new in ((b"\xff\xfe", b"a\x02b"), (b"a\x02b", b"plain"), (b"plain", b"\xfe")):
        os.rename(*(os.path.join(os.fsencode(second / "moved\n"), name) for name in (old, new)))
        second.sync()
    expected = _tree(second.place)
    wait_until(lambda: _tree(first.place) == expected, limit_s=PATIENCE_S)
    assert _tree(world.mount("third").place) == expected
