"""SIGKILL in the middle of work, and an orderly end."""

import hashlib
import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.small_disk import fill_disk, small_disk_at
from tests.t2_server.serving import MEBIBYTE, ServerProcess, blob_files, checked, error_of, wait_until


def content_of(name: str) -> bytes:
    """Bytes that tell which file they belong to; sizes differ."""
    return hashlib.sha256(name.encode()).digest() * (1 + len(name) * hash_byte(name))


def hash_byte(name: str) -> int:
    return hashlib.sha256(name.encode()).digest()[0]


def keep_uploading(
    server: ServerProcess, writer: int, answered: dict[str, str], going: threading.Event
) -> None:
    """Upload file after file until the server is gone; note each answer."""
    with server.api() as api:
        number = 0
        while True:
            name = f"w{writer}-{number}"
            try:
                answered[name] = api.upload(name, content_of(name))
            except httpx.TransportError:
                return
            number += 1
            if number > 5:
                going.set()


@pytest.mark.parametrize("delay_s", [0.0, 0.013, 0.05])
def test_every_answered_upload_survives_a_kill(
    start_server: Callable[..., ServerProcess], delay_s: float
) -> None:
    server = start_server()
    answered: dict[str, str] = {}
    going = threading.Event()
    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(keep_uploading, server, writer, answered, going) for writer in range(6)]
        assert going.wait(10)
        time.sleep(delay_s)  # the moment of death is the parameter of this test
        server.kill()
        for writer in writers:
            writer.result(10)
    server = start_server()
    with server.api() as api:
        found = api.children()
        assert answered.items() <= found.items()
        for name, node in found.items():
            assert api.read(node) == content_of(name), name
            assert api.node(node)["hash"] == hashlib.sha256(content_of(name)).hexdigest()
        assert len(blob_files(server)) == len(found)


def test_chunked_session_goes_on_after_a_kill(start_server: Callable[..., ServerProcess]) -> None:
    pieces = {order: bytes([order]) * MEBIBYTE for order in (1, 2, 3)}
    server = start_server()
    with server.api() as api:
        session = api.session("file", 3 * MEBIBYTE, **api.target())
        checked(api.send_chunk(session, 2, pieces[2]))
        server.kill()
    server = start_server()
    with server.api() as api:
        assert [row["id"] for row in api.get("upload/details/")["sessions"]] == [session]
        arrived = api.get(f"upload/{session}/details/")["session"]["chunks"]
        assert arrived == {"2": MEBIBYTE}
        for order in (1, 3):
            checked(api.send_chunk(session, order, pieces[order]))
        api.post(f"upload/{session}/complete/")
        assert api.read(api.finished(session)["new_file_id"]) == b"".join(pieces.values())


@pytest.mark.long
def test_assembly_goes_on_after_a_kill(start_server: Callable[..., ServerProcess]) -> None:
    piece = bytes(range(256)) * 4096 * 32
    server = start_server()
    with server.api() as api:
        session = api.session("file", 8 * len(piece), **api.target())
        for order in range(1, 9):
            checked(api.send_chunk(session, order, piece))
        assert api.post(f"upload/{session}/complete/")["session"]["status"] == "assembling"
        server.kill()
    with start_server().api() as api:
        stored = api.finished(session)
        assert api.node(stored["new_file_id"])["hash"] == hashlib.sha256(piece * 8).hexdigest()


def test_assembly_goes_on_beside_one_that_can_not(start_server: Callable[..., ServerProcess]) -> None:
    """Nor does it wait for those of a workspace that is gone, whose bytes go with it."""
    folders = ("--workspace", "main", "--workspace", "doomed")
    with start_server(*folders, "--behave", "upload_state_s=600") as server, server.api() as api:
        sessions = {}
        for workspace in ("doomed", "main"):
            api.workspace = workspace
            sessions[workspace] = api.session("file", 1, **api.target())
            checked(api.send_chunk(sessions[workspace], 1, b"x"))
            assert api.post(f"upload/{sessions[workspace]}/complete/")["session"]["status"] == "assembling"
        api.delete("workspace/doomed/delete/", confirm="doomed")
        wait_until(lambda: len(blob_files(server)) == 1)
        server.kill()
    with start_server() as server, server.api() as api:
        stored = api.finished(sessions["main"])
        assert api.read(stored["new_file_id"]) == b"x"


def test_assembly_goes_on_after_another_is_cancelled(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--behave", "upload_state_s=600")
    with server.api() as api:
        sessions = [api.session(name, 1, **api.target()) for name in ("first", "second")]
        for session in sessions:
            checked(api.send_chunk(session, 1, b"x"))
            api.post(f"upload/{session}/complete/")
        server.kill()
    server = start_server("--behave", "upload_state_s=0.5")
    with server.api() as api:
        assert api.finished(sessions[0])["status"] == "complete"
        api.delete(f"upload/{sessions[0]}/")
        wait_until(lambda: list(api.children()) == ["second"])
    server.stop()


def test_full_disk_is_told_as_one(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    with small_disk_at(tmp_path / "data", mebibytes=16) as disk:
        (disk / "lock").touch()
        with start_server() as server, server.api() as api:
            fill_disk(disk / "filler")
            answers = (
                api.http.post(f"{api.storage}root/createfolder/", data={"name": f"d{number}"})
                for number in range(1000)
            )
            refused = next(answer for answer in answers if answer.status_code != 200)
            assert error_of(refused, 402)["params"]["reason"] == "storage_full"
            (disk / "filler").unlink()
            api.folder("room again")
            server.kill()


def test_expiry_of_locks_is_told_again_after_the_disk_failed(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--min-lock-seconds", "1")
    with server.api() as api:
        first, second = api.upload("first", b""), api.upload("second", b"")
        api.post(f"{api.storage}{first}/lock/", duration=1)
        whole = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, whole[1]))
        assert server.process.stderr is not None
        assert "background work failed" in server.process.stderr.readline()
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, whole)
        api.post(f"{api.storage}{second}/lock/", duration=1)
        assert f"storage:{second}" in api.news(api.head(), wait=20)["activity"]
    server.kill()


def test_upload_cut_off_by_the_client_leaves_nothing(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    url = httpx.URL(server.url)
    with server.api() as api:
        session = api.session("file", 50 * MEBIBYTE, **api.target())
        head = (
            f"POST {url.path}upload/{session}/chunk/?order=1 HTTP/1.1\r\nHost: {url.host}\r\n"
            f"Authorization: Bearer {server.token()}\r\nContent-Length: {50 * MEBIBYTE}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="chunk"; filename="x"\r\n\r\n'
        )
        with socket.create_connection((url.host, url.port or 0)) as connection:
            connection.sendall(head.encode() + bytes(5 * MEBIBYTE))
            wait_until(lambda: bool(blob_files(server)))
        wait_until(lambda: not blob_files(server))
        assert api.get(f"upload/{session}/chunk/")["chunks"] == {}


def test_sigterm_answers_open_long_polls_and_ends_promptly(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    with server.api() as first, server.api() as second, ThreadPoolExecutor(2) as pool:
        cursor = first.head()
        polls = [pool.submit(api.news, cursor, 25) for api in (first, second)]
        with server.api() as other:
            for _ in range(50):  # by then both polls have arrived
                other.get("ping/")
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 1.5
        for waiting in polls:
            assert waiting.result(5)["activity"] == []
