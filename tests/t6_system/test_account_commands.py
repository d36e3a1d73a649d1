"""Signing in and out, and the commands about the account, as users call them."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.t6_system.machine import Machine, Server, wait_until

BROWSER = """
import sys, urllib.parse, urllib.request
address = sys.argv[1]
request_id = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)["auth_request_id"][0]
form = {{"auth_request_id": request_id, "token": {token!r}, "workspace": "main"}}
with urllib.request.urlopen(address, urllib.parse.urlencode(form).encode()) as answer:
    print(answer.read().decode())
"""


def browser(machine: Machine, server: Server) -> str:
    """A browser whose user agrees; it follows the redirect back to the program, as browsers do."""
    script = machine.folder / "browser.py"
    script.write_text(BROWSER.format(token=server.token_file.read_text().strip()))
    return f"{sys.executable} {script} %s"


def login_file(machine: Machine) -> Path:
    (path,) = (machine.folder / "home" / ".local/share/mountfs/logins").glob("*.json")
    return path


@pytest.mark.long
def test_login_in_the_browser_serves_every_later_command(machine: Machine, server: Server) -> None:
    done = machine.run("login", "--url", server.url, BROWSER=browser(machine, server))
    assert done.code == 0, done
    assert "workspace:" in done.stdout
    assert "may write   yes" in done.stdout
    assert stat.S_IMODE(login_file(machine).stat().st_mode) == 0o600
    told = json.loads(machine.run("whoami", "--json").succeeded().stdout)
    assert told["stored_login"] is True
    assert told["auth_type"] == "oauth"
    assert [scope.split(":")[0] for scope in told["scopes"]] == ["workspace"]
    assert machine.run("workspaces").succeeded().stdout.startswith("main")
    secret = json.loads(login_file(machine).read_text())["access_token"]
    assert secret not in done.stdout + done.stderr
    assert "signed out" in machine.run("logout").succeeded().stdout
    machine.run("whoami", "--url", server.url).refused(3, "no token", "mountfs login")
    assert "there was no login" in machine.run("logout", "--url", server.url).succeeded().stdout
    machine.run("whoami", "--url", server.url, MOUNTFS_TOKEN=secret).refused(4)


def token_origin(machine: Machine, server: Server) -> str:
    """Return where the token of a mount comes from that names none."""
    config = machine.configure(f'url = "{server.url}"\nworkspace = "main"\nmountpoint = "/mnt"')
    told = json.loads(machine.run("config", "show", "--config", config, "--json").succeeded().stdout)
    return str(told["mounts"]["mountfs"]["token"]["origin"])


def test_login_with_a_key_from_a_file_or_a_prompt(machine: Machine, server: Server) -> None:
    told = machine.run("login", "--url", server.url, "--api-key-file", server.token_file).succeeded().stdout
    assert "user:*:rwa" in told
    assert token_origin(machine, server) == "mountfs login"
    machine.run("logout", "--url", server.url)
    assert token_origin(machine, server).startswith("nowhere")
    wrong = machine.folder / "wrong"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    machine.run("login", "--url", server.url, "--api-key-file", wrong).refused(4)
    wrong.chmod(0o644)
    machine.run("login", "--url", server.url, "--api-key-file", wrong).refused(3, "chmod 600")
    machine.run("login", "--url", server.url, "--api-key").refused(3, "API key is empty")
    machine.run("login", "--url", "http://example.org").refused(3, "without encryption")


def test_login_in_the_keyring(machine: Machine, server: Server) -> None:
    ring = {
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "KEYRING_PROPERTY_FILE_PATH": str(machine.folder / "ring"),
    }
    key = server.token_file
    machine.run("login", "--url", server.url, "--api-key-file", key, "--keyring", **ring).succeeded()
    secret = key.read_text().strip()
    assert secret not in login_file(machine).read_text()
    assert "user:*:rwa" in machine.run("whoami", **ring).succeeded().stdout
    nowhere = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    refused = machine.run("whoami", **nowhere)
    assert refused.code != 0
    assert "keyring does not work" in refused.stderr
    assert machine.run("logout", **ring).code == 0
    assert secret not in (machine.folder / "ring").read_text()
    machine.run("whoami", "--url", server.url, **ring).refused(3, "no token")


def test_login_without_a_browser_asks_for_the_code(machine: Machine, server: Server) -> None:
    done = machine.run("login", "--url", server.url, "--no-browser", "--read-only")
    assert done.code == 2
    first, address, _then, last = done.stderr.splitlines()
    assert "any browser" in first
    assert address.strip().startswith(server.url)
    assert last == "mountfs: that is neither a code nor an address"


def short_lived(machine: Machine) -> Server:
    """A server whose tokens live for two seconds."""
    data = machine.folder / "short-lived"
    command = [sys.executable, "-m", "mountfs.server", "--data", str(data), "--access-token-seconds", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = Server(process.stdout.readline().strip(), data, process)
    machine.servers.append(server)
    return server


@pytest.mark.kernel
@pytest.mark.long
def test_stored_login_mounts_and_is_renewed(machine: Machine) -> None:
    server = short_lived(machine)
    machine.run("login", "--url", server.url, BROWSER=browser(machine, server))
    first = json.loads(login_file(machine).read_text())["access_token"]
    place = machine.mountpoint()
    machine.run("mount", "--workspace", "main", place).succeeded()
    (place / "a").write_text("x")
    machine.run("sync", place).succeeded()
    ends_at_s = json.loads(login_file(machine).read_text())["expires_at_s"]
    wait_until(lambda: time.time() > ends_at_s)
    (place / "b").write_text("y")
    machine.run("sync", place).succeeded()
    kept = json.loads(login_file(machine).read_text())
    assert kept["access_token"] != first
    log = machine.log()
    for secret in (first, kept["access_token"], kept["refresh_token"]):
        assert secret not in log


@pytest.mark.kernel
def test_read_only_login_mounts_read_only(machine: Machine, server: Server) -> None:
    machine.run("login", "--url", server.url, "--read-only", BROWSER=browser(machine, server))
    assert "may write   no" in machine.run("whoami").succeeded().stdout
    place = machine.mountpoint()
    machine.run("mount", "--workspace", "main", place).succeeded()
    with pytest.raises(OSError, match="Read-only file system"):
        (place / "a").write_text("x")
    assert machine.status(place)["read_only"] is True


def test_workspaces_are_created(machine: Machine, server: Server) -> None:
    options = ("--url", server.url, "--token-file", server.token_file)
    made = machine.run("workspaces", *options, "create", "made-here", "--title", "Made here").succeeded()
    assert made.stdout.split()[0] == "made-here"
    rows = json.loads(machine.run("workspaces", *options, "--json").succeeded().stdout)["workspaces"]
    assert {row["folder_name"]: row["name"] for row in rows} == {"main": "main", "made-here": "Made here"}
    assert rows[0]["intelligence"] is False
    machine.run("workspaces", *options, "create", "made-here").refused(2, "taken")
    machine.run("workspaces", *options, "create", "--org", "x", "made-there").refused(6, "no organisation")
