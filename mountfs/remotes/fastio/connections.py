"""The connections to one service: a transport as of httpx, without the client that it has around it.

The client keeps cookies, follows redirects and authenticates, none of which is of use here. With a transport
of our own a call takes half of the processor's time; httpx's goes where that one cannot: through proxies, and
from HTTP to another protocol.
"""

import ssl
from collections.abc import Mapping
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from mountfs import __version__
from mountfs.remotes.fastio import receive_buffer
from mountfs.remotes.fastio.connection_pool import ConnectionPool

KEEP_ALIVE_S: Final = 4.0
"""Below the five seconds after which common servers close: a request must not meet the close."""

RECEIVE_BYTES: Final = 512 * 1024
"""How much of what has arrived is taken at once: each piece costs as much as a small request."""

httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = RECEIVE_BYTES  # httpx has no setting for it
receive_buffer.install()

TARGET: Final = "target"
"""Path and query of a request to `base`, as they go out: to parse an address is a tenth of a call."""

STANDING_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"mountfs/{__version__}",
}


class Connections:
    """At most `most` at a time to the service at `base`."""

    def __init__(
        self, base: httpx.URL, most: int, tls: ssl.SSLContext | None, *, upgraded: bool = False
    ) -> None:
        """`tls` None: for an address without TLS. `upgraded`: for requests that ask for another protocol."""
        self._base = base
        self._standing = {"Host": base.netloc.decode("ascii"), **STANDING_HEADERS}
        proxy = proxy_to(base)
        self._is_of_httpx = upgraded or proxy is not None
        self._transport: httpx.AsyncBaseTransport = (
            httpx.AsyncHTTPTransport(
                verify=tls or False,
                trust_env=False,
                limits=httpx.Limits(max_connections=most, keepalive_expiry=KEEP_ALIVE_S),
                proxy=proxy,
            )
            if self._is_of_httpx
            else ConnectionPool(most, KEEP_ALIVE_S, RECEIVE_BYTES, tls)
        )

    async def aclose(self) -> None:
        await self._transport.aclose()

    def request(
        self,
        method: str,
        target: bytes,
        headers: Mapping[str, str],
        body: httpx.AsyncByteStream,
        timeout: httpx.Timeout,
    ) -> httpx.Request:
        """Return the request that `send` sends: `target` is path and query, and these headers come besides
        those that all have."""
        address, extensions = self._base, {"timeout": timeout.as_dict(), TARGET: target}
        if self._is_of_httpx:
            # On the way through a proxy it would take the target for that of the tunnel.
            address = address.copy_with(raw_path=extensions.pop(TARGET))
        headers = {**self._standing, **headers}
        return httpx.Request(method, address, headers=headers, stream=body, extensions=extensions)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Return the response with its body still to come; it is to be closed. Raises httpx.RequestError."""
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response


def address_of(request: httpx.Request) -> httpx.URL:
    """Return where the request goes."""
    target = request.extensions.get(TARGET)
    return request.url if target is None else request.url.copy_with(raw_path=target)


def redirect(request: httpx.Request, address: httpx.URL) -> None:
    """Let the request go there."""
    request.extensions.pop(TARGET, None)
    request.url = address


def proxy_to(base: httpx.URL) -> str | None:
    """Return the proxy that the environment names for this address. None for one without TLS: it would see
    the token."""
    if base.scheme != "https" or proxy_bypass(base.host):
        return None
    proxies = getproxies()
    told = proxies.get("https") or proxies.get("all")
    return f"http://{told}" if told and "://" not in told else told
