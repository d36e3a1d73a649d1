"""The read-only web page of a mount: what `mountfs status` tells, what happened last, versions of a file.

Nothing can be changed by it. It takes nothing from elsewhere, and answers only to the names of the address
that it listens at, so that no page of somebody else can read it by way of a name that leads here.
"""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mountfs.daemon.archive import VersionState
from mountfs.daemon.event_stream import event_line
from mountfs.daemon.running import Status, shown
from mountfs.daemon.viewers.listener import AskMount
from mountfs.model.errors import MountfsError
from mountfs.rules.happenings import Happenings

MOST_RECENT: Final = 200
MOST_PATH_BYTES: Final = 4096

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none';"
        b" form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

_FILES: Final = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


class RecentEvents:
    """The last that happened, newest first. On the mount's thread."""

    def __init__(self, happenings: Happenings) -> None:
        self._recent: deque[bytes] = deque(maxlen=MOST_RECENT)
        self._listener = happenings.listen(most_waiting=MOST_RECENT)
        self._listener.wake = self._take

    def _take(self) -> None:
        while (happening := self._listener.take()) is not None:
            self._recent.appendleft(event_line(happening))

    def lines(self) -> Sequence[bytes]:
        return list(self._recent)


@dataclass(frozen=True, slots=True)
class Shown:
    """Where the page gets what it shows; all but `ask` is called on the mount's thread."""

    ask: AskMount
    status: Callable[[], Status]
    recent: Callable[[], Sequence[bytes]]
    versions: Callable[[bytes], Awaitable[Sequence[VersionState]]]


def routes(page: Shown) -> list[Route]:
    """Return the page's routes. Endpoints are plain functions: Starlette runs them in threads, where they may
    wait for the mount's thread."""

    def status(request: Request) -> Response:
        return JSONResponse(asdict(page.ask.now(page.status)))

    def activity(request: Request) -> Response:
        return JSONResponse({"events": [json.loads(line) for line in page.ask.now(page.recent)]})

    def versions(request: Request) -> Response:
        path = request.query_params.get("path", "").strip("/").encode()
        if not path or len(path) > MOST_PATH_BYTES:
            return PlainTextResponse("name a file", 400)
        try:
            found = page.ask.patiently(lambda: page.versions(path))
        except MountfsError as error:
            return PlainTextResponse(shown(error.message), 404)
        return JSONResponse({"versions": [asdict(each) for each in found]})

    answers = {"/status.json": status, "/activity.json": activity, "/versions.json": versions}
    return [
        *(Route(path, _file(name, kind)) for path, (name, kind) in _FILES.items()),
        *(Route(path, _guarded(answer)) for path, answer in answers.items()),
    ]


def application(answering: Sequence[Route], host: str) -> ASGIApp:
    """Return what answers on the address with this host."""
    names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
    middleware = [
        Middleware(_WithHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=sorted(names), www_redirect=False),
    ]
    return Starlette(routes=list(answering), middleware=middleware)


class _WithHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    content = files("mountfs.daemon.viewers").joinpath(name).read_bytes()
    return lambda request: Response(content, media_type=kind)


def _guarded(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """The mount may end, or not answer in time, while it is asked."""

    def guarded(request: Request) -> Response:
        try:
            return answer(request)
        except (trio.RunFinishedError, trio.Cancelled, TimeoutError):
            return PlainTextResponse("the mount does not answer", 503)

    return guarded
