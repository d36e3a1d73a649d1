"""One request as data: what is asked, and what a repeat of it would mean."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from urllib.parse import quote, urlencode
from uuid import uuid4

from mountfs.model.errors import NodeNotFound, RemoteError, RequestRefused

SLICE_BYTES = 256 * 1024


class Repeat(Enum):
    SAFE = "safe"
    """A repeat does no harm: reads, and changes that say the same twice."""
    UNSENT = "only if unsent"
    """Repeated only where the service surely did not act."""
    NEVER = "never"
    """The caller wants to know of every fault."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """The errors that this route means by a status which others use otherwise."""

    absent: type[RemoteError] = NodeNotFound
    conflict: type[RemoteError] | None = None
    invalid: type[RemoteError] = RequestRefused


class Body(Protocol):
    """What a request carries; `pieces` may be asked for again, for a repeat."""

    @property
    def content_type(self) -> str: ...

    def __len__(self) -> int: ...

    def pieces(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Form:
    content: bytes

    @property
    def content_type(self) -> str:
        return "application/x-www-form-urlencoded"

    def __len__(self) -> int:
        return len(self.content)

    def pieces(self) -> Iterator[bytes]:
        yield self.content


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart body around one content; the content goes out in slices and is never copied whole."""

    head: bytes
    content: bytes
    tail: bytes
    boundary: str

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    def __len__(self) -> int:
        return len(self.head) + len(self.content) + len(self.tail)

    def pieces(self) -> Iterator[bytes]:
        yield self.head
        for start in range(0, len(self.content), SLICE_BYTES):
            yield self.content[start : start + SLICE_BYTES]
        yield self.tail


@dataclass(frozen=True, slots=True)
class Ask:
    """`wait_s` is how long the service may hold its answer back on purpose; such requests do not use the
    connections of the others. `final` are statuses that count as an answer though they look temporary."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = Repeat.SAFE
    wait_s: float = 0
    final: frozenset[int] = frozenset()
    refusals: Refusals = Refusals()

    def __str__(self) -> str:
        """Name the request without its query, which may carry secrets."""
        return f"{self.method} {self.path}"


def path_of(*segments: str) -> str:
    """Join the segments to a relative path with a slash at the end; commas stay literal.

    Raises RequestRefused for a segment that would name another place.
    """
    if any(segment in {"", ".", ".."} for segment in segments):
        raise RequestRefused("an empty or dotted path segment names nothing")
    return "".join(quote(segment, safe=",") + "/" for segment in segments)


def form(fields: Mapping[str, str]) -> Form:
    return Form(urlencode(fields).encode())


def multipart(fields: Mapping[str, str], file_name: str, content: bytes) -> Multipart:
    """Build a body of form fields and one file part named `chunk`."""
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="chunk"; filename="{_in_quotes(file_name)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return Multipart("".join(parts).encode(), content, f"\r\n--{boundary}--\r\n".encode(), boundary)


def _in_quotes(name: str) -> str:
    """Escape as browsers do."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
