"""A connection to the kernel that goes from one process to the next. Needs the C extension.

The kernel opens a connection once, with INIT. libfuse refuses every request before that, so a session that
takes a connection over handles the INIT of long ago once more, and the answer goes nowhere. What was read and
not answered the kernel sends again when it is asked to (Linux 6.9 or newer).
"""

import os
import struct
from typing import Final

from mountfs.kernel import _extras
from mountfs.model.errors import FuseUnavailable
from mountfs.model.succession import ConnectionState

_NOTICE: Final = struct.Struct("=IiQ")  # fuse_out_header: length, code, 0 for a notice
_RESEND: Final = 7


def hindrance() -> str | None:
    """Return why this connection cannot go to another process; None: it can."""
    request, answer = _extras.negotiation()
    if not request or not answer:
        return "what was agreed with the kernel is not known"
    if not _extras.may_resend():
        return "the kernel does not send unanswered requests again (Linux 6.9 or newer does)"
    return None


def go_on(state: ConnectionState) -> None:
    """Bring the session of this process to where the connection stands; before the first request is read.

    Raises FuseUnavailable where this version of mountfs, or of libfuse, would have agreed on other things.
    """
    try:
        answer = _extras.renegotiate(state.request)
    except (OSError, ValueError) as error:
        raise FuseUnavailable(f"libfuse does not take the open connection over ({error})") from error
    if answer != state.answer:
        raise FuseUnavailable(
            "this version agrees on other things with the kernel than the one that mounted",
            hint="unmount and mount again",
        )


def ask_for_unanswered(device: int) -> None:
    """Have the kernel send again what the process before this one read and did not answer."""
    os.write(device, _NOTICE.pack(_NOTICE.size, _RESEND, 0))
