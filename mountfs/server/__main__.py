"""`python -m mountfs.server --data DIR`: prints the base URL once it answers, then serves until a signal."""

import argparse
import sys
from pathlib import Path

from mountfs.server import BehaviourRefused, ServerError, ServerOptions, read_behaviour, serve


def read_options(arguments: list[str]) -> ServerOptions:
    """The options of a command line; exits with a usage message when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m mountfs.server", description="Serve a workspace from a folder."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the database, the blobs and the token"
    )
    parser.add_argument("--listen", default="127.0.0.1:0", help="HOST:PORT; port 0 takes a free one")
    parser.add_argument("--workspace", action="append", default=[], help="made when missing; may be repeated")
    parser.add_argument("--behave", action="append", default=[], metavar="KEY=VALUE", help=argparse.SUPPRESS)
    parser.add_argument("--refuse-extension", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--min-lock-seconds", type=int, default=60, help=argparse.SUPPRESS)
    parser.add_argument("--access-token-seconds", type=int, default=3600, help=argparse.SUPPRESS)
    parser.add_argument("--activity-rows", type=int, default=100_000, help=argparse.SUPPRESS)
    parser.add_argument("--no-fsync", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        behaviour = read_behaviour(given.behave)
    except BehaviourRefused as error:
        parser.error(str(error))
    host, _, port = given.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        parser.error("--listen takes HOST:PORT")
    return ServerOptions(
        data=given.data,
        host=host.strip("[]"),
        port=int(port),
        workspaces=tuple(given.workspace) or ("main",),
        behaviour=behaviour,
        restricted_extensions=tuple(given.refuse_extension),
        min_lock_seconds=given.min_lock_seconds,
        fsync=not given.no_fsync,
        access_token_seconds=given.access_token_seconds,
        activity_rows=given.activity_rows,
    )


def main() -> int:
    """Serve; 1 with one line on stderr when the server cannot start."""
    try:
        serve(read_options(sys.argv[1:]), lambda url: print(url, flush=True))
    except ServerError as error:
        print(f"mountfs server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
