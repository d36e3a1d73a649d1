"""The far side: the client of a service, wrappers around any, and doubles for tests."""

import sys

# httpx imports a command line of its own where it can, and with that rich and pygments: a sixth of a daemon's
# start, for nothing. It does without a module that is marked as absent.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is what marks it
