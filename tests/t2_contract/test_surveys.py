"""The second source of changes: the organisation's feed where it can be read, else the latest nodes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mountfs.remotes.fastio import FastioRemote, FastioService, FastioSettings

NODE = "2aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
OTHER = "2bbbbbbbbbbbbbbbbbbbbbbbbbbbb"
WORKSPACE = {"result": True, "workspace": {"id": "4", "org": "9"}}


@pytest.fixture
async def remote(scripted: Any) -> AsyncIterator[FastioRemote]:
    service = FastioService(scripted.url, "token", settings=FastioSettings(patience_s=5, attempts=2))
    yield service.remote("4")
    await service.aclose()


def feed(cursor: str, *nodes: str, more: bool = False, **row: str) -> dict[str, Any]:
    changes = [{"event_id": str(number), "object_id": node, **row} for number, node in enumerate(nodes)]
    return {"result": True, "changes": changes, "cursor": cursor, "has_more": more}


def recent(*rows: tuple[str, str], following: str | None = None) -> dict[str, Any]:
    nodes = [
        {"id": node, "type": "file", "name": node, "parent": "root", "modified": f"2026-05-18 19:26:{at} UTC"}
        for node, at in rows
    ]
    return {"result": True, "nodes": nodes, "next_cursor": following}


REFUSED = {"result": False, "error": {"code": 135626, "text": "nothing readable"}}
EXPIRED = {"result": False, "error": {"code": 158008, "params": {"reason": "cursor_expired"}}}


async def test_feed_is_read_to_its_end(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(
        acts.reply(200, WORKSPACE),
        acts.reply(200, feed("c0")),
        acts.reply(200, feed("c1", "2-AAAAAAAAAAAAAAAAAAAAAAAAAAAA", more=True)),
        acts.reply(200, feed("c2", OTHER, profile_id="5")),
    )
    told = await remote.survey(None)
    told = await remote.survey(told.cursor)
    assert (told.nodes, told.everything) == (frozenset({NODE}), False)
    assert [request.target.partition("?")[2] for request in scripted.seen[1:]] == [
        "limit=1000",
        "limit=1000&cursor=c0",
        "limit=1000&cursor=c1",
    ]


async def test_rows_that_come_late_are_left_to_the_next_survey(
    scripted: Any, remote: FastioRemote, acts: Any
) -> None:
    scripted.plays(
        acts.reply(200, WORKSPACE), acts.reply(200, feed("c0")), acts.reply(200, feed("c0", more=True))
    )
    told = await remote.survey((await remote.survey(None)).cursor)
    assert (told.nodes, told.everything) == (frozenset(), False)
    assert len(scripted.seen) == 3


async def test_expired_cursor_is_a_gap(scripted: Any, remote: FastioRemote, acts: Any) -> None:
    scripted.plays(
        acts.reply(200, WORKSPACE),
        acts.reply(200, feed("c0")),
        acts.reply(406, EXPIRED),
        acts.reply(200, feed("c9")),
    )
    told = await remote.survey((await remote.survey(None)).cursor)
    assert (told.cursor, told.everything) == ("feed c9", True)


@pytest.mark.parametrize(
    "refusal", [(403, REFUSED), (404, {"result": False, "error": {"code": 9992}}), (404, b"<html>")]
)
async def test_without_a_feed_the_latest_nodes_tell(
    scripted: Any, remote: FastioRemote, acts: Any, refusal: tuple[int, Any]
) -> None:
    scripted.plays(
        acts.reply(200, WORKSPACE),
        acts.reply(*refusal),
        acts.reply(200, recent((OTHER, "10"), following="p2")),
        acts.reply(200, recent((NODE, "25"), (OTHER, "10"), following="p2")),
        acts.reply(200, recent((OTHER, "09"), following="p3")),
        acts.reply(200, recent((NODE, "25"))),
    )
    told = await remote.survey(None)
    assert not told.nodes
    told = await remote.survey(told.cursor)
    assert told.nodes == {NODE, OTHER}
    assert len(scripted.seen) == 5, "a whole page that is older ends it"
    await remote.survey(told.cursor)
    assert not any("events/changes" in request.target for request in scripted.seen[2:])
