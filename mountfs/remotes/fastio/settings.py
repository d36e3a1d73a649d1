"""What may be tuned about the client, and which addresses it accepts."""

import ipaddress
from dataclasses import dataclass

import httpx

from mountfs.model.errors import InsecureAddress, RequestRefused

MIB = 1024 * 1024
API_PATH = "/current/"


@dataclass(frozen=True, slots=True)
class FastioSettings:
    """Bounds of patience, and of what is asked of the service.

    A call takes at most `patience_s`, plus what it waits for on purpose, plus the time for its body at
    `slowest_bytes_s`.
    """

    patience_s: float = 30
    attempts: int = 8
    connect_s: float = 5
    read_s: float = 30
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 8
    slowest_bytes_s: int = 64 * 1024
    page_size: int = 500
    lease_min_s: float = 60
    lease_max_s: float = 3600
    socket_quiet_s: float = 15
    """When nothing was pushed for so long, a ping asks whether anybody is there."""
    socket_answer_s: float = 10


def base_address(url: str, *, allow_insecure: bool) -> httpx.URL:
    """Return the address that paths are appended to; a bare host gets the path of the API.

    Raises InsecureAddress for http to another machine unless allowed, RequestRefused for what is no address.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise RequestRefused(f"not an address: {error}") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise RequestRefused(f"not an http address: {address.scheme}://{address.host}")
    if address.userinfo:
        raise RequestRefused(f"the address of {address.host} must not carry a credential")
    if address.scheme == "http" and not allow_insecure and not is_loopback(address.host):
        raise InsecureAddress(f"http://{address.host} would carry the token in the clear")
    path = API_PATH if address.path in {"", "/"} else address.path.rstrip("/") + "/"
    return address.copy_with(path=path, query=None, fragment=None)


def socket_address(base: httpx.URL, query: str) -> httpx.URL:
    """Return where changes are pushed: beside the API, whose last segment is its version."""
    above = base.path.removesuffix("/").rpartition("/")[0] + "/"
    within = "" if above.endswith("/api/") else "api/"
    return base.copy_with(raw_path=f"{above}{within}websocket/?{query}".encode())


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
