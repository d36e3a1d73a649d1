"""Request bodies, read as a stream: forms into a dictionary, file parts straight into blobs."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mountfs.server.blobs import Blob, BlobStore, BlobWriter
from mountfs.server.envelope import ApiError, invalid_field

MAX_FIELD_BYTES = 1024 * 1024
_MAX_FIELDS = 1000
_SETTLE_BYTES = 1024 * 1024  # file parts are settled together, when so much of them has come
_SETTLE_PARTS = 200  # each is an open file meanwhile


def too_large(text: str) -> ApiError:
    """The body or a part of it is larger than allowed."""
    return ApiError(413, 1605, text, {"reason": "too_large"})


def bad_body(text: str) -> ApiError:
    """The body is not what its content type says."""
    return ApiError(406, 10566, text)


async def read_form(pieces: AsyncIterator[bytes]) -> dict[str, str]:
    """The fields of an urlencoded body; of a repeated field the last one."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > MAX_FIELD_BYTES:
            raise too_large(f"a form has at most {MAX_FIELD_BYTES} bytes")
    return parse_urlencoded(bytes(body))


def parse_urlencoded(body: bytes) -> dict[str, str]:
    """The pairs of a query string or an urlencoded form."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise bad_body(f"not a valid urlencoded form: {error}") from error
    return dict(pairs)


@dataclass
class ReceivedBody:
    """Fields and finished blobs of a multipart body."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Blob] = field(default_factory=dict)

    async def discard(self, blobs: BlobStore) -> None:
        """Remove the blobs of a body that was refused."""
        if self.files:
            await blobs.delete([blob.name for blob in self.files.values()])


@dataclass(frozen=True)
class FileRules:
    """Which file parts a route takes, how large, and whether their sha256 is wanted."""

    accepts: Callable[[str], bool]
    max_bytes: int
    max_total_bytes: int
    with_sha256: bool


async def read_multipart(
    content_type: str, pieces: AsyncIterator[bytes], blobs: BlobStore, rules: FileRules
) -> ReceivedBody:
    """Read the whole body; on any error nothing of it stays on the disk."""
    reader = _MultipartReader(content_type, blobs, rules)
    try:
        async for piece in pieces:
            await reader.feed(piece)
        return await reader.finish()
    except Exception:
        await reader.abandon()
        raise


class _MultipartReader:
    """Collects what the parser tells, and acts on it between two pieces, where waiting is allowed."""

    def __init__(self, content_type: str, blobs: BlobStore, rules: FileRules) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise bad_body("multipart body without a boundary")
        self._blobs = blobs
        self._rules = rules
        self._body = ReceivedBody()
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value: bytearray | None = None
        self._writer: BlobWriter | None = None
        self._finished: dict[str, BlobWriter] = {}
        self._unsettled = 0
        self._total = 0
        self._ended = False
        self._wants_flush = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise bad_body(f"not a valid multipart body: {error}") from error
        if self._unsettled >= _SETTLE_BYTES or len(self._finished) >= _SETTLE_PARTS:
            await self._settle()
        if self._wants_flush and self._writer is not None:
            self._wants_flush = False
            await self._writer.flush()

    async def finish(self) -> ReceivedBody:
        if not self._ended:
            raise bad_body("the multipart body ends before its last boundary")
        await self._settle()
        return self._body

    async def abandon(self) -> None:
        with contextlib.suppress(OSError):
            await self._body.discard(self._blobs)
            for writer in self._finished.values():
                await writer.abandon()
            if self._writer is not None:
                await self._writer.abandon()

    async def _settle(self) -> None:
        settled = await self._blobs.finish(list(self._finished.values()))
        self._body.files.update(zip(self._finished, settled, strict=True))
        self._finished.clear()
        self._unsettled = 0

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = _text(options.get(b"name", b""), "name")
        if b"filename" in options or self._rules.accepts(self._name):
            is_known = self._name in self._finished or self._name in self._body.files
            if is_known or not self._rules.accepts(self._name):
                raise invalid_field(self._name or "file", "this route does not take such a file part")
            self._writer = self._blobs.new_writer(self._rules.with_sha256)
        else:
            self._value = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._writer is not None:
            self._total += end - start
            if (
                self._writer.size + end - start > self._rules.max_bytes
                or self._total > self._rules.max_total_bytes
            ):
                raise too_large(f"the part {self._name!r} is larger than allowed here")
            self._wants_flush = self._writer.gather(data[start:end]) or self._wants_flush
        elif self._value is not None:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise too_large(f"the field {self._name!r} is larger than {MAX_FIELD_BYTES} bytes")

    def _on_part_end(self) -> None:
        if self._writer is not None:
            self._finished[self._name] = self._writer
            self._unsettled += self._writer.size
            self._writer = None
        elif self._value is not None:
            if len(self._body.fields) >= _MAX_FIELDS:
                raise too_large(f"a form has at most {_MAX_FIELDS} fields")
            self._body.fields[self._name] = _text(bytes(self._value), self._name)
            self._value = None

    def _on_end(self) -> None:
        self._ended = True


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid_field(name or "form", "not valid UTF-8") from error
