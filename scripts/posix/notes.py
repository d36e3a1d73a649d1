"""What a case notes of each operation, in a form that can be compared and sent between processes."""

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a case runs: a new empty directory that everybody may enter and only root may write to."""

    top: Path

    def __truediv__(self, name: str) -> Path:
        return self.top / name


@dataclass
class Notes:
    """The outcomes of a case, in order."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, label: str, operation: Callable[..., object], *arguments: Any, **options: Any) -> Any:
        """Do the operation and note its outcome: the name of its errno, or what it returned.

        Returns what it returned, None where it failed.
        """
        try:
            outcome = operation(*arguments, **options)
        except OSError as error:
            self.lines.append((label, errno.errorcode.get(error.errno or 0, str(error))))
            return None
        self.lines.append((label, shown(outcome)))
        return outcome

    def value(self, label: str, value: object) -> None:
        self.lines.append((label, shown(value)))

    def status(self, label: str, path: Path | int, *, follow: bool = False) -> None:
        """Note all that `stat` tells and that is the same on every file system."""
        self(label, lambda: status_fields(os.stat(path, follow_symlinks=follow or isinstance(path, int))))

    def by_user(
        self,
        user: int,
        case: "Callable[[Notes], None]",
        *,
        group: int | None = None,
        groups: tuple[int, ...] = (),
    ) -> None:
        """Run a part of a case as another user, who is in these further groups, in a process of its own."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            notes = Notes()
            try:
                os.setgroups(groups)
                os.setresgid(*[user if group is None else group] * 3)
                os.setresuid(user, user, user)
                case(notes)
            except BaseException as error:
                notes.lines.append(("failed", repr(error)))
            os.write(writer, json.dumps(notes.lines).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            lines = json.loads(told.read())
        os.waitpid(child, 0)
        self.lines += [(f"user {user}: {label}", outcome) for label, outcome in lines]

    def by_child(self, label: str, work: "Callable[[Notes], None]") -> None:
        """Run a part of a case in a process of its own, and note how that ended: it may die by a signal."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            notes = Notes()
            try:
                work(notes)
            except BaseException as error:
                notes.lines.append(("failed", repr(error)))
            os.write(writer, json.dumps(notes.lines).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            lines = json.loads(told.read() or b"[]")
        self.lines += [(f"{label}: {what}", outcome) for what, outcome in lines]
        self.value(f"{label}: ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def status_fields(found: os.stat_result) -> dict[str, object]:
    fields: dict[str, object] = {
        "mode": oct(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
    if stat.S_ISDIR(found.st_mode):
        return fields  # size and links of a directory are the file system's own affair
    return fields | {"size": found.st_size, "nlink": found.st_nlink, "rdev": found.st_rdev}


def shown(value: object) -> str:
    if isinstance(value, bytes | bytearray) and len(value) > 200:
        return f"{len(value)} bytes, {hash_of(value)}"
    if isinstance(value, list | set | frozenset):
        return repr(sorted(map(repr, value)))
    return repr(value)


def hash_of(content: bytes | bytearray) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()[:16]
