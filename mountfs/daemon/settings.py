"""What a mount is told when it starts."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from mountfs.kernel.handed_device import HandedDevice

Durability = Literal["local", "remote"]
Consistency = Literal["feed", "open"]
Conflict = Literal["keep-both", "last-writer-wins"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "text", "json", "journal"]

DEFAULT_CACHE_SIZE_BYTES = 10 * 1024**3
DEFAULT_DRAIN_TIMEOUT_S = 60.0
DEFAULT_CONTROL_DIR = ".mountfs"
DEFAULT_OPEN_FILE_INTERVAL_S = 60.0


class Secret:
    """A text that shows itself only to who asks for it by `reveal`: not in repr, str, logs or JSON."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSource:
    """The configuration that settings came from, to be read again. `name`: which mount of the file, None for
    keys outside a named one. `fixed`: keys that an option or the environment decided."""

    path: Path
    name: str | None
    fixed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """What is told of events of these kinds, on paths that match (empty: on all): a program, or a receiver of
    requests that are signed with the secret. `timeout_s`: after so long a program is ended."""

    on: tuple[str, ...]
    match: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    url: str = ""
    secret: Secret | None = None
    timeout_s: float = 30.0

    def plain(self) -> dict[str, Any]:
        """Return what `of_plain` takes, with the secret in clear; see `MountSettings.dump`."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**told, "secret": self.secret.reveal() if self.secret is not None else None}

    @classmethod
    def of_plain(cls, told: dict[str, Any]) -> Self:
        lists = {name: tuple(told[name]) for name in ("on", "match", "run")}
        secret = Secret(told["secret"]) if told["secret"] is not None else None
        return cls(**{**told, **lists, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """One mount, complete and checked: whoever gets this asks no further source.

    A field that is a key of the configuration means what `MountKeys` says of it.
    mountpoint: absolute, symlinks resolved. cache_dir: absolute; content and journal live there.
    logins: where the login is kept that the token is of, None for any other token.
    owner: as `ownership.ids` reads it.
    token_file: where the token came from, to be read again; None where the environment gave it.
    config: where the settings can be read again; None where no file gave any.
    device: of a mount that somebody made for this process; it cannot be handed on, so `dump` leaves it out.
    """

    url: str
    workspace: str
    mountpoint: Path
    cache_dir: Path
    token: Secret
    logins: Path | None = None
    allow_insecure: bool = False
    cache_size_bytes: int = DEFAULT_CACHE_SIZE_BYTES
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    upload_delay_s: float = 0.5
    open_file_interval_s: float = DEFAULT_OPEN_FILE_INTERVAL_S
    durability: Durability = "local"
    consistency: Consistency = "feed"
    conflict: Conflict = "keep-both"
    lease_duration_s: int = 60
    owner: str | None = None
    allow_other: bool = False
    read_only: bool = False
    local_only: tuple[str, ...] = ()
    share_attributes: bool = True
    outside_links: bool = False
    passthrough: bool = True
    control_dir: str = DEFAULT_CONTROL_DIR
    list_control_dir: bool = False
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    metrics_listen: str = ""
    web_listen: str = ""
    listen_beyond_loopback: bool = False
    hooks: tuple[HookSettings, ...] = ()
    traces_url: str = ""
    token_file: Path | None = None
    config: ConfigSource | None = None
    device: HandedDevice | None = None

    def dump(self) -> str:
        """Return JSON with the token in clear, for a pipe between two processes of ours and nothing else."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "device"}
        plain["mountpoint"] = str(self.mountpoint)
        plain["cache_dir"] = str(self.cache_dir)
        plain["token"] = self.token.reveal()
        plain["token_file"] = None if self.token_file is None else str(self.token_file)
        if self.config is not None:
            plain["config"] = {**asdict(self.config), "path": str(self.config.path)}
        plain["hooks"] = [hook.plain() for hook in self.hooks]
        plain["logins"] = str(self.logins) if self.logins is not None else None
        return json.dumps(plain)

    @classmethod
    def load(cls, text: str) -> Self:
        """Undo `dump`."""
        plain = json.loads(text)
        plain["mountpoint"] = Path(plain["mountpoint"])
        plain["cache_dir"] = Path(plain["cache_dir"])
        plain["token"] = Secret(plain["token"])
        plain["token_file"] = None if plain["token_file"] is None else Path(plain["token_file"])
        plain["logins"] = Path(plain["logins"]) if plain["logins"] else None
        plain["local_only"] = tuple(plain["local_only"])
        if source := plain["config"]:
            plain["config"] = ConfigSource(
                path=Path(source["path"]), name=source["name"], fixed=tuple(source["fixed"])
            )
        plain["hooks"] = tuple(HookSettings.of_plain(hook) for hook in plain["hooks"])
        return cls(**plain)
