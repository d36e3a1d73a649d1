"""A configuration file: its keys, their checks, and errors that name the place."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mountfs.daemon import ownership
from mountfs.daemon.config.key_types import Address, DirectoryName, HookKeys, Patterns, TracesUrl
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.running import shown
from mountfs.daemon.settings import (
    DEFAULT_CACHE_SIZE_BYTES,
    DEFAULT_CONTROL_DIR,
    DEFAULT_DRAIN_TIMEOUT_S,
    DEFAULT_OPEN_FILE_INTERVAL_S,
    Conflict,
    Consistency,
    Durability,
    LogFormat,
    LogLevel,
)
from mountfs.rules.toml_lines import key_lines

_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_MIN_CACHE_BYTES = 64 * 1024**2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _parse_size(value: object) -> object:
    if isinstance(value, int | float):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]iB|)", value.strip() if isinstance(value, str) else "")
    if match is None:
        raise ValueError('must be a number of bytes or a text like "10 GiB" (KiB, MiB, GiB, TiB)')
    return int(float(match[1]) * _UNITS[match[2]])


def _check_owner(owner: str | None) -> str | None:
    ownership.ids(owner)
    return owner


def _check_names(mounts: dict[str, "MountKeys"]) -> dict[str, "MountKeys"]:
    for name in mounts:
        if not _NAME.fullmatch(name):
            raise ValueError(f"must have names of letters, digits and . _ - only, not {shown(name)!r}")
    return mounts


CacheSize = Annotated[int, BeforeValidator(_parse_size), Field(ge=_MIN_CACHE_BYTES)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
ShortDelay = Annotated[float, Field(ge=0, le=60)]


class MountKeys(BaseModel):
    """The keys of one mount, all optional; descriptions are Markdown, for docs/reference/configuration.md.

    `mountpoint`, `cache` and `token_file` may be relative to the folder of the file. The token itself is no
    key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: str | None = Field(None, description="address of the service")
    workspace: str | None = Field(None, description="name or id of the workspace")
    mountpoint: str | None = Field(None, description="where; relative to the folder of the file")
    cache: str | None = Field(
        None,
        description="cache directory; relative to the folder of the file; without it, below "
        "`$XDG_CACHE_HOME/mountfs`",
    )
    token_file: str | None = Field(
        None, description="file with the token; relative to the folder of the file"
    )
    allow_insecure: bool = Field(
        False, description="send the token also over plain HTTP to a host that is not loopback"
    )
    cache_size: CacheSize = Field(
        DEFAULT_CACHE_SIZE_BYTES,
        description='bytes, or a text as `"10 GiB"`, at least 64 MiB: clean content is evicted above this; '
        "content not yet sent never is",
    )
    drain_timeout_s: Seconds = Field(DEFAULT_DRAIN_TIMEOUT_S, description="how long a stop waits for uploads")
    upload_delay_s: ShortDelay = Field(
        0.5, description="how long a closed file waits for a rename or another write before its upload"
    )
    open_file_interval_s: Seconds = Field(
        DEFAULT_OPEN_FILE_INTERVAL_S,
        description="how often a file that stays open is sent while it is written to; `0`: only when it "
        "is closed or synced",
    )
    durability: Durability = Field(
        "local", description='`"remote"`: close and fsync wait until the workspace has confirmed'
    )
    consistency: Consistency = Field(
        "feed",
        description='`"open"`: each open asks the workspace; `"feed"`: the cache is trusted while '
        "changes flow in",
    )
    conflict: Conflict = Field(
        "keep-both",
        description='`"keep-both"`: our content becomes a sibling file; `"last-writer-wins"`: the newest '
        "version",
    )
    lease_duration_s: int = Field(
        60,
        ge=60,
        le=3600,
        description="after how many seconds the workspace frees a lock of a host that died",
    )
    owner: Annotated[str | None, AfterValidator(_check_owner)] = Field(
        None,
        description='to whom entries belong that come from elsewhere: `"agent"`, `"agent:staff"`, '
        '`"1000:1000"`; without it, who runs the daemon',
    )
    allow_other: bool = Field(False, description="other users of this machine may enter the mount")
    read_only: bool = Field(
        False, description="nothing may be changed; so it is as well where the token allows only reading"
    )
    local_only: Patterns = Field(
        [],
        description="patterns, as in a .gitignore, of paths that stay in the cache and are never "
        'uploaded: `["node_modules/", ".venv/"]`',
    )
    share_attributes: bool = Field(
        True,
        description="exec bits, symlinks, and times that a program set travel to other hosts, in the "
        "free text of a node ([how](../semantics.md#files-and-directories))",
    )
    outside_links: bool = Field(False, description="symlinks that other hosts made may lead out of the mount")
    passthrough: bool = Field(
        True,
        description="the kernel serves files that are whole in the cache by itself, where it can (root, "
        "Linux 6.9 or newer); `mountfs doctor` tells",
    )
    log_level: LogLevel = Field("info", description="how much goes to the log")
    log_format: LogFormat = Field(
        "auto", description='`"text"`, `"json"` or `"journal"`; `"auto"` goes by where the log leads'
    )
    control_dir: DirectoryName = Field(
        DEFAULT_CONTROL_DIR,
        description="name of the directory in the root with [files about the "
        "mount](../watching.md#files-in-the-mount); empty: none",
    )
    list_control_dir: bool = Field(False, description="whether listings of the root show it")
    metrics_listen: Address = Field(
        "",
        description="address and port of [metrics for Prometheus](../watching.md#metrics): "
        '`"127.0.0.1:9464"`',
    )
    web_listen: Address = Field(
        "", description="address and port of a [read-only web page](../watching.md#web-page)"
    )
    listen_beyond_loopback: bool = Field(
        False, description="whether these two may be reached from other machines"
    )
    hooks: list[HookKeys] = Field(
        [], description="[programs and receivers](../watching.md#hooks) that are told of what happens"
    )
    traces_url: TracesUrl = Field(
        "", description="collector of [OpenTelemetry spans](../watching.md#traces), over OTLP/HTTP"
    )


class ConfigFile(MountKeys):
    """What a file may hold: keys that count for all its mounts, and tables `[mounts.NAME]` that go over
    them."""

    mounts: Annotated[dict[str, MountKeys], AfterValidator(_check_names)] = Field(
        {}, description="tables of named mounts; keys above them count for all"
    )


PATH_KEYS: Final = ("mountpoint", "cache", "token_file")


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave for a key, and where: for people. `origin` begins with what they wrote it
    in."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class ConfiguredMount:
    """One mount of a file: what is given for it there. `name` is None for keys outside a named mount."""

    path: Path
    name: str | None
    given: Mapping[str, Given]

    def mountpoint(self) -> Path | None:
        found = self.given.get("mountpoint")
        return None if found is None else Path(str(found.value))


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read and found right."""

    path: Path
    text: str
    content: ConfigFile

    def names(self) -> list[str]:
        """Return the names of its mounts. A file without a table of mounts that gives a mountpoint is one
        mount,
        named as the file."""
        if self.content.mounts:
            return list(self.content.mounts)
        return [self.path.stem] if self.content.mountpoint is not None else []

    def mount(self, name: str) -> ConfiguredMount:
        """Return the mount of this name. Raises KeyError for one that the file does not have."""
        if name not in self.names():
            raise KeyError(name)
        given = self._given(self.content, ())
        if self.content.mounts:
            given |= self._given(self.content.mounts[name], ("mounts", name))
        return ConfiguredMount(self.path, name, given)

    def common(self) -> ConfiguredMount:
        """Return the keys that count for every mount of the file."""
        return ConfiguredMount(self.path, None, self._given(self.content, ()))

    def _given(self, keys: MountKeys, table: tuple[str, ...]) -> dict[str, Given]:
        found: dict[str, Given] = {}
        lines = key_lines(self.text)
        for key in sorted(keys.model_fields_set - {"mounts"}):
            value = getattr(keys, key)
            if key in PATH_KEYS:
                value = str(self.path.absolute().parent / Path(value).expanduser())
            if key == "hooks":
                value = [hook.plain(self.path.absolute().parent) for hook in value]
            found[key] = Given(value, f"{shown(str(self.path))}, line {lines[(*table, key)]}")
        return found


def read_config(path: Path) -> ReadFile:
    """Return the checked content of the file. Raises ConfigurationRefused with file, line and key."""
    faults, found = examine(path)
    if found is None:
        raise ConfigurationRefused(faults[0])
    return found


def examine(path: Path) -> tuple[list[str], ReadFile | None]:
    """Return every fault of the file, one line each with file, line and key; without one, its content."""
    place = shown(str(path))
    try:
        text = path.read_text()
        return [], ReadFile(path, text, ConfigFile.model_validate(tomllib.loads(text)))
    except OSError as error:
        return [f"{place} cannot be read: {error.strerror}"], None
    except UnicodeDecodeError:
        return [f"{place} is not UTF-8 text"], None
    except tomllib.TOMLDecodeError as error:
        return [f"{place} is not valid TOML: {error}"], None
    except RecursionError:
        return [f"{place} is nested too deep"], None
    except ValidationError as error:
        lines = key_lines(text)
        faults = sorted(error.errors(), key=lambda fault: lines.get(_key_path(fault), 0))
        return [f"{place}{_placed(fault, lines)}" for fault in faults], None


def check_value(key: str, value: object, origin: str) -> object:
    """Return the value as the key takes it. Raises ConfigurationRefused that names `origin`."""
    try:
        return getattr(MountKeys.model_validate({key: value}), key)
    except ValidationError as error:
        raise ConfigurationRefused(f"{origin}: {describe(error.errors()[0])}") from error


def describe(fault: ErrorDetails) -> str:
    """Tell which key is wrong and what is allowed. The value is not repeated: it may be a secret."""
    path = _key_path(fault)
    key = ".".join(path)
    match fault["type"]:
        case "extra_forbidden" if path[-1] == "token":
            return "the token does not belong into a configuration; use token_file or MOUNTFS_TOKEN"
        case "extra_forbidden":
            known = list(MountKeys.model_fields if len(path) > 1 else ConfigFile.model_fields)
            near = difflib.get_close_matches(path[-1], known, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            return f'unknown key "{shown(key)}"; {meant}known are {", ".join(known)}'
        case "dict_type" | "model_type":
            return f"{key} must be a table"
        case "literal_error":
            return f"{key} must be one of {fault['ctx']['expected']}"
        case _:
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            return f"{key} {message if message.startswith('must') else 'must be ' + message}"


def _placed(fault: ErrorDetails, lines: Mapping[tuple[str, ...], int]) -> str:
    line = lines.get(_key_path(fault))
    return f", line {line}: {describe(fault)}" if line else f": {describe(fault)}"


def _key_path(fault: ErrorDetails) -> tuple[str, ...]:
    """Return the keys down to the wrong one; places within a list are left out."""
    path: list[str] = []
    for step in fault["loc"]:
        if not isinstance(step, str):
            break
        path.append(step)
    return tuple(path)
