"""Chooses which mount is meant, and makes checked settings of what is given for it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from mountfs.cli.paths import default_cache_dir, logins_dir
from mountfs.daemon.config import search as config_search
from mountfs.daemon.config.exposure import refuse_exposure
from mountfs.daemon.config.file import ConfiguredMount, Given, read_config
from mountfs.daemon.config.hook_secrets import complete_hook
from mountfs.daemon.config.layers import layered
from mountfs.daemon.credentials import find_token, from_environment, only_stored_url
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.mounted import resolve_mountpoint
from mountfs.daemon.running import shown
from mountfs.daemon.service_address import checked_url
from mountfs.daemon.settings import ConfigSource, MountSettings
from mountfs.kernel import mounts

MACHINE_CACHES: Final = Path("/var/cache/mountfs")


def collect(target: str | None, options: Mapping[str, Given], config_path: Path | None) -> MountSettings:
    """Return complete, checked settings of the mount that `target` means: a configured name or a mountpoint.

    Raises ConfigurationRefused, or UsageError for what is neither and for what is missing.
    """
    mount, place = choose(target, config_path)
    given = layered(options, os.environ, mount)
    if place is None:
        place = Path(_needed(given, "mountpoint", "give MOUNTPOINT"))
    mountpoint = resolve_mountpoint(place)
    values: dict[str, Any] = {key: each.value for key, each in given.items()}
    address = values.get("url") or only_stored_url(logins_dir())
    address = address or _needed(given, "url", "give --url, or sign in with mountfs login")
    values["url"] = checked_url(address, allow_insecure=values["allow_insecure"])
    workspace = _needed(given, "workspace", "give --workspace")
    cache, token_file = (
        Path(path) if (path := values.pop(key, None)) else None for key in ("cache", "token_file")
    )
    token, logins = find_token(token_file, values["url"], logins_dir())
    cache_dir = cache or _default_cache(mount, values["url"], workspace, mountpoint)
    values |= {
        "mountpoint": mountpoint,
        "cache_dir": resolved_outside(cache_dir, mountpoint),
        "cache_size_bytes": values.pop("cache_size"),
        "local_only": tuple(values["local_only"]),
        "hooks": tuple(map(complete_hook, values["hooks"])),
        "token": token,
        "logins": logins,
        "token_file": None if from_environment() else token_file,
        "config": source_of(mount, given),
    }
    settings = MountSettings(**values)
    refuse_exposure(settings)
    return settings


def _default_cache(mount: ConfiguredMount | None, url: str, workspace: str, mountpoint: Path) -> Path:
    """What the machine's configuration names has one cache, however and by whomever as root it is started."""
    if mount is not None and mount.name is not None and os.geteuid() == 0 and _is_the_machines(mount):
        return MACHINE_CACHES / mount.name
    return default_cache_dir(url, workspace, mountpoint)


def _is_the_machines(mount: ConfiguredMount) -> bool:
    return mount.path.absolute().parent == config_search.SYSTEM_FOLDER


def choose(target: str | None, config_path: Path | None) -> tuple[ConfiguredMount | None, Path | None]:
    """Return the configured mount that is meant, and the mountpoint where `target` gives it.

    A word without a slash is a name first; a path is also looked for among the configured mountpoints.
    """
    if config_path is not None:
        return _choose_in(config_path, target)
    if target is None:
        return None, None
    configured = config_search.search()
    is_word = "/" not in target
    if is_word and target in configured.mounts:
        return configured.mounts[target], None
    # The directory of a mount that is dead or hangs is not touched: it would not answer.
    if is_word and mounts.mount_at(target) is None and not os.path.lexists(target):
        if configured.faults:
            raise ConfigurationRefused(configured.faults[0])
        known = (
            f"configured are {', '.join(configured.mounts)}" if configured.mounts else "none is configured"
        )
        raise click.UsageError(
            f"{shown(target)} is neither a configured mount ({known}) nor a directory here"
        )
    place = resolve_mountpoint(Path(target))
    return configured.at(place), place


def _choose_in(path: Path, target: str | None) -> tuple[ConfiguredMount, Path | None]:
    file = read_config(path)
    names = file.names()
    if target is None:
        if len(names) > 1:
            raise click.UsageError(f"{path} has several mounts ({', '.join(names)}); give the name of one")
        return (file.mount(names[0]) if names else file.common()), None
    if target in names:
        return file.mount(target), None
    place = resolve_mountpoint(Path(target))
    here = (file.mount(name) for name in names)
    return next((each for each in here if each.mountpoint() == place), file.common()), place


def source_of(mount: ConfiguredMount | None, given: Mapping[str, Given]) -> ConfigSource | None:
    """Tell where the settings can be read again, and which keys the file does not decide."""
    if mount is None:
        return None
    fixed = tuple(
        key for key, each in given.items() if each.origin != "default" and mount.given.get(key) != each
    )
    return ConfigSource(path=mount.path.absolute(), name=mount.name, fixed=fixed)


def _needed(given: Mapping[str, Given], key: str, remedy: str) -> str:
    if key not in given or not given[key].value:
        what = {"url": "address"}.get(key, key)
        raise click.UsageError(f"no {what}: {remedy}, MOUNTFS_{key.upper()}, or {key} in the configuration")
    return str(given[key].value)


def resolved_outside(cache: Path, mountpoint: Path) -> Path:
    """Return the directory without symlinks. Raises ConfigurationRefused for one inside the mountpoint."""
    # The mountpoint is not touched: a mount of a daemon that hangs would hang us, too.
    plain = Path(os.path.abspath(cache))
    if plain.is_relative_to(mountpoint) or (resolved := plain.resolve()).is_relative_to(mountpoint):
        raise ConfigurationRefused(
            "the cache directory lies inside the mountpoint", hint="choose another --cache"
        )
    return resolved
