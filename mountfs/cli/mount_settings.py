"""Puts the settings of a mount together: options over environment over configuration file over defaults."""

import ipaddress
import os
from pathlib import Path
from urllib.parse import urlsplit

import click

from mountfs.cli.config_file import ConfigFile, read_config
from mountfs.cli.credentials import read_token
from mountfs.cli.paths import default_cache_dir
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings


def collect(
    mountpoint: Path,
    *,
    url: str | None,
    workspace: str | None,
    cache: Path | None,
    token_file: Path | None,
    config_path: Path | None,
    passthrough: bool = True,
) -> MountSettings:
    """Return complete, checked settings; `passthrough` false goes over the configuration.

    Raises ConfigurationRefused, or UsageError for what is missing.
    """
    config = read_config(config_path) if config_path is not None else ConfigFile()
    folder = config_path.absolute().parent if config_path is not None else Path.cwd()
    address = url or os.environ.get("MOUNTFS_URL") or config.url
    name = workspace or os.environ.get("MOUNTFS_WORKSPACE") or config.workspace
    if not address:
        raise click.UsageError("no address: give --url, MOUNTFS_URL, or url in the configuration")
    if not name:
        raise click.UsageError(
            "no workspace: give --workspace, MOUNTFS_WORKSPACE, or workspace in the configuration"
        )
    address = checked_url(address, allow_insecure=config.allow_insecure)
    cache = cache or _path(config.cache, folder) or default_cache_dir(address, name, mountpoint)
    return MountSettings(
        url=address,
        workspace=name,
        mountpoint=mountpoint,
        cache_dir=_resolved_outside(cache, mountpoint),
        token=read_token(token_file or _path(config.token_file, folder)),
        allow_insecure=config.allow_insecure,
        cache_size_bytes=config.cache_size,
        drain_timeout_s=config.drain_timeout_s,
        upload_delay_s=config.upload_delay_s,
        durability=config.durability,
        consistency=config.consistency,
        conflict=config.conflict,
        lease_duration_s=config.lease_duration_s,
        allow_other=config.allow_other,
        read_only=config.read_only,
        local_only=tuple(config.local_only),
        share_attributes=config.share_attributes,
        passthrough=passthrough and config.passthrough,
        log_level=config.log_level,
    )


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


def _path(text: str | None, folder: Path) -> Path | None:
    return folder / Path(text).expanduser() if text else None


def _resolved_outside(cache: Path, mountpoint: Path) -> Path:
    # The mountpoint is not touched: a mount of a daemon that hangs would hang us, too.
    plain = Path(os.path.abspath(cache))
    if plain.is_relative_to(mountpoint) or (resolved := plain.resolve()).is_relative_to(mountpoint):
        raise ConfigurationRefused(
            "the cache directory lies inside the mountpoint", hint="choose another --cache"
        )
    return resolved
