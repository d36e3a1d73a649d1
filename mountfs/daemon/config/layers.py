"""Puts together what is given for a mount: options over environment over configuration file over defaults."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mountfs.daemon.config.file import PATH_KEYS, ConfiguredMount, Given, MountKeys, check_value
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.running import shown

DEFAULT: Final = "default"


def layered(
    options: Mapping[str, Given], environment: Mapping[str, str], mount: ConfiguredMount | None
) -> dict[str, Given]:
    """Return the value of each key that has one, and its origin. Raises ConfigurationRefused for a variable
    of
    the environment that does not hold what its key takes."""
    defaults = {
        key: Given(field.default, DEFAULT)
        for key, field in MountKeys.model_fields.items()
        if field.default is not None
    }
    from_file = mount.given if mount is not None else {}
    found = {**defaults, **from_file, **from_environment(environment), **options}
    return {key: found[key] for key in MountKeys.model_fields if key in found}


def from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    """Return what `MOUNTFS_KEY` variables give; empty ones give nothing."""
    found = {}
    for key in MountKeys.model_fields:
        variable = f"MOUNTFS_{key.upper()}"
        if text := environment.get(variable):
            found[key] = parsed(key, text, variable)
    return found


def from_assignments(assignments: Sequence[str], option: str) -> dict[str, Given]:
    """Return what texts like `cache_size=1 GiB` give. Raises ConfigurationRefused."""
    found = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if key not in MountKeys.model_fields or not sign:
            known = ", ".join(MountKeys.model_fields)
            raise ConfigurationRefused(f"{option} {shown(key)}: it takes KEY=VALUE with a KEY of {known}")
        found[key] = parsed(key, text, f"{option} {key}")
    return found


def parsed(key: str, text: str, origin: str) -> Given:
    """Read the value as TOML has it; a text needs no quotes. A relative path is one in the working
    directory."""
    value: object = text
    if not _is_text(key):
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text
    if key in PATH_KEYS:
        value = os.path.abspath(Path(text).expanduser())
    return Given(check_value(key, value, origin), origin)


def _is_text(key: str) -> bool:
    return MountKeys.model_fields[key].annotation == (str | None)
