"""Opens a data folder: ownership, database, token, workspaces, leftovers of a crash."""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from mountfs.server import locks, oauth
from mountfs.server.account_routes import insert_workspace, new_workspace
from mountfs.server.activity import ActivityFeed, WakeUps
from mountfs.server.blobs import BlobStore
from mountfs.server.credentials import ChannelTokens, Credentials, DownloadTokens, parse_scopes
from mountfs.server.database import Database, DatabaseUnusable, Transaction
from mountfs.server.endpoint import Services
from mountfs.server.envelope import ApiError
from mountfs.server.errors import DataInUse, ServerDataError, WorkspaceNameRefused
from mountfs.server.gate import Gate
from mountfs.server.housekeeping import Background
from mountfs.server.lock_expiry import LockExpiry
from mountfs.server.opaque_ids import new_profile_id
from mountfs.server.options import ServerOptions
from mountfs.server.schema import api_keys, chunks, segments, settings, workspaces
from mountfs.server.shaping import Shaper
from mountfs.server.workspaces import Workspace, WorkspaceTable, check_folder_name

DATABASE_FILE = "workspace.sqlite"
LOCK_FILE = "lock"
TOKEN_FILE = "token"  # noqa: S105 - the name of a file
BLOB_FOLDER = "blobs"


@contextlib.contextmanager
def owned_folder(folder: Path) -> Iterator[None]:
    """The data folder exists and is ours alone until the block ends; a killed owner leaves it free."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        elif any(folder.iterdir()) and not (folder / LOCK_FILE).exists():
            raise ServerDataError(f"{folder} holds something else; choose an empty folder")
        descriptor = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServerDataError(f"{folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DataInUse(f"another server works on {folder}") from error
    finally:
        os.close(descriptor)


async def open_services(options: ServerOptions, background: Background) -> Services:
    """Everything the handlers need, after the leftovers of a crash are gone."""
    for name in options.workspaces:
        _check_workspace_name(name)
    try:
        return await _open_services(options, background)
    except DatabaseUnusable as error:
        raise ServerDataError(str(error)) from error
    except OSError as error:
        raise ServerDataError(f"{options.data} cannot be used: {error.strerror}") from error


async def _open_services(options: ServerOptions, background: Background) -> Services:
    token = read_or_create_token(options.data / TOKEN_FILE)
    blobs = BlobStore(options.data / BLOB_FOLDER, options.fsync)
    wake_ups = WakeUps(asyncio.get_running_loop())

    def on_commit(topics: set[str], orphans: list[str]) -> None:
        if topics:
            wake_ups.wake_from_thread(topics)
        if orphans:
            blobs.threads.submit(blobs.delete_blocking, orphans)

    behaviour = options.behaviour
    database = Database(options.data / DATABASE_FILE, options.fsync, on_commit, behaviour)
    facts = await database.write(_settle_facts)
    await database.write(locks.keep_over_boots)
    await database.write(lambda tx: _create_missing_workspaces(tx, options.workspaces))
    blobs.sweep_blocking(await database.read(_named_blobs))
    credentials = Credentials(token, facts["user_id"], facts["org_id"], behaviour.token_mode)
    for row in await database.read(lambda connection: connection.execute(select(api_keys)).all()):
        credentials.add_key(row.digest, parse_scopes(row.scopes), row.expires_us)
    await database.read(lambda connection: oauth.load_sessions(connection, credentials))
    return Services(
        options=options,
        database=database,
        blobs=blobs,
        feed=ActivityFeed(facts["epoch"], behaviour),
        wake_ups=wake_ups,
        credentials=credentials,
        download_tokens=DownloadTokens(bytes.fromhex(facts["secret"])),
        channel_tokens=ChannelTokens(bytes.fromhex(facts["secret"])),
        authorizations=oauth.Authorizations(),
        workspaces=WorkspaceTable(await database.read(_all_workspaces)),
        background=background.start,
        lock_expiry=LockExpiry(),
        gate=Gate(behaviour),
        shaper=Shaper(behaviour),
        user_id=facts["user_id"],
        org_id=facts["org_id"],
    )


def read_or_create_token(path: Path) -> str:
    """The owner's bearer token; its file is made, readable by the owner alone, when there is none."""
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(32)
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
    return token


def _check_workspace_name(name: str) -> None:
    try:
        check_folder_name(name)
    except ApiError as error:
        raise WorkspaceNameRefused(f"workspace {name!r}: {error.text}") from error


def _settle_facts(tx: Transaction) -> dict[str, str]:
    """The ids and secrets of this database, drawn at its first start."""
    known = {row.key: row.value for row in tx.execute(select(settings))}
    drawn = {
        "user_id": new_profile_id(),
        "org_id": new_profile_id(),
        "epoch": secrets.token_hex(6),
        "secret": secrets.token_hex(32),
    }
    missing = [{"key": key, "value": value} for key, value in drawn.items() if key not in known]
    if missing:
        tx.execute(insert(settings), missing)
    return {**drawn, **known}


def _create_missing_workspaces(tx: Transaction, names: tuple[str, ...]) -> None:
    known = set(tx.execute(select(workspaces.c.folder_name)).scalars())
    for name in dict.fromkeys(names):
        if name not in known:
            insert_workspace(tx, new_workspace(name, name, ""))


def _all_workspaces(connection: Connection) -> list[Workspace]:
    rows: Any = connection.execute(select(workspaces).order_by(workspaces.c.created_us)).mappings()
    return [Workspace(**row) for row in rows]


def _named_blobs(connection: Connection) -> set[str]:
    names = set(connection.execute(select(segments.c.blob)).scalars())
    names.update(connection.execute(select(chunks.c.blob)).scalars())
    return names
