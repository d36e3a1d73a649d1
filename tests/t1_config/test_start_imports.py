"""What a daemon imports before its mount is there: modules that it has no use for cost its start."""

import subprocess
import sys

UNUSED = (
    *("rich", "pygments", "click"),
    *("sqlalchemy", "starlette", "uvicorn", "multipart"),
    *("prometheus_client", "opentelemetry", "keyring"),
)


def test_daemon_imports_nothing_of_command_line_server_and_viewers() -> None:
    code = f"import sys, mountfs.daemon.compose; print([n for n in {UNUSED!r} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
