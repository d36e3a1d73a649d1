"""What goes on with a mount in the foreground, in the process of its `mountfs mount`."""

import sys
from typing import Final

from mountfs.cli.exit_codes import ExitCode, for_error
from mountfs.daemon.log_setup import log_to_stderr
from mountfs.daemon.successor import serve
from mountfs.model.errors import MountfsError

FOREGROUND: Final = "mountfs.cli.successor"


def main() -> int:
    try:
        report = serve(sys.argv[1:], log_to_stderr, successor=FOREGROUND)
    except MountfsError as error:
        print(f"mountfs: {error.message}; {error.hint}".rstrip("; "), file=sys.stderr)
        return for_error(error)
    return ExitCode.DATA_LEFT if report.left_in_journal else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
