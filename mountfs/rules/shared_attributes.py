"""What another host needs of a file's attributes, in the free text that the workspace keeps with a node.

The last line of the text is ours where it is `[mountfs WORDS]`; what stands before it is somebody else's, and
stays as it is. The words, apart by blanks:

- `x`: the file may be executed.
- `m=SECONDS[.NANOSECONDS]:HASH`: its content was last modified then (Unix time).
- `w=SECONDS[.NANOSECONDS]:HASH`: somebody wrote these very bytes again then, which makes no version: who
  removes the file without having known of this write does not mean what is there.
- `link=TARGET`: it is a symlink; the target with %XX for what could be mistaken.

The last three are about one content and count for no other: HASH is the begin of its SHA-256, and a symlink
has its target for content. So a version that comes from elsewhere never gets the time of another, and never
hides behind a link. Words that are not known here stay.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

TEXT_MOST: Final = 2048
"""The longest text that the workspace takes, in characters."""

DRIFT_NS: Final = 60_000_000_000
"""Between a write and the time that the workspace shows for it lie the delay and the upload; what differs by
less is not worth a call."""

SAME_NS: Final = 1_000_000
"""Hosts that take over a time may move it by less, where their kernel has to see another one."""

_OURS: Final = re.compile(r"(?:^|\n)\[mountfs((?: [^ \]\n]+)*)\]$")
_EXECUTABLE: Final = "x"
_MTIME: Final = re.compile(r"m=(-?[0-9]{1,11})(?:\.([0-9]{9}))?:([0-9a-f]{8})")
_WRITTEN: Final = re.compile(r"w=(-?[0-9]{1,11})(?:\.([0-9]{9}))?:([0-9a-f]{8})")
_LINK: Final = "link="
_PLAIN: Final = "/.-_~+@:,="
"""What stands for itself in a target, beside letters and digits."""

TARGET_MOST: Final = 4095
"""The longest target that Linux takes, in bytes."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """Of one file. `mtime_ns` and `target` are None where nothing is said of them."""

    executable: bool = False
    mtime_ns: int | None = None
    target: bytes | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What the workspace has as the content of the node; `sha256` is None where it did not tell."""

    size: int
    sha256: str | None


_NOTHING: Final = Attributes()


def told(text: str, content: Content) -> Attributes:
    """Return what the text says of a node that has this content."""
    words = _words(text)
    if not words:
        return _NOTHING
    targets = [target for word in words if (target := _target(word, content)) is not None]
    mtimes = [mtime for word in words if (mtime := _time(_MTIME, word, content)) is not None]
    return Attributes(_EXECUTABLE in words, mtimes[-1] if mtimes else None, targets[-1] if targets else None)


def written_again_ns(text: str, content: Content) -> int | None:
    """Return when these bytes were written once more, None where nobody tells that they were."""
    times = [when for word in _words(text) if (when := _time(_WRITTEN, word, content)) is not None]
    return times[-1] if times else None


def mtime_to_tell(text: str, content: Content, mtime_ns: int, modified_ns: int) -> int | None:
    """Return the time that the text has to have of this content, None where the one that the workspace shows
    for it, `modified_ns`, will do or is not known (0)."""
    known = told(text, content).mtime_ns
    if known is not None and abs(known - mtime_ns) < SAME_NS:
        return known
    differs = modified_ns > 0 and abs(mtime_ns - modified_ns) >= DRIFT_NS
    return mtime_ns if differs and content.sha256 is not None else None


def retold(
    text: str,
    attributes: Attributes,
    sha256: str | None,
    *,
    until_then: bytes | None = None,
    written_again_ns: int | None = None,
) -> str:
    """Return the text that says this of a node whose content has this hash, and what it said of writing the
    same bytes again, or `written_again_ns` in its place.

    `until_then` is the target that the node has until its content is `attributes.target`: both are told, so
    that others see one link and then the other, and nothing in between. Where not all of it fits in beside
    the other's, the time of writing again is left out, then the targets, then the other time; the text is as
    it is where nothing does.
    """
    others = [word for word in _words(text) if not _is_ours(word, is_hash_known=sha256 is not None)]
    executable = [_EXECUTABLE] if attributes.executable else []
    mtime = (
        [_time_word("m", attributes.mtime_ns, sha256)] if attributes.mtime_ns is not None and sha256 else []
    )
    written = _written_words(text, sha256, written_again_ns)
    targets = dict.fromkeys(target for target in (until_then, attributes.target) if target is not None)
    links = [_LINK + quote_from_bytes(target, _PLAIN) for target in targets]
    theirs = _OURS.sub("", text)
    for words in (
        [*executable, *mtime, *written, *links],
        [*executable, *mtime, *links],
        [*executable, *mtime],
        executable,
    ):
        combined = _combined(theirs, others + words)
        if len(combined) <= TEXT_MOST:
            return combined
    return text


def _combined(theirs: str, words: list[str]) -> str:
    if not words:
        return theirs
    ours = f"[mountfs {' '.join(words)}]"
    return f"{theirs}\n{ours}" if theirs else ours


def _words(text: str) -> list[str]:
    found = _OURS.search(text) if text else None
    return found[1].split(" ")[1:] if found else []


def _is_ours(word: str, *, is_hash_known: bool) -> bool:
    """Tell whether the word is one to be said anew: of a time only who knows the content can tell."""
    is_time = is_hash_known and any(time.fullmatch(word) for time in (_MTIME, _WRITTEN))
    return word == _EXECUTABLE or word.startswith(_LINK) or is_time


def _written_words(text: str, sha256: str | None, when_ns: int | None) -> list[str]:
    """Return what is to be told of writing this content again, one word at most."""
    if sha256 is None:
        return []
    if when_ns is not None:
        return [_time_word("w", when_ns, sha256)]
    told_of = [word for word in _words(text) if _time(_WRITTEN, word, Content(0, sha256)) is not None]
    return told_of[-1:]


def _target(word: str, content: Content) -> bytes | None:
    if not word.startswith(_LINK) or not 0 < content.size <= TARGET_MOST:
        return None
    target = unquote_to_bytes(word.removeprefix(_LINK))
    if len(target) != content.size or b"\0" in target:
        return None
    return target if content.sha256 in (None, hashlib.sha256(target).hexdigest()) else None


def _time(kind: re.Pattern[str], word: str, content: Content) -> int | None:
    found = kind.fullmatch(word)
    if found is None or content.sha256 is None or not content.sha256.startswith(found[3]):
        return None
    return int(found[1]) * 1_000_000_000 + int(found[2] or 0)


def _time_word(name: str, time_ns: int, sha256: str) -> str:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09}" if nanoseconds else ""
    return f"{name}={seconds}{fraction}:{sha256[:8]}"
