"""The web page of a real mount in a real browser."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.t6_system.machine import Machine, Server, wait_until

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<img src=x onerror=document.title='taken'>"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        BROWSER is None, reason="NOT TESTED: chromium is not installed (apt install chromium)"
    ),
]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dom(url: str, profile: Path) -> str:
    """Return the page as the browser has it once its scripts have run."""
    assert BROWSER is not None
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=6000", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


def test_page_shows_the_mount_and_takes_no_name_for_markup(machine: Machine, server: Server) -> None:
    place, port = machine.mountpoint(), _free_port()
    config = machine.configure(f'web_listen = "127.0.0.1:{port}"')
    machine.mount(server, place, "--config", config).succeeded()
    (place / HOSTILE).write_text("x")
    machine.run("sync", place).succeeded()
    wait_until(lambda: machine.status(place)["uploads"]["pending_count"] == 0)
    dom = _dom(f"http://127.0.0.1:{port}/", machine.folder / "profile")
    assert f'<h1 id="mountpoint">{place}</h1>' in dom
    assert '<p id="state" role="status" class="">online' in dom
    assert "workspace</dt><dd>main at http://127.0.0.1" in dom
    assert "confirmed &lt;img src=x onerror=" in dom
    assert "<title>mountfs</title>" in dom
    assert "<img" not in dom
