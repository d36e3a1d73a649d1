"""The configuration file: its keys, their checks, and errors that name the place."""

import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.running import shown
from mountfs.daemon.settings import (
    DEFAULT_CACHE_SIZE_BYTES,
    DEFAULT_DRAIN_TIMEOUT_S,
    Conflict,
    Consistency,
    Durability,
    LogLevel,
)
from mountfs.rules.local_only import LocalOnly

_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_MIN_CACHE_BYTES = 64 * 1024**2


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]iB|)", value.strip())
    if match is None:
        raise ValueError('must be a number of bytes or a text like "10 GiB" (KiB, MiB, GiB, TiB)')
    return int(float(match[1]) * _UNITS[match[2]])


def _check_patterns(patterns: list[str]) -> list[str]:
    try:
        LocalOnly(patterns)
    except ValueError as error:
        raise ValueError(f"must be patterns as in a .gitignore: {error}") from error
    return patterns


Size = Annotated[int, BeforeValidator(_parse_size)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class ConfigFile(BaseModel):
    """The keys of the file, all optional. `MountSettings` says what each does.

    `cache` and `token_file` may be relative to the folder of the file. The token itself is no key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: str | None = None
    workspace: str | None = None
    cache: str | None = None
    token_file: str | None = None
    allow_insecure: bool = False
    cache_size: Annotated[Size, Field(ge=_MIN_CACHE_BYTES)] = DEFAULT_CACHE_SIZE_BYTES
    drain_timeout_s: Seconds = DEFAULT_DRAIN_TIMEOUT_S
    upload_delay_s: Annotated[Seconds, Field(le=60)] = 0.5
    durability: Durability = "local"
    consistency: Consistency = "feed"
    conflict: Conflict = "keep-both"
    lease_duration_s: Annotated[int, Field(ge=60, le=3600)] = 60
    allow_other: bool = False
    read_only: bool = False
    local_only: Annotated[list[str], AfterValidator(_check_patterns)] = []
    share_attributes: bool = True
    passthrough: bool = True
    log_level: LogLevel = "info"


def read_config(path: Path) -> ConfigFile:
    """Return the checked content of the file. Raises ConfigurationRefused with file, line and key."""
    place = shown(str(path))
    try:
        text = path.read_text()
        return ConfigFile.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigurationRefused(f"{place} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationRefused(f"{place} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationRefused(f"{place} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise ConfigurationRefused(f"{place}{_describe(error.errors()[0], text)}") from error


def _describe(fault: ErrorDetails, text: str) -> str:
    key = str(fault["loc"][0])
    line = next((n for n, found in enumerate(text.splitlines(), 1) if _defines(found, key)), None)
    place = f", line {line}: " if line else ": "
    match fault["type"]:
        case "extra_forbidden" if key == "token":
            return f"{place}the token does not belong into a configuration; use token_file or MOUNTFS_TOKEN"
        case "extra_forbidden":
            return f'{place}unknown key "{key}"; known are {", ".join(ConfigFile.model_fields)}'
        case "literal_error":
            return f"{place}{key} must be one of {fault['ctx']['expected']}"
        case _:
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            return f"{place}{key} {message if message.startswith('must') else 'must be ' + message}"


def _defines(line: str, key: str) -> bool:
    return re.match(rf"""\s*\[?["']?{re.escape(key)}["']?\s*[=.\]]""", line) is not None
