"""Tells a receiver of events by signed requests."""

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final

import httpx

from mountfs.model.errors import ProtocolViolation, RemoteUnavailable, RequestRefused

_LIMIT_S: Final = 15.0
_LATER: Final = frozenset({408, 425, 429})


class Webhook:
    """One receiver. `post` signs with the secret: `Mountfs-Signature: t=UNIX_TIME,v1=HEX`, where HEX is the
    HMAC-SHA256 of the time, a dot and the body. Redirects are not followed."""

    def __init__(self, url: str, secret: str, *, now: Callable[[], float] = time.time) -> None:
        self._url = url
        self._secret = secret.encode()
        self._now = now
        # A proxy of the environment would see what goes to an address without TLS.
        self._client = httpx.AsyncClient(
            timeout=_LIMIT_S, follow_redirects=False, trust_env=url.startswith("https:")
        )

    async def post(self, delivery: str, body: bytes) -> None:
        """Raises RemoteUnavailable for what may go another time, RequestRefused and ProtocolViolation for
        what never will. `delivery` is the same for each try, so that a receiver knows it again."""
        headers = {
            "Content-Type": "application/json",
            "Mountfs-Delivery": delivery,
            "Mountfs-Signature": signature(self._secret, int(self._now()), body),
        }
        try:
            response = await self._client.post(self._url, content=body, headers=headers)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise RemoteUnavailable(f"no answer ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise ProtocolViolation(f"not understood ({type(error).__name__})") from error
        status = response.status_code
        if status >= 500 or status in _LATER:
            raise RemoteUnavailable(f"HTTP {status}")
        if not response.is_success:
            raise RequestRefused(f"HTTP {status}")

    async def aclose(self) -> None:
        await self._client.aclose()


def signature(secret: bytes, at: int, body: bytes) -> str:
    """Return the value of the header. A receiver compares in constant time, and refuses what is old."""
    digest = hmac.new(secret, b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
