"""The log of a daemon: where it goes, bounded in size, and without the token in it."""

import faulthandler
import logging
import os
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mountfs.daemon.log_formats import (
    HumanFormatter,
    JournalHandler,
    JsonFormatter,
    RecordFields,
    is_journal,
)
from mountfs.daemon.settings import LogFormat, LogLevel, MountSettings, Secret

LOG_NAME = "daemon.log"
_MAX_BYTES = 5 * 1024 * 1024
_OLD_FILES = 2


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _DaemonLog(RotatingFileHandler):
    """Also takes what native code writes to descriptor 2, across rotations."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_MAX_BYTES, backupCount=_OLD_FILES, errors="backslashreplace")
        self._adopt_stderr()

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", errors=self.errors, opener=_open_private)

    def doRollover(self) -> None:  # noqa: N802 - the name is logging's
        super().doRollover()
        self._adopt_stderr()

    def _adopt_stderr(self) -> None:
        if self.stream is not None:
            os.dup2(self.stream.fileno(), 2)


def log_to_file(settings: MountSettings) -> None:
    """Send the log, and from now on descriptor 2, to `CACHE/daemon.log` (0600): for people, or as JSON lines
    where that is asked for."""
    formatter: logging.Formatter = HumanFormatter(settings.token, tracebacks=True)
    if settings.log_format == "json":
        formatter = JsonFormatter(settings.token, _of_mount(settings))
    _install(_DaemonLog(settings.cache_dir / LOG_NAME), formatter, settings.log_level)
    faulthandler.enable(2)


def log_to_stderr(settings: MountSettings) -> None:
    """Send the log to where standard error leads: lines for people on a terminal, with tracebacks only when
    the level is "debug"; fields to systemd's journal; JSON lines to anything else."""
    chosen = _chosen(settings.log_format)
    secret, level = settings.token, settings.log_level
    if chosen == "journal":
        handler: logging.Handler = JournalHandler(RecordFields(secret, _of_mount(settings)))
        _install(handler, None, level)
    elif chosen == "json":
        _install(logging.StreamHandler(sys.stderr), JsonFormatter(secret, _of_mount(settings)), level)
    else:
        formatter = HumanFormatter(secret, tracebacks=level == "debug")
        _install(logging.StreamHandler(sys.stderr), formatter, level)


def follow(level: LogLevel, secret: Secret) -> None:
    """Log from now on at this level, and hide this token, too."""
    logging.getLogger().setLevel(level.upper())
    hide(secret)


def hide(*secrets: Secret) -> None:
    """From now on no log shows these; earlier ones may still be valid and stay hidden."""
    for handler in logging.getLogger().handlers:
        hiding = handler.fields if isinstance(handler, JournalHandler) else handler.formatter
        if isinstance(hiding, HumanFormatter | RecordFields):
            hiding.hidden.update(secret for secret in secrets if secret.reveal())


def _chosen(wanted: LogFormat) -> LogFormat:
    if wanted != "auto":
        return wanted
    if is_journal(2):
        return "journal"
    return "text" if sys.stderr.isatty() else "json"


def _of_mount(settings: MountSettings) -> Mapping[str, str]:
    return {"mountpoint": str(settings.mountpoint), "workspace": settings.workspace, "pid": str(os.getpid())}


def _install(handler: logging.Handler, formatter: logging.Formatter | None, level: LogLevel) -> None:
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
