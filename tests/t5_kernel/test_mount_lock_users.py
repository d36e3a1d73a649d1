"""Programs and libraries that lock, as people use them, on two mounts at once."""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, World

pytestmark = pytest.mark.kernel

PROCESSES = 2
"""On each mount."""

COUNT = 8
"""How often each counts."""

COUNT_ON = 'echo $(($(cat "$1") + 1)) >"$1"'
FLOCK = f"""i=0; while [ $i -lt $2 ]; do flock "$1.lock" sh -c '{COUNT_ON}' sh "$1"; i=$((i + 1)); done"""

LOOP = """
import sys
from collections.abc import Callable
from pathlib import Path
{setup}
counter = Path(sys.argv[1])
left = int(sys.argv[2])
while left:
    try:
        with {lock}:
            counter.write_text(str(int(counter.read_text()) + 1))
            left -= 1
    except {timeout}:
        pass
"""

USERS = {
    "flock(1)": ["sh", "-c", FLOCK, "sh"],
    "filelock": [
        *(sys.executable, "-c"),
        LOOP.format(
            setup="import filelock",
            lock="filelock.FileLock(sys.argv[1] + '.lock')",
            timeout="filelock.Timeout",
        ),
    ],
    "portalocker": [
        *(sys.executable, "-c"),
        LOOP.format(
            setup="import portalocker",
            lock="portalocker.Lock(sys.argv[1] + '.lock')",
            timeout="portalocker.LockException",  # it tries for 5 s by default
        ),
    ],
}

INSERT = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=600, isolation_level=None)
for number in range(int(sys.argv[2])):
    database.execute("INSERT INTO rows VALUES (?, ?)", (sys.argv[3], number))
"""

ROWS = int(os.environ.get("MOUNTFS_TEST_SQLITE_ROWS", "15"))
"""What each process inserts: every insert is a lease taken, a version sent, a lease given back."""

WRITERS = 4


@pytest.mark.parametrize("user", USERS)
@pytest.mark.long
def test_count_that_is_locked_by_it_is_exact(world: World, user: str) -> None:
    mounts = [world.mount("first"), world.mount("second")]
    (mounts[0] / "count").write_text("0")
    mounts[0].sync()
    assert (mounts[1] / "count").read_text() == "0"
    programs = [
        world.start(*USERS[user], mount / "count", str(COUNT)) for mount in mounts for _ in range(PROCESSES)
    ]
    assert [program.wait(PATIENCE_S) for program in programs] == [0] * len(programs)
    for mount in mounts:
        mount.sync()
        assert world.run("flock", mount / "count.lock", "cat", mount / "count").strip() == str(
            len(programs) * COUNT
        )


@pytest.mark.timeout(PATIENCE_S * 2 + ROWS)
@pytest.mark.parametrize(
    "names",
    [
        ["first"],
        ["first", "second"],
    ],
    ids=["one mount", "two mounts"],
)
@pytest.mark.long
def test_sqlite_loses_no_row(make_world: Callable[[], World], names: list[str]) -> None:
    world = make_world()  # its programs have a limit of their own
    mounts = [world.mount(name) for name in names]
    with sqlite3.connect(mounts[0] / "rows.db") as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("CREATE TABLE rows (writer TEXT, number INTEGER)")
    database.close()
    mounts[0].sync()
    programs = [
        world.start(sys.executable, "-c", INSERT, mount / "rows.db", str(ROWS), f"{mount.place.name}{number}")
        for mount in mounts
        for number in range(WRITERS)
    ]
    assert [program.wait(PATIENCE_S + ROWS) for program in programs] == [0] * len(programs)
    for mount in mounts:
        assert _checked_rows(mount / "rows.db") == len(programs) * ROWS


def _checked_rows(path: Path) -> int:
    database = sqlite3.connect(path, timeout=60)
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        distinct = "SELECT count(*) FROM (SELECT DISTINCT writer, number FROM rows)"
        return int(database.execute(distinct).fetchone()[0])
    finally:
        database.close()
