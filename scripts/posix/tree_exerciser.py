"""Random operations on a tree, each done on a mount and in a plain directory, with the outcomes compared.

The operations are chosen before any is done, so that a run that fails can be shrunk to those that matter.
"""

import contextlib
import hashlib
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from scripts.posix.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2

T = TypeVar("T")

Operation = tuple[str, str, str, int]
"""What to do, the path, another path, and a number that decides the rest."""

NAMES = ("a", "b", "c", "dä", "e f")
SIZES = (0, 1, 100, 4096, 5000, 70_000, 300_000)
CHECK_EVERY = 200
TRIES_MOST = 400


def plan(seed: str, count: int) -> list[Operation]:
    """Return operations on paths up to three deep."""
    chance = random.Random(seed)
    kinds = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]

    def path() -> str:
        return "/".join(chance.choice(NAMES) for _ in range(chance.choice((1, 2, 2, 3))))

    return [(chance.choice(kinds), path(), path(), chance.randrange(2**32)) for _ in range(count)]


def first_difference(operations: Sequence[Operation], mount: Path, plain: Path) -> str | None:
    """Do the operations in two empty folders; return what the first one that differs did."""
    for number, operation in enumerate(operations, start=1):
        here, there = (_outcome(operation, top) for top in (mount, plain))
        if here != there:
            return f"operation {number}, {operation}: {here} on the mount, {there} in the plain directory"
        if number % CHECK_EVERY == 0 or number == len(operations):
            seen, expected = tree(mount), tree(plain)
            if seen != expected:
                return f"after operation {number}: {_shown_difference(seen, expected)}"
    return None


def shrunk(operations: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return fewer operations that still fail: none can be left out, where that did not take too long."""
    remaining, tries = list(operations), 0
    part = max(1, len(remaining) // 2)
    while part and tries < TRIES_MOST:
        begin = 0
        while begin < len(remaining) and tries < TRIES_MOST:
            tries += 1
            attempt = remaining[:begin] + remaining[begin + part :]
            if attempt and fails(attempt):
                remaining = attempt
            else:
                begin += part
        part //= 2
    return remaining


@contextlib.contextmanager
def empty_folders(*tops: Path) -> Iterator[None]:
    """Make these folders, and remove them with all that is in them."""
    for top in tops:
        top.mkdir()
    try:
        yield
    finally:
        for top in tops:
            shutil.rmtree(top)


def tree(top: Path, *, shared_only: bool = False) -> dict[str, tuple[object, ...]]:
    """Return what each path is: kind, mode, size, hash or target, and the time of a file.

    With `shared_only` only what every mount of a workspace has to show.
    """
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = Path(folder, name)
            status = path.lstat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                what: tuple[object, ...] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                what = ("folder",) if shared_only else ("folder", mode)
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
                what = ("file", bool(mode & 0o100) if shared_only else mode, status.st_size, digest)
            found[str(path.relative_to(top))] = what
    return found


def _shown_difference(seen: dict[str, tuple[object, ...]], expected: dict[str, tuple[object, ...]]) -> str:
    names = [name for name in sorted({*seen, *expected}) if seen.get(name) != expected.get(name)]
    return "; ".join(f"{name}: {seen.get(name)} instead of {expected.get(name)}" for name in names[:5])


def _outcome(operation: Operation, top: Path) -> object:
    kind, first, second, number = operation
    try:
        return OPERATIONS[kind](top / first, top / second, number)
    except OSError as error:
        return error.errno


def _content(number: int) -> bytes:
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])


def _write(path: Path, _: Path, number: int) -> object:
    return path.write_bytes(_content(number))


def _overwrite(path: Path, _: Path, number: int) -> object:
    with path.open("r+b") as file:
        file.seek(number % 9000)
        return file.write(_content(number)[:9000])


def _append(path: Path, _: Path, number: int) -> object:
    with path.open("ab") as file:
        return file.write(_content(number)[:5000])


def _read(path: Path, _: Path, number: int) -> object:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _truncate(path: Path, _: Path, number: int) -> object:
    os.truncate(path, number % 100_000)
    return path.stat().st_size


def _create(path: Path, _: Path, number: int) -> object:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644 if number % 2 else 0o755))
    return path.stat().st_size


def _write_unlinked(path: Path, other: Path, number: int) -> object:
    """The content of an open file outlives its name, whatever takes that."""
    with path.open("r+b") as file:
        if number % 2:
            path.unlink()
        else:
            os.rename(other, path)
        file.seek(0, os.SEEK_END)
        file.write(b"more")
        file.flush()
        file.seek(0)
        return hashlib.sha256(file.read()).hexdigest()


def _utime(path: Path, _: Path, number: int) -> object:
    when = number * 1_000_000_007
    os.utime(path, ns=(when, when), follow_symlinks=False)
    return path.lstat().st_mtime_ns


def _save(path: Path, _: Path, number: int) -> object:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(_content(number))
    os.replace(temporary, path)
    return path.stat().st_size


OPERATIONS: dict[str, Callable[[Path, Path, int], object]] = {
    "write": _write,
    "overwrite": _overwrite,
    "append": _append,
    "read": _read,
    "truncate": _truncate,
    "create": _create,
    "write unlinked": _write_unlinked,
    "save": _save,
    "utime": _utime,
    "mkdir": lambda path, _, number: os.mkdir(path),
    "rmdir": lambda path, _, number: os.rmdir(path),
    "unlink": lambda path, _, number: os.unlink(path),
    "rename": lambda path, other, number: os.rename(path, other),
    "exchange": lambda path, other, number: renameat2(path, other, RENAME_EXCHANGE),
    "no replace": lambda path, other, number: renameat2(path, other, RENAME_NOREPLACE),
    "symlink": lambda path, other, number: os.symlink(other.name, path),
    "readlink": lambda path, _, number: os.readlink(path),
    "chmod": lambda path, _, number: os.chmod(path, 0o700 | number & 0o77),
    "list": lambda path, _, number: sorted(os.listdir(path)),
    "links": lambda path, _, number: path.stat().st_size if path.is_file() else path.is_dir(),
}

WEIGHTS = {"write": 4, "mkdir": 4, "rename": 4, "save": 2, "overwrite": 2, "symlink": 2}
WEIGHTS |= {kind: 1 for kind in OPERATIONS if kind not in WEIGHTS}
