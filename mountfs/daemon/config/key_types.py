"""What values of configuration keys may be that need more than a type: names, addresses, hooks."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mountfs.daemon.settings import HookSettings, Secret
from mountfs.rules.local_only import LocalOnly

_LONGEST_NAME: Final = 255


def _check_name(name: str) -> str:
    if (
        "/" in name
        or "\0" in name
        or name in (".", "..")
        or len(name.encode(errors="replace")) > _LONGEST_NAME
    ):
        raise ValueError("must be the name of a directory, without slashes, or empty")
    return name


def _check_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        is_sound = not address or bool(ipaddress.ip_address(host.strip("[]")) and 0 < int(port) < 65536)
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ValueError('must be a numeric address and a port, as "127.0.0.1:9464", or empty')
    return address


def _check_patterns(patterns: list[str]) -> list[str]:
    try:
        LocalOnly(patterns)
    except ValueError as error:
        raise ValueError(f"must be patterns as in a .gitignore: {error}") from error
    return patterns


def is_loopback_address(address: str) -> bool:
    """Tell for HOST:PORT whether only this machine reaches it."""
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback


def _check_traces_url(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None):
        raise ValueError('must be the address of a collector, as "http://127.0.0.1:4318/v1/traces", or empty')
    return url


TracesUrl = Annotated[str, AfterValidator(_check_traces_url)]
Patterns = Annotated[list[str], AfterValidator(_check_patterns)]
DirectoryName = Annotated[str, AfterValidator(_check_name)]
Address = Annotated[str, AfterValidator(_check_address)]
Happens = Literal["created", "changed", "moved", "removed", "confirmed", "conflict", "failed", "lock-lost"]


class HookKeys(BaseModel):
    """One of `hooks`: whom to tell (`run`, or `url` with `secret_file`), and of what."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    on: Annotated[list[Happens], Field(min_length=1)]
    match: Patterns = []
    run: list[str] = []
    url: str = ""
    secret_file: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0

    @model_validator(mode="after")
    def _tells_somebody(self) -> Self:
        if bool(self.run) == bool(self.url):
            raise ValueError("must each have either run or url")
        if bool(self.url) != bool(self.secret_file):
            raise ValueError("must have a secret_file where it has a url, and only there")
        return self

    def plain(self, folder: Path) -> dict[str, Any]:
        """Return its keys; a file that is relative is one in this folder."""
        told = self.model_dump()
        if self.secret_file:
            told["secret_file"] = str(folder / Path(self.secret_file).expanduser())
        return told

    def settings(self, secret: Secret | None) -> HookSettings:
        return HookSettings(
            on=tuple(self.on),
            match=tuple(self.match),
            run=tuple(self.run),
            url=self.url,
            secret=secret,
            timeout_s=self.timeout_s,
        )
