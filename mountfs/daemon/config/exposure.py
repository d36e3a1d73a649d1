"""Which addresses of the viewers would show a mount to other machines that nobody said may see it."""

from typing import Final

from mountfs.daemon.config.key_types import is_loopback_address
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings

ADDRESS_KEYS: Final = ("metrics_listen", "web_listen")
REMEDY: Final = "use 127.0.0.1, or listen_beyond_loopback = true in the configuration"


def is_exposed(address: str, *, beyond_loopback: bool) -> bool:
    return bool(address) and not beyond_loopback and not is_loopback_address(address)


def refuse_exposure(settings: MountSettings) -> None:
    """Raises ConfigurationRefused."""
    for key in ADDRESS_KEYS:
        address = getattr(settings, key)
        if is_exposed(address, beyond_loopback=settings.listen_beyond_loopback):
            raise ConfigurationRefused(
                f"{key} = {address} would show the mount to other machines", hint=REMEDY
            )
