"""The connections to one service: httpx's transport, without the client that it has around it.

The client keeps cookies, follows redirects and authenticates, none of which is of use here, and takes as long
for each request as the transport.
"""

import ssl
from collections.abc import Mapping
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from mountfs import __version__
from mountfs.remotes.fastio import receive_buffer

KEEP_ALIVE_S: Final = 4.0
"""Below the five seconds after which common servers close: a request must not meet the close."""

RECEIVE_BYTES: Final = 512 * 1024
"""How much of what has arrived is taken at once: each piece costs as much as a small request."""

httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = RECEIVE_BYTES  # httpx has no setting for it
receive_buffer.install()

STANDING_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"mountfs/{__version__}",
}


class Connections:
    """At most `most` at a time to the service at `base`."""

    def __init__(self, base: httpx.URL, most: int, tls: ssl.SSLContext | None) -> None:
        """`tls` None: for an address without TLS."""
        self._standing = {"Host": base.netloc.decode("ascii"), **STANDING_HEADERS}
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or False,
            trust_env=False,
            limits=httpx.Limits(max_connections=most, keepalive_expiry=KEEP_ALIVE_S),
            proxy=proxy_to(base),
        )

    async def aclose(self) -> None:
        await self._transport.aclose()

    def request(
        self,
        method: str,
        address: httpx.URL,
        headers: Mapping[str, str],
        body: httpx.AsyncByteStream,
        timeout: httpx.Timeout,
    ) -> httpx.Request:
        """Return the request that `send` sends, with these headers besides those that all have."""
        return httpx.Request(
            method,
            address,
            headers={**self._standing, **headers},
            stream=body,
            extensions={"timeout": timeout.as_dict()},
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Return the response with its body still to come; it is to be closed. Raises httpx.RequestError."""
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response


def proxy_to(base: httpx.URL) -> str | None:
    """Return the proxy that the environment names for this address. None for one without TLS: it would see
    the token."""
    if base.scheme != "https" or proxy_bypass(base.host):
        return None
    proxies = getproxies()
    told = proxies.get("https") or proxies.get("all")
    return f"http://{told}" if told and "://" not in told else told
