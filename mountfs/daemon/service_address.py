"""Which addresses a token may be sent to."""

import ipaddress
from urllib.parse import urlsplit

from mountfs.daemon.errors import ConfigurationRefused


def checked_url(url: str, *, allow_insecure: bool) -> str:
    """Return the address without a slash at its end. Raises ConfigurationRefused where it is no address of a
    service, carries a password, or would send the token in clear over a network."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationRefused(f"the address is malformed: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ConfigurationRefused("the address holds a user name or password", hint="use a token instead")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigurationRefused(
            f"the address {url!r} is not one of a service", hint="for example https://api.fast.io/current"
        )
    if parts.scheme == "http" and not allow_insecure and not _is_loopback(host):
        raise ConfigurationRefused(
            f"{url} would carry the token without encryption",
            hint="use https, or allow_insecure = true in the configuration",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
