"""`python -m mountfs.cli` is the same program as `mountfs`."""

import sys

from mountfs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
