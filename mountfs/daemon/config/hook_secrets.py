"""Completes hooks of the configuration with their secrets, which are in files of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mountfs.daemon.config.key_types import HookKeys
from mountfs.daemon.credentials import read_token_file
from mountfs.daemon.service_address import checked_url
from mountfs.daemon.settings import HookSettings


def complete_hook(given: HookKeys | Mapping[str, Any]) -> HookSettings:
    """Raises ConfigurationRefused for a secret or an address that cannot be used."""
    keys = HookKeys.model_validate(given)
    if not keys.url:
        return keys.settings(None)
    checked_url(keys.url, allow_insecure=False)
    return keys.settings(read_token_file(Path(keys.secret_file).expanduser()))
