"""The writer's group commit: each mutation whole or not at all, whoever shares its commit."""

import asyncio
import threading
from pathlib import Path

from sqlalchemy import insert, select

from mountfs.server.behaviour import Behaviour
from mountfs.server.database import Database, Transaction
from mountfs.server.schema import settings


def test_refused_job_leaves_no_trace_and_spares_its_group(tmp_path: Path) -> None:
    commits: list[tuple[set[str], list[str]]] = []
    outcomes, rows = asyncio.run(_commit_a_group(tmp_path / "db", commits))
    assert outcomes[0] == "first"
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == "third"
    assert rows == ["first", "third"]
    assert commits[-1] == ({"first", "third"}, ["first", "third"])
    assert len(commits) == 2


async def _commit_a_group(
    path: Path, commits: list[tuple[set[str], list[str]]]
) -> tuple[list[str | BaseException], list[str]]:
    database = Database(
        path,
        fsync=False,
        on_commit=lambda topics, orphans: commits.append((topics, orphans)),
        behaviour=Behaviour(),
    )
    busy, go_on = threading.Event(), threading.Event()

    def occupy(tx: Transaction) -> None:
        busy.set()
        assert go_on.wait(10)

    def record(tx: Transaction, name: str) -> str:
        tx.execute(insert(settings), {"key": name, "value": ""})
        tx.announce(name, "storage", name)
        tx.orphans.append(name)
        if name == "second":
            raise ValueError(name)
        return name

    occupied = asyncio.ensure_future(database.write(occupy))
    await asyncio.to_thread(busy.wait, 10)
    jobs = [
        asyncio.ensure_future(database.write(lambda tx, name=name: record(tx, name)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        for name in ("first", "second", "third")
    ]
    await asyncio.sleep(0)  # each job is in the writer's queue now, behind the busy one
    go_on.set()
    await occupied
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    rows = await database.read(lambda connection: list(connection.execute(select(settings.c.key)).scalars()))
    await asyncio.to_thread(database.close)
    return list(outcomes), sorted(rows)
