"""Folders of the user, after the XDG base directory specification."""

import hashlib
import os
import re
from pathlib import Path


def _base(variable: str, default: str) -> Path:
    configured = os.environ.get(variable, "")
    # The specification asks to ignore relative values.
    return Path(configured) if configured.startswith("/") else Path.home() / default


def state_dir() -> Path:
    return _base("XDG_STATE_HOME", ".local/state") / "mountfs"


def data_dir() -> Path:
    return _base("XDG_DATA_HOME", ".local/share") / "mountfs"


def logins_dir() -> Path:
    return data_dir() / "logins"


def default_cache_dir(url: str, workspace: str, mountpoint: Path) -> Path:
    """Return the cache of this mount: the same one each time, and another one for every other mount."""
    key = hashlib.sha256(b"\0".join(os.fsencode(part) for part in (url, workspace, mountpoint)))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", workspace)[:40]
    return _base("XDG_CACHE_HOME", ".cache") / "mountfs" / f"{name}-{key.hexdigest()[:16]}"
