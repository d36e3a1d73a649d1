"""What people write to name one of the versions of a file, and what each is called as a file of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mountfs.model.errors import InvalidArgument
from mountfs.model.history import Version
from mountfs.rules import names

PREFIX_LEAST = 4


def chosen(versions: Sequence[Version], wanted: str) -> Version:
    """Return the version of that name; `versions` are the newest first.

    `~0` or `current` is the newest, `~1` the one before it, and so on; else an id, or the beginning of one
    that no other has. Raises InvalidArgument.
    """
    if not versions:
        raise InvalidArgument("the workspace tells of no version of it")
    if wanted == "current":
        return versions[0]
    if wanted.startswith("~"):
        return _back(versions, wanted[1:])
    plain = wanted.replace("-", "").lower()
    found = [version for version in versions if version.id.startswith(plain)]
    exact = [version for version in found if version.id == plain]
    if exact:
        return exact[0]
    if len(plain) < PREFIX_LEAST or not found:
        raise InvalidArgument(f"it has no version {wanted!r}: mountfs versions lists them")
    if len(found) > 1:
        raise InvalidArgument(f"{len(found)} of its versions begin with {wanted!r}")
    return found[0]


def _back(versions: Sequence[Version], number: str) -> Version:
    steps = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else -1
    if not 0 <= steps < len(versions):
        raise InvalidArgument(f"it has no version ~{number}: there are ~0 to ~{len(versions) - 1}")
    return versions[steps]


def split(text: str) -> tuple[str, str]:
    """Return path and version of `PATH@VERSION`. Raises InvalidArgument where there is no version."""
    path, at, version = text.rpartition("@")
    if not at or not path or not version or "/" in version:
        raise InvalidArgument(f"{text!r} names no version: write PATH@VERSION, for example {text}@~1")
    return path, version


def file_name(version: Version, name: bytes) -> bytes:
    """Return what a version is called as a file: time (UTC), id, and the suffix that the file had then.

    It never changes, and sorts by time. `name` is that of the file, for where a version has none of its own.
    """
    own = version.name
    suffix = names.suffix_of(names.from_remote(own) if own and names.is_safe_from_remote(own) else name)
    if not version.created_ns:
        return version.id.encode() + suffix
    when = datetime.fromtimestamp(version.created_ns // 10**9, UTC)
    return f"{when:%Y-%m-%dT%H%M%SZ}-{version.id}".encode() + suffix
