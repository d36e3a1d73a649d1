"""`scripts/posix`: the comparison as a program."""

import argparse
import sys
from pathlib import Path

from scripts.posix.cases import CASES
from scripts.posix.comparing import differences


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/posix", description=__doc__)
    parser.add_argument("mount", type=Path, help="an empty directory on the mount")
    parser.add_argument("plain", type=Path, help="an empty directory on an ordinary file system")
    parser.add_argument("cases", nargs="*", default=list(CASES))
    options = parser.parse_args()
    count = 0
    for case in options.cases:
        found = differences(case, options.mount.absolute(), options.plain.absolute())
        count += len(found)
        print(f"{case}: {'equal' if not found else f'{len(found)} differences'}", flush=True)
        for line in found:
            print(f"    {line}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
