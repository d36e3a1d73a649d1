"""The border between ASGI and the handlers: credentials, fields, answers, errors."""

import asyncio
import errno
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import Connection
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mountfs.server import opaque_ids
from mountfs.server.activity import ActivityFeed, WakeUps
from mountfs.server.blobs import BlobStore
from mountfs.server.credentials import ChannelTokens, Credentials, DownloadTokens, Principal, not_a_member
from mountfs.server.database import Database, Transaction, is_disk_full
from mountfs.server.envelope import (
    ApiError,
    JsonObject,
    encode_error,
    encode_success,
    invalid_field,
    not_found,
)
from mountfs.server.gate import Gate
from mountfs.server.lock_expiry import LockExpiry
from mountfs.server.multipart import (
    FileRules,
    ReceivedBody,
    bad_body,
    parse_urlencoded,
    read_form,
    read_multipart,
)
from mountfs.server.oauth import Authorizations
from mountfs.server.options import ServerOptions
from mountfs.server.schema import MAX_DIGITS
from mountfs.server.shaping import Shaper
from mountfs.server.workspaces import ORG_DOMAIN, Workspace, WorkspaceTable

logger = logging.getLogger(__name__)

JSON = "application/json"
BASE_PATH = "/current"
_NO_FILES = FileRules(lambda name: False, 0, 0, with_sha256=False)
_LEVELS = ("terse", "standard", "full")


@dataclass(frozen=True)
class Services:
    """What the handlers work with; one of each per server."""

    options: ServerOptions
    database: Database
    blobs: BlobStore
    feed: ActivityFeed
    wake_ups: WakeUps
    credentials: Credentials
    download_tokens: DownloadTokens
    channel_tokens: ChannelTokens
    authorizations: Authorizations
    workspaces: WorkspaceTable
    background: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
    lock_expiry: LockExpiry
    gate: Gate
    shaper: Shaper
    user_id: str
    org_id: str


class Call:
    """One request, as a handler sees it."""

    def __init__(self, request: Request, services: Services) -> None:
        self.request = request
        self.services = services
        self._principal: Principal | None = None
        self._query: dict[str, str] | None = None

    @property
    def principal(self) -> Principal:
        """The caller; raises 401 when the credential is not valid."""
        if self._principal is None:
            self._principal = self.services.credentials.principal(self.request.headers.get("authorization"))
        return self._principal

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters of the query string."""
        if self._query is None:
            self._query = parse_urlencoded(self.request.scope["query_string"])
        return self._query

    @property
    def is_multipart(self) -> bool:
        """Whether the body is multipart/form-data."""
        return self.request.headers.get("content-type", "").lower().startswith("multipart/form-data")

    def path(self, name: str) -> str:
        """A segment of the path."""
        return str(self.request.path_params[name])

    def workspace(self, write: bool) -> Workspace:
        """The workspace named in the path, after checking that the caller may read (and write) it."""
        return self.workspace_called(self.path("workspace"), write)

    def workspace_called(self, name: str, write: bool) -> Workspace:
        """The workspace with this id or folder_name, which the caller may read (and write)."""
        workspace = self.services.workspaces.find(name)
        self.principal.check_member(workspace.id)
        self.services.gate.check_workspace(write)
        if write:
            self.principal.check_write(workspace.id)
        return workspace

    def reachable_workspaces(self) -> list[Workspace]:
        """The workspaces inside the credential's scope."""
        return [each for each in self.services.workspaces if self.principal.is_member(each.id)]

    def check_org(self) -> None:
        """Raises unless the path names the organisation and the credential is valid."""
        _ = self.principal
        if self.path("org") not in (self.services.org_id, ORG_DOMAIN):
            raise not_a_member()

    def node_id(self, name: str = "node") -> str:
        """The canonical node id in the path; 404 when it cannot be one."""
        text = self.path(name)
        if text in ("root", "trash"):
            return text
        bare = opaque_ids.canonical(text)
        if bare is None:
            raise not_found("malformed node id", 191878)
        return bare

    def level(self) -> str:
        """The asked level of detail; words that are no level are ignored."""
        words = [word for word in self.query.get("output", "").split(",") if word in _LEVELS]
        if len(words) > 1:
            raise invalid_field("output", "two levels of detail at once")
        return words[0] if words else "full"

    async def fields(self) -> dict[str, str]:
        """The form fields of the body, in whichever form encoding it came."""
        if self.is_multipart:
            return (await self.multipart(_NO_FILES)).fields
        content_type = self.request.headers.get("content-type", "")
        if content_type and not content_type.lower().startswith("application/x-www-form-urlencoded"):
            raise bad_body(f"a form is expected, not {content_type}")
        return await read_form(self.request.stream())

    async def multipart(self, rules: FileRules) -> ReceivedBody:
        """The multipart body, its file parts written to blobs."""
        content_type = self.request.headers.get("content-type", "")
        return await read_multipart(content_type, self.request.stream(), self.services.blobs, rules)

    def body(self) -> AsyncIterator[bytes]:
        """The raw body, piece by piece."""
        return self.request.stream()

    async def read(self, work: Callable[[Connection], JsonObject], status: int = 200) -> Response:
        """Answer with what `work` reads; both reading and encoding happen in a thread."""
        content = await self.services.database.read(lambda connection: encode_success(work(connection)))
        return Enveloped(content, status)

    async def write(self, work: Callable[[Transaction], JsonObject]) -> Response:
        """Answer with what the mutation gives, after its commit."""
        return answer(await self.services.database.write(work))


Handler = Callable[[Call], Awaitable[Response]]


class Enveloped(Response):
    """An answer in the envelope: unlike the bytes of a file, which may be JSON too, it can be told in another
    layout."""

    media_type = JSON


def answer(body: JsonObject, status: int = 200) -> Response:
    """A success answer."""
    return Enveloped(encode_success(body), status)


class Endpoint:
    """ASGI application of one path: picks the handler of the method, turns every error into its envelope."""

    def __init__(self, services: Services, handlers: Mapping[str, Handler]) -> None:
        self._services = services
        self._handlers = dict(handlers)
        if "GET" in self._handlers:
            self._handlers.setdefault("HEAD", self._handlers["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        request = Request(scope, receive, send)
        gate, path = self._services.gate, request.url.path.removeprefix(BASE_PATH)
        response = gate.gives_up_before(path)
        if response is None:
            response = self._shaped(request, await self._respond(request, path))
            response = gate.gives_up_after(request.method, response) or response
            response.headers.update(self._standing_headers(request))
        await response(scope, receive, send)

    def _shaped(self, request: Request, response: Response) -> Response:
        """The answer in the layout that the behaviour asks for."""
        if not self._services.shaper.is_needed or not isinstance(response, Enveloped):
            return response
        is_change = request.method == "POST" and "/storage/" in request.url.path
        status, content = self._services.shaper.shaped(bytes(response.body), response.status_code, is_change)
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Enveloped(content, status, headers=kept)

    async def _respond(self, request: Request, path: str) -> Response:
        try:
            self._services.gate.check(request.method, path, request.headers.get("authorization", ""))
            handler = self._handlers.get(request.method, no_route)
            return await handler(Call(request, self._services))
        except ApiError as error:
            return refusal(error, request.method, request.url.path)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            logger.exception("%s %s failed", request.method, request.url.path)
            return refusal(_as_refusal(error), request.method, request.url.path)

    def _standing_headers(self, request: Request) -> dict[str, str]:
        """Request id and rate limit."""
        credential = request.headers.get("authorization", "")
        return {"x-ve-reqid": secrets.token_hex(8), **self._services.gate.limit_headers(credential)}


async def no_route(call: Call) -> NoReturn:
    """No such path, or no such method on it."""
    raise ApiError(404, 9992, f"no such route: {call.request.method} {call.request.url.path}")


def whole_number(fields: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A field with decimal digits; 406 when it is missing (and has no default) or not a number."""
    text = fields.get(name, "")
    if not text:
        if default is None:
            raise invalid_field(name, "is required", kind="missing")
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        raise invalid_field(name, "a whole number is expected")
    return int(text)


def is_true(fields: Mapping[str, str], name: str) -> bool:
    """Whether a boolean field says yes."""
    return fields.get(name, "").lower() in ("true", "1", "yes")


def refusal(error: ApiError, method: str, path: str) -> Response:
    """The answer that tells the error."""
    content = encode_error(error, f"{method} {path}")
    return Enveloped(content, error.status, headers=error.headers)


def _as_refusal(error: Exception) -> ApiError:
    """What the client is told about a failure of our own."""
    if is_disk_full(error) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return ApiError(402, 1685, "the disk of the server is full", {"reason": "storage_full"})
    return ApiError(500, 1654, "internal error")
