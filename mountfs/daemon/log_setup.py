"""The log of a daemon: bounded in size, and without the token in it."""

import faulthandler
import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mountfs.daemon.settings import LogLevel, Secret

LOG_NAME = "daemon.log"
_MAX_BYTES = 5 * 1024 * 1024
_OLD_FILES = 2
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """The last line of defence: no code logs the token on purpose, but foreign errors may quote headers."""

    def __init__(self, secret: Secret, *, tracebacks: bool) -> None:
        super().__init__(_FORMAT)
        self._secrets = [secret]
        self._tracebacks = tracebacks

    def hide(self, secret: Secret) -> None:
        """Hide this one as well; the earlier ones may still be valid."""
        if secret not in self._secrets:
            self._secrets.append(secret)

    def format(self, record: logging.LogRecord) -> str:
        if not self._tracebacks:
            record.exc_info = record.exc_text = None
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret.reveal(), "***")
        return line


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


def log_to_file(cache_dir: Path, level: LogLevel, secret: Secret) -> None:
    """Send the log, and from now on descriptor 2, to `CACHE/daemon.log` (0600)."""
    _install(_DaemonLog(cache_dir / LOG_NAME), _Formatter(secret, tracebacks=True), level)
    faulthandler.enable(2)


def log_to_stderr(level: LogLevel, secret: Secret) -> None:
    """Send the log to standard error, for people: tracebacks only when level is "debug"."""
    formatter = _Formatter(secret, tracebacks=level == "debug")
    _install(logging.StreamHandler(sys.stderr), formatter, level)


def follow(level: LogLevel, secret: Secret) -> None:
    """Log from now on at this level, and hide this token, too."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for handler in root.handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.hide(secret)


def _install(handler: logging.Handler, formatter: logging.Formatter, level: LogLevel) -> None:
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
