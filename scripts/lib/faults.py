"""What can become of a request on its way through `scripts.lib.faulty_proxy`: one function for each fault."""

import json
from collections.abc import Callable
from typing import Any, Final

from scripts.lib.faulty_proxy import Exchange, Fault, Response

PAGE: Final = b"<!doctype html><html><body><h1>Sign in to this network</h1></body></html>"
TRICKLE_S: Final = 0.02


def _json(status: int, payload: dict[str, Any], headers: list[tuple[str, str]] | None = None) -> Response:
    return Response(
        status, json.dumps(payload).encode(), [("Content-Type", "application/json"), *(headers or ())]
    )


def refusal(
    status: int,
    code: int,
    text: str,
    *,
    params: dict[str, Any] | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> Fault:
    """The service refuses, and does nothing."""
    error = {"code": code, "text": text, "message": text, "params": params or {}}
    answer = _json(status, {"result": False, "current_api_version": "1.0", "error": error}, headers)
    return lambda exchange: exchange.answer(answer)


# Connections.


def reset_before(exchange: Exchange) -> None:
    """The connection breaks; the service never saw the request."""
    exchange.reset()


def reset_after(exchange: Exchange) -> None:
    """The service has done it; the answer is lost."""
    exchange.forward()
    exchange.reset()


def hang_before(exchange: Exchange) -> None:
    """The request goes nowhere, and nobody says so."""
    exchange.hang()


def hang_after(exchange: Exchange) -> None:
    """The service has done it; the answer never comes."""
    exchange.forward()
    exchange.hang()


def delayed(seconds: float) -> Fault:
    def delay(exchange: Exchange) -> None:
        exchange.pause(seconds)
        exchange.answer(exchange.forward())

    return delay


def trickled(exchange: Exchange) -> None:
    """The answer comes in small pieces, with pauses."""
    response = exchange.forward()
    exchange.send(response, b"")
    step = max(1, len(response.body) // 10)
    for start in range(0, len(response.body), step):
        exchange.pause(TRICKLE_S)
        exchange.send_more(response.body[start : start + step])


def truncated(exchange: Exchange) -> None:
    """The service has done it; the connection ends in the middle of the answer."""
    response = exchange.forward()
    exchange.send(response, response.body[: len(response.body) // 2])
    exchange.close()


def flipped(exchange: Exchange) -> None:
    """One bit in the middle of the answer is wrong."""
    response = exchange.forward()
    spoiled = bytearray(response.body)
    if spoiled:
        spoiled[len(spoiled) // 2] ^= 0x10
    exchange.answer(Response(response.status, bytes(spoiled), response.headers))


def spoiled_on_the_way(exchange: Exchange) -> None:
    """One bit of the content that is sent is wrong when it arrives."""
    body = bytearray(exchange.request.body)
    last = body.rindex(b"\r\n--") - 1
    body[last] ^= 0x10
    exchange.answer(exchange.forward(bytes(body)))


# Gateways.


def gateway_before(status: int) -> Fault:
    """A gateway gives up; the service never saw the request."""
    return lambda exchange: exchange.answer(Response(status, PAGE, [("Content-Type", "text/html")]))


def gateway_after(status: int) -> Fault:
    """A gateway gives up, while the service does what was asked."""

    def give_up(exchange: Exchange) -> None:
        exchange.forward()
        exchange.answer(Response(status, PAGE, [("Content-Type", "text/html")]))

    return give_up


def page_before(exchange: Exchange) -> None:
    """A page of somebody else, as by a network that wants to be signed in to first."""
    exchange.answer(Response(200, PAGE, [("Content-Type", "text/html")]))


def page_after(exchange: Exchange) -> None:
    """The service has done it; what comes back is a page of somebody else."""
    exchange.forward()
    page_before(exchange)


# Uploads.


def _changed(change: Callable[[Any], Any]) -> Fault:
    """The answer is as the service gave it, but for what `change` makes of each object in it."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return change({key: walk(inner) for key, inner in value.items()})
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    def apply(exchange: Exchange) -> None:
        response = exchange.forward()
        exchange.answer(_json(response.status, walk(json.loads(response.body))))

    return apply


def _with_wrong_hash(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"hash": "0" * 64} if found.get("hash") else found


wrong_hash: Final = _changed(_with_wrong_hash)
"""The service shows another hash than it has."""


def session_ends(status: str) -> Fault:
    """The service gives the session up: the content that it was sent is gone."""

    def end(exchange: Exchange) -> None:
        response = exchange.forward()
        told = json.loads(response.body)
        session = told.get("session", told)
        if "id" in session:
            exchange.ask("DELETE", f"upload/{session['id']}/")
        session |= {"status": status, "status_message": "given up", "new_file_id": None}
        exchange.answer(_json(200, told))

    return end


def session_vanishes(exchange: Exchange) -> None:
    """The session is gone when the request comes."""
    exchange.ask("DELETE", f"upload/{exchange.request.path.split('/')[1]}/")
    exchange.answer(exchange.forward())


def told(**payload: Any) -> Fault:
    """The service says this, whatever it would have said."""
    return lambda exchange: exchange.answer(_json(200, {"result": True, **payload}))


# The feed.


def _rows(change: Callable[[list[Any]], list[Any]]) -> Fault:
    def apply(exchange: Exchange) -> None:
        response = exchange.forward()
        told = json.loads(response.body)
        if isinstance(told.get("activity"), list):
            told["activity"] = change(told["activity"])
        exchange.answer(_json(response.status, told))

    return apply


rows_twice: Final = _rows(lambda rows: [*rows, *rows])
"""Each row of the feed comes twice."""

rows_reversed: Final = _rows(lambda rows: rows[::-1])
"""The rows of the feed come in the wrong order."""


def rows_again() -> Fault:
    """What the feed told once it tells again: the cursor goes back."""
    first: list[Response] = []

    def tell(exchange: Exchange) -> None:
        response = exchange.forward()
        if json.loads(response.body).get("activity") and not first:
            first.append(response)
        exchange.answer(first[0] if first else response)

    return tell


cursor_expired: Final = refusal(406, 158008, "the cursor has expired", params={"reason": "cursor_expired"})
cursor_gone: Final = refusal(410, 158008, "the cursor has expired")

# Refusals.

token_expired: Final = refusal(401, 10011, "the token has expired")
credits_used_up: Final = refusal(402, 1696, "credit limit exceeded")
plan_too_small: Final = refusal(402, 1685, "the plan does not allow it")
forbidden: Final = refusal(403, 1680, "not allowed")
absent: Final = refusal(404, 1609, "no such thing")
gone: Final = refusal(410, 1609, "gone")
invalid: Final = refusal(406, 1605, "not acceptable")
conflicting: Final = refusal(409, 1660, "another request works on it")
locked: Final = refusal(409, 1660, "the file is locked", params={"reason": "locked"})
too_large: Final = refusal(413, 1605, "too large")
slow_down: Final = refusal(429, 1671, "slow down")
broken_inside: Final = refusal(500, 1654, "internal error")


def come_back_in(seconds: int) -> Fault:
    """The service is asked too much, and says when to come again."""
    return refusal(429, 1671, "slow down", params={"retry_after_seconds": seconds})
