"""A program with a folder of its own on one mount, which knows what each call that returned has promised."""

import errno
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Files = dict[str, bytes]

MOST_FILES = 40
LARGE_BYTES = 3 * 1024 * 1024

GONE = {errno.ENOTCONN, errno.ECONNABORTED}
"""What a call fails with whose mount has no daemon any more."""

PAUSE_S = 0.2
"""After a call that failed for another reason, as where content that was evicted did not come."""


@dataclass(frozen=True)
class Change:
    """What one operation makes of the files; while it is under way those in `between` may have a beginning of
    their new content."""

    after: Files
    between: frozenset[str] = frozenset()
    act: Callable[[Path], None] = lambda folder: None


@dataclass
class Findings:
    """What was not as it was promised. `torn`: neither the old nor the new content, nor a beginning of it."""

    lost: int = 0
    torn: int = 0
    duplicated: int = 0
    lines: list[str] = field(default_factory=list)


class Writer:
    """`step` and `check` may be called from a thread of its own. What became of a call that failed is seen
    when the folder can be read again: all, nothing, or a part where the call can be done in part."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.files: Files = {}
        self.counts: Counter[str] = Counter()
        self.findings = Findings()
        self._chance = random.Random(f"{seed} {name}")
        self._doubt: Change | None = None
        self.lock = threading.Lock()

    def step(self, top: Path) -> bool:
        """Do one operation; return False where the mount went away below it."""
        try:
            if self._doubt is not None:
                self.check(top)
            kind, change = self._next()
            self._doubt = change
            change.act(top / self.name)
        except OSError as error:
            self.counts["failed"] += 1
            if error.errno in GONE:
                return False
            time.sleep(PAUSE_S)
            return True
        self._doubt = None
        self.files = change.after
        self.counts[kind] += 1
        return True

    def check(self, top: Path) -> None:
        """Compare the folder with the model; what was under way counts as what it became. Raises OSError."""
        found = read_files(top / self.name)
        change, self._doubt = self._doubt, None
        if change is not None:
            self._adopt(found, change)
        self.compare(found, str(top))

    def _adopt(self, found: Files, change: Change) -> None:
        for path in list(self.files.keys() | change.after.keys()):
            content = found.get(path)
            if not _is_allowed(content, self.files.get(path), change.after.get(path), path in change.between):
                continue
            if content is None:
                self.files.pop(path, None)
            else:
                self.files[path] = content

    def compare(self, found: Files, where: str) -> None:
        for path, content in self.files.items():
            if path not in found:
                self.note("lost", path, where)
            elif found[path] != content:
                self.note("torn", path, where)
        for path in found.keys() - self.files.keys():
            self.note("duplicated", path, where)
        self.counts["files compared"] += len(self.files)

    def note(self, what: str, path: str, where: str) -> None:
        setattr(self.findings, what, getattr(self.findings, what) + 1)
        self.findings.lines.append(f"{what}: {self.name}/{path} at {where}")

    def _next(self) -> tuple[str, Change]:
        chance, names = self._chance, sorted(self.files)
        kinds = ["write", "write", "save", "fsync"]
        if names:
            kinds += ["append", "truncate", "rename", "delete"]
        if len(names) > MOST_FILES:
            kinds = ["delete"]
        kind = chance.choice(kinds)
        new = f"f{chance.randrange(60)}"
        old = chance.choice(names) if names else new
        return kind, getattr(self, f"_{kind}")(old, new)

    def _content(self) -> bytes:
        most = LARGE_BYTES if self._chance.random() < 0.02 else 20_000
        return self._chance.randbytes(self._chance.randrange(most))

    def _write(self, old: str, new: str) -> Change:
        content = self._content()
        return Change(
            {**self.files, new: content}, frozenset([new]), lambda folder: _put(folder / new, content)
        )

    def _fsync(self, old: str, new: str) -> Change:
        content = self._content()

        def act(folder: Path) -> None:
            with (folder / new).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        return Change({**self.files, new: content}, frozenset([new]), act)

    def _save(self, old: str, new: str) -> Change:
        content = self._content()

        def act(folder: Path) -> None:
            _put(folder / "temporary", content)
            (folder / "temporary").replace(folder / old)

        return Change({**self.files, old: content}, frozenset(["temporary"]), act)

    def _append(self, old: str, new: str) -> Change:
        added = self._content()

        def act(folder: Path) -> None:
            with (folder / old).open("ab") as file:
                file.write(added)

        return Change({**self.files, old: self.files[old] + added}, frozenset([old]), act)

    def _truncate(self, old: str, new: str) -> Change:
        size = self._chance.randrange(len(self.files[old]) + 1)
        return Change(
            {**self.files, old: self.files[old][:size]}, act=lambda folder: os.truncate(folder / old, size)
        )

    def _rename(self, old: str, new: str) -> Change:
        after = {path: content for path, content in self.files.items() if path != old}
        return Change(
            {**after, new: self.files[old]}, act=lambda folder: os.rename(folder / old, folder / new)
        )

    def _delete(self, old: str, new: str) -> Change:
        after = {path: content for path, content in self.files.items() if path != old}
        return Change(after, act=lambda folder: os.unlink(folder / old))


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _is_allowed(found: bytes | None, before: bytes | None, after: bytes | None, between: bool) -> bool:
    if found in (before, after):
        return True
    return between and found is not None and (after is None or after.startswith(found))


def read_files(folder: Path) -> Files:
    """Return every file of a flat folder but the temporary one of a save that did not get to its rename."""
    return dict(_each(folder))


def _each(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.iterdir():
        if path.name != "temporary":
            yield path.name, path.read_bytes()
