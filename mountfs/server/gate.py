"""What decides about a request before its handler: membership, payment, limits, gateways that give up."""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from mountfs.server.behaviour import Behaviour
from mountfs.server.clock import SECOND_US, wire_time
from mountfs.server.credentials import not_a_member
from mountfs.server.envelope import ApiError

WINDOW_S: Final = 10.0
UNLIMITED: Final = 1_000_000
_PAGE: Final = b"<!doctype html><html><body><h1>The gateway gave up</h1></body></html>"
_POLLS: Final = ("/activity/poll/",)
_READS: Final = ("/read/", "/requestread/", "/readnote/")
_ALWAYS_OPEN: Final = ("/ping/", "/system/status/", "/openapi.json")


class Gate:
    """One of each server; counts what went through it. Belongs to the event loop."""

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float] = time.monotonic) -> None:
        self._behaviour = behaviour
        self._clock = clock
        self._requests = 0
        self._changes = 0
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def check(self, method: str, path: str, credential: str) -> None:
        """Raises what the request is refused with. `path` begins behind the version of the API."""
        if path in _ALWAYS_OPEN:
            return
        self._count(path, credential)
        behaviour = self._behaviour
        if behaviour.org_feed == "absent" and path.endswith("/events/changes/"):
            raise ApiError(404, 9992, "no such route")
        if behaviour.org_feed == "forbidden" and path.endswith("/events/changes/"):
            raise ApiError(403, 135626, "nothing of this organisation can be read")
        if not behaviour.inventory and path.endswith("/storage/inventory/"):
            raise ApiError(404, 9992, "no such route")
        self._check_payment(method, path)

    def check_workspace(self, write: bool) -> None:
        """Raises what everything about a workspace, or every change in it, is refused with."""
        if not self._behaviour.member:
            raise not_a_member()
        state = self._behaviour.workspace_state
        if state == "suspended" or (state == "archived" and write):
            raise ApiError(403, 1670, f"the workspace is {state}", {"reason": f"workspace_{state}"})

    def _check_payment(self, method: str, path: str) -> None:
        payment = self._behaviour.payment
        is_write = _is_change(method) and (path.startswith("/upload/") or "/storage/" in path)
        is_read = path.endswith(_READS)
        # What only makes room stays possible.
        if (payment != "paid" and is_write and method != "DELETE") or (payment == "all" and is_read):
            raise ApiError(402, 1696, "the credits of the organisation are used up", {"feature": "credits"})

    def _count(self, path: str, credential: str) -> None:
        """429 with the seconds to wait when this credential has used up its share of the window."""
        limit = self._behaviour.rate_limit
        if not limit or (path.startswith(_POLLS) and not self._behaviour.polls_count):
            return
        recent, now = self._recent[credential], self._clock()
        while recent and recent[0] <= now - WINDOW_S:
            recent.popleft()
        if len(recent) >= limit:
            wait_s = max(1, round(recent[0] + WINDOW_S - now))
            raise ApiError(429, 1671, "too many requests", {"retry_after_seconds": wait_s})
        recent.append(now)

    def limit_headers(self, credential: str) -> dict[str, str]:
        """What each answer tells of the limit."""
        behaviour = self._behaviour
        if behaviour.rate_headers == "none":
            return {}
        limit = behaviour.rate_limit or UNLIMITED
        recent = self._recent.get(credential)
        ends_in_s = recent[0] + WINDOW_S - self._clock() if recent else 60.0
        ends = time.time() + max(0.0, ends_in_s)
        text = wire_time(int(ends) * SECOND_US)
        values = (
            str(max(0, limit - len(recent or ()))),
            str(limit),
            str(int(ends)) if behaviour.rate_expires == "epoch" else text,
        )
        names = ("x-ve-limit-avail", "x-ve-limit-max", "x-ve-limit-expires")
        if behaviour.rate_headers == "older":
            names = ("x-rate-limit-available", "x-rate-limit-max", "x-rate-limit-expiry")
        return dict(zip(names, values, strict=True))

    def gives_up_before(self, path: str) -> Response | None:
        """The page of a gateway that did not reach the server, for every n-th request."""
        every = self._behaviour.gateway_before
        if not every or path in _ALWAYS_OPEN:
            return None
        self._requests += 1
        return _page(502) if self._requests % every == 0 else None

    def gives_up_after(self, method: str, answered: Response) -> Response | None:
        """The page of a gateway that did not wait for the answer to every n-th change that was made."""
        every = self._behaviour.gateway_after
        if not every or not _is_change(method) or answered.status_code != 200:
            return None
        self._changes += 1
        return _page(504) if self._changes % every == 0 else None


def _is_change(method: str) -> bool:
    return method in ("POST", "DELETE", "PATCH", "PUT")


def _page(status: int) -> Response:
    return Response(_PAGE, status, media_type="text/html")
