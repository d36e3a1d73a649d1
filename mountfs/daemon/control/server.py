"""The daemon's end of the control socket: admits its owner and root, answers, never holds up the mount."""

import errno
import logging
import os
import socket
import struct
from functools import partial
from pathlib import Path

import trio
from pydantic import ValidationError

from mountfs.daemon.control.actions import Tell, perform
from mountfs.daemon.control.messages import (
    HEARTBEAT_S,
    MAX_LINE_BYTES,
    REQUEST,
    Answer,
    Failure,
    Progress,
    Request,
    Result,
)
from mountfs.daemon.errors import type_names
from mountfs.daemon.running import RunningMount, shown
from mountfs.daemon.runtime_dir import short_socket_path
from mountfs.model.effect import ASKED_BY
from mountfs.model.errors import CacheInUse, MountfsError

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 5.0
_SEND_TIMEOUT_S = 30.0


async def serve(
    running: RunningMount, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer control requests at `path` until cancelled; `started()` means that clients can connect.

    A socket left by a dead daemon is replaced. Raises CacheInUse where a live one answers there.
    """
    listener = _listen(path)
    try:
        task_status.started()
        await trio.serve_listeners(partial(_answer_connection, running), [trio.SocketListener(listener)])
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _listen(path: Path) -> trio.socket.SocketType:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_socket_path(path) as address:
            if _is_answered(address):
                raise CacheInUse(
                    f"another daemon answers for this mountpoint at {path}", hint="unmount it first"
                )
            path.unlink(missing_ok=True)
            listener.bind(address)
            path.chmod(0o600)
        listener.listen(16)
        listener.setblocking(False)
        return trio.socket.from_stdlib_socket(listener)
    except BaseException:
        listener.close()
        raise


def _is_answered(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(address) in (0, errno.EAGAIN)


async def _answer_connection(running: RunningMount, stream: trio.SocketStream) -> None:
    """Serve one request. Whatever goes wrong with this client ends here, not in the mount."""
    try:
        async with stream:
            pid, uid = _peer(stream.socket)
            ASKED_BY.set(pid)
            if uid not in (0, os.getuid()):
                log.warning("control: connection of another user refused")
                return
            request = await _read_request(stream)
            if request is not None:
                await _answer_request(running, request, stream)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        log.debug("control: client went away")
    except* Exception:
        log.exception("control: request failed")


def _peer(connection: trio.socket.SocketType) -> tuple[int, int]:
    """Return process and user at the other end."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", packed)
    return pid, uid


async def _read_request(stream: trio.SocketStream) -> Request | None:
    line = b""
    with trio.move_on_after(_REQUEST_TIMEOUT_S):
        while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
            piece = await stream.receive_some()
            if not piece:
                return None
            line += piece
    try:
        return REQUEST.validate_json(line)
    except ValidationError:
        await stream.send_all(
            Failure(message="request not understood", hint="", types=("ControlError",)).to_line()
        )
        return None


async def _answer_request(running: RunningMount, request: Request, stream: trio.SocketStream) -> None:
    """Do what is asked, until it is done or nobody waits for its outcome any more."""
    sending = trio.Lock()

    async def tell(answer: Answer) -> None:
        line = answer.to_line()
        try:
            with trio.fail_after(_SEND_TIMEOUT_S):
                async with sending:
                    await stream.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            log.info("control: %s: the client went away before it was done", request.ask)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_beat, tell)
        await tell(await _outcome(running, request, tell))
        nursery.cancel_scope.cancel()


async def _beat(tell: Tell) -> None:
    # Also how a client that went away is noticed.
    while True:
        await trio.sleep(HEARTBEAT_S)
        await tell(Progress())


async def _outcome(running: RunningMount, request: Request, tell: Tell) -> Result | Failure:
    try:
        return Result(value=await perform(running, request, tell))
    except MountfsError as error:
        return Failure(message=shown(error.message), hint=shown(error.hint), types=type_names(error))
    except Exception as error:
        log.exception("control: %s failed", request.ask)
        return Failure(message=shown(f"the daemon failed: {error}"), hint="", types=type_names(error))
