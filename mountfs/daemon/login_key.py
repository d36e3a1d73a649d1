"""The address of a service as the key of its login."""

from urllib.parse import urlsplit, urlunsplit


def login_key(url: str) -> str:
    """Return the form of an address by which its login is found: with the path of the API, no slash
    behind."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") or "/current"
    return urlunsplit((parts.scheme, parts.netloc.lower(), path, "", ""))
