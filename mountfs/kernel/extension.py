"""Loads the C extension, which must happen before pyfuse3 is imported.

Without it a mount works, but `flock` stays local to the host. `AVAILABLE` says whether it is there, and
`REASON` why it is not. `MOUNTFS_NO_EXTENSION=1` in the environment leaves it out.
"""

import os
import sys
from collections.abc import Callable
from typing import Final

SWITCH: Final = "MOUNTFS_NO_EXTENSION"


def _load() -> str:
    """Load the extension, and return the reason if that is not possible."""
    if os.environ.get(SWITCH):
        return f"switched off by {SWITCH}"
    if "pyfuse3" in sys.modules:
        return "pyfuse3 was imported before mountfs.kernel"
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)  # its functions have to be found before libfuse's own
    try:
        import mountfs.kernel._extras  # noqa: F401 - only whether it can be loaded
    except ImportError as error:
        return f"it cannot be loaded: {error}"
    finally:
        sys.setdlopenflags(flags)
    return ""


REASON: Final = _load()
AVAILABLE: Final = not REASON


def file_maker() -> Callable[[str, int], list[int]] | None:
    """Return what makes many files at once, if it is there; see `make_unnamed_files` in `_extras.pyi`."""
    if not AVAILABLE:
        return None
    from mountfs.kernel import _extras

    # What was built before there was one is good for the rest.
    return getattr(_extras, "make_unnamed_files", None)
