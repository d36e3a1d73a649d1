"""What a server can be started with, and the limits of its wire."""

from dataclasses import dataclass, field
from pathlib import Path

from mountfs.server.behaviour import Behaviour

MEBIBYTE = 1024 * 1024

SINGLE_CALL_BYTES = 4 * MEBIBYTE
MIN_CHUNK_BYTES = MEBIBYTE
MAX_CHUNK_BYTES = 64 * MEBIBYTE
MAX_CHUNKS = 1600  # times MAX_CHUNK_BYTES: a little more than MAX_FILE_BYTES
MAX_FILE_BYTES = 100_000_000_000
MAX_SESSIONS = 7500
BATCH_FILES = 200
BATCH_BYTES = 100 * MEBIBYTE


@dataclass(frozen=True)
class ServerOptions:
    """Where the server keeps its data, where it listens, and how it behaves."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    workspaces: tuple[str, ...] = ("main",)
    behaviour: Behaviour = field(default_factory=Behaviour)
    restricted_extensions: tuple[str, ...] = ()  # files of these are refused, as the service does with some
    min_lock_seconds: int = 60  # tests want shorter leases than the wire promises
    fsync: bool = True  # False: an answered mutation survives kill -9, but perhaps not a loss of power
    access_token_seconds: int = 3600  # how long a token lives that OAuth gave
    activity_rows: int = 100_000  # how far back a feed cursor may lie
