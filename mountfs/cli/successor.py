"""What goes on with a mount in the foreground, in the process of its `mountfs mount`."""

import logging
import sys
from typing import Final

from mountfs.cli.exit_codes import ExitCode, for_error
from mountfs.daemon import handover
from mountfs.daemon.log_setup import log_to_stderr
from mountfs.daemon.successor import answer_check, serve
from mountfs.model.errors import MountfsError

FOREGROUND: Final = "mountfs.cli.successor"

log = logging.getLogger(FOREGROUND)  # also where this is the main module


def main() -> int:
    if sys.argv[1] == handover.CHECK:
        answer_check()
        return ExitCode.OK
    try:
        report = serve(sys.argv[1:], log_to_stderr, successor=FOREGROUND)
    except MountfsError as error:
        print(f"mountfs: {error.message}; {error.hint}".rstrip("; "), file=sys.stderr)
        return for_error(error)
    except Exception as error:
        log.exception("the daemon failed: %r", error)
        return ExitCode.UNEXPECTED
    return ExitCode.DATA_LEFT if report.left_in_journal else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
