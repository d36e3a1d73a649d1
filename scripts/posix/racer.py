"""Several processes do random operations on the same few names at once.

What each one finds depends on the others, so outcomes are not compared. But every error has to be one that
POSIX has for it, and afterwards the tree has to be whole: what a listing shows is there.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.posix import tree_exerciser

EXPECTED = frozenset(
    (
        *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY),
        *(errno.ELOOP, errno.EINVAL),
    )
)
"""EINVAL: a directory into itself, and readlink of what is none."""


def race(top: Path, seed: str, operations: int, racers: int) -> Counter[str]:
    """Run the racers in a folder that is there; return the errors that none should get, with their counts."""
    pipes = [_start(top, f"{seed}-racer-{number}", operations // racers) for number in range(racers)]
    found: Counter[str] = Counter()
    for child, reader in pipes:
        with os.fdopen(reader, "rb") as told:
            found.update(json.loads(told.read() or b'{"died": 1}'))
        os.waitpid(child, 0)
    return found


def _start(top: Path, seed: str, operations: int) -> tuple[int, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    try:
        found = _unexpected(top, tree_exerciser.plan(seed, operations))
        os.write(writer, json.dumps(found).encode())
    finally:
        os._exit(0)


def _unexpected(top: Path, operations: Sequence[tree_exerciser.Operation]) -> Counter[str]:
    found: Counter[str] = Counter()
    for kind, first, second, number in operations:
        try:
            tree_exerciser.OPERATIONS[kind](top / first, top / second, number)
        except OSError as error:
            if error.errno not in EXPECTED:
                found[f"{kind}: {errno.errorcode.get(error.errno or 0, error)}"] += 1
    return found


def broken(top: Path) -> list[str]:
    """Return what a listing shows and a look by name does not, once nobody changes anything."""
    wrong = []
    for folder, folders, names in os.walk(top):
        shown = [*folders, *names]
        if len(shown) != len(set(shown)):
            wrong.append(f"{folder} lists a name twice")
        for name in shown:
            path = Path(folder, name)
            try:
                path.lstat()
                if path.is_file() and not path.is_symlink():
                    path.read_bytes()
            except OSError as error:
                wrong.append(f"{path}: {error}")
    return wrong
