"""Reading the configuration of a running mount again: what can change at once does, the rest is told."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from mountfs.daemon import service_manager
from mountfs.daemon.config.file import MountKeys, read_config
from mountfs.daemon.config.hook_secrets import complete_hook
from mountfs.daemon.credentials import read_token_file
from mountfs.daemon.running import shown
from mountfs.daemon.settings import MountSettings
from mountfs.model.errors import MountfsError

log = logging.getLogger(__name__)

LIVE_KEYS: Final = frozenset(
    {
        "cache_size",
        "conflict",
        "consistency",
        "drain_timeout_s",
        "durability",
        "hooks",
        "log_level",
        "token_file",
        "upload_delay_s",
    }
)
"""What counts from the reload on, without a new mount. Of `token_file` it is what the file holds, and of
`hooks` also what their secret files do."""


@dataclass(frozen=True, slots=True)
class Reread:
    """`settings`: with all that may change now. `changed`: which keys do. `waiting`: keys that have another
    value now, which counts from the next mount on."""

    settings: MountSettings
    changed: tuple[str, ...]
    waiting: tuple[str, ...]


def reread(settings: MountSettings) -> Reread:
    """Read again what these settings came from. Raises ConfigurationRefused; then nothing is to change."""
    wanted = _wanted(settings)
    changed = tuple(sorted(wanted.keys() & LIVE_KEYS))
    fresh = replace(settings, **{_attribute(key): wanted[key] for key in changed})
    if settings.token_file is not None:
        token = read_token_file(settings.token_file)
        if token != settings.token:
            fresh, changed = replace(fresh, token=token), (*changed, "token_file")
    return Reread(fresh, changed, tuple(sorted(wanted.keys() - LIVE_KEYS)))


def _wanted(settings: MountSettings) -> dict[str, Any]:
    """Return the keys for which the file has another value now than counts."""
    source = settings.config
    if source is None:
        return {}
    file = read_config(source.path)
    # The token file's name counts from the next mount on, unless it is the one that is read again here.
    mount = file.mount(source.name) if source.name in file.names() else file.common()
    decided = {*source.fixed, "token_file"}
    wanted: dict[str, Any] = {}
    for key, field in MountKeys.model_fields.items():
        given = mount.given.get(key)
        value: Any = field.default if given is None else given.value
        if key == "hooks":
            value = [complete_hook(each) for each in value]
        if isinstance(value, list):
            value = tuple(value)
        if key in decided or (given is None and key in ("url", "workspace", "mountpoint", "cache")):
            continue
        if value != _current(settings, key):
            wanted[key] = value
    return wanted


def _attribute(key: str) -> str:
    return {"cache_size": "cache_size_bytes", "cache": "cache_dir"}.get(key, key)


def _current(settings: MountSettings, key: str) -> object:
    value = getattr(settings, _attribute(key))
    return str(value) if key in ("mountpoint", "cache") else value


class Reloading:
    """Holds the settings that count at present. `apply` makes parts of the mount follow them."""

    def __init__(self, settings: MountSettings, apply: Callable[[MountSettings], None]) -> None:
        self.settings = settings
        self._apply = apply

    async def reload(self) -> None:
        """Read the configuration again; tell in the log what changed, what waits, or why nothing does."""
        service_manager.tell_reloading()
        try:
            await self._follow()
        finally:
            service_manager.tell_ready(f"serving {shown(str(self.settings.mountpoint))}")

    async def _follow(self) -> None:
        try:
            found = await trio.to_thread.run_sync(reread, self.settings)
        except MountfsError as error:
            log.error("the configuration stays as it was: %s", error.message)
            return
        if found.changed:
            self.settings = found.settings
            self._apply(found.settings)
        log.info("configuration read again; changed: %s", ", ".join(found.changed) or "nothing")
        if found.waiting:
            log.warning(
                "these keys have other values now, from the next mount on: %s", ", ".join(found.waiting)
            )
