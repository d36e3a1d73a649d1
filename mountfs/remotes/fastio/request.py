"""One request as data: what is asked, and what a repeat of it would mean."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from urllib.parse import quote, urlencode
from uuid import uuid4

from mountfs.model.content_source import PIECE_BYTES, BytesSource, ContentSource
from mountfs.model.errors import NodeNotFound, RemoteError, RequestRefused


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

    def pieces(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Form:
    """A body that is in memory as a whole."""

    content: bytes
    content_type: str = "application/x-www-form-urlencoded"

    def __len__(self) -> int:
        return len(self.content)

    def pieces(self) -> AsyncIterator[bytes]:
        return BytesSource(self.content).pieces()


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart body; the content of its files is read while it goes out."""

    sources: tuple[ContentSource, ...]
    boundary: str

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    def __len__(self) -> int:
        return sum(source.size for source in self.sources)

    def pieces(self) -> AsyncIterator[bytes]:
        return _Joined(self.sources)


class _Joined:
    """The pieces of several sources; small ones go out together, for each costs a call of the system."""

    def __init__(self, sources: Iterable[ContentSource]) -> None:
        self._sources = iter(sources)
        self._current: AsyncIterator[bytes] | None = None
        self._kept = b""

    def __aiter__(self) -> "_Joined":
        return self

    async def __anext__(self) -> bytes:
        gathered, self._kept = [self._kept], b""
        size = len(gathered[0])
        while size < PIECE_BYTES:
            piece = await self._next()
            if piece is None:
                break
            if size and size + len(piece) > PIECE_BYTES:
                self._kept = piece
                break
            gathered.append(piece)
            size += len(piece)
        if not size:
            raise StopAsyncIteration
        return b"".join(gathered)

    async def _next(self) -> bytes | None:
        while True:
            if self._current is None:
                source = next(self._sources, None)
                if source is None:
                    return None
                self._current = source.pieces()
            try:
                return await anext(self._current)
            except StopAsyncIteration:
                self._current = None


@dataclass(frozen=True, slots=True)
class Ask:
    """`wait_s` is how long the service may hold its answer back on purpose; such requests do not use the
    connections of the others. `final` are statuses that count as an answer though they look temporary.
    `paced`: it may be held back to stay below the limit of requests. `abroad`: it may be redirected to
    another host, which does not get the token."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = Repeat.SAFE
    wait_s: float = 0
    final: frozenset[int] = frozenset()
    refusals: Refusals = Refusals()
    paced: bool = True
    abroad: bool = False
    route: str = field(init=False, repr=False, compare=False)
    """What kind of request it is: method and path, without the ids in it, which all have digits."""

    def __post_init__(self) -> None:
        words = "/".join(part for part in self.path.split("/") if part.isalpha())
        object.__setattr__(self, "route", f"{self.method} {words}")

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


@dataclass(frozen=True, slots=True)
class FilePart:
    field: str
    file_name: str
    content: ContentSource


def multipart(fields: Mapping[str, str], *files: FilePart) -> Multipart:
    """Build a body of form fields and file parts."""
    boundary = uuid4().hex
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    sources: list[ContentSource] = []
    for file in files:
        head += (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{file.field}"; filename="{_in_quotes(file.file_name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        sources += [BytesSource(head.encode()), file.content]
        head = "\r\n"
    sources.append(BytesSource(f"{head}--{boundary}--\r\n".encode()))
    return Multipart(tuple(sources), boundary)


def _in_quotes(name: str) -> str:
    """Escape as browsers do."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
