"""What changed: the persistent feed, its cursors, and the wake-up of those who wait for it.

Rows get their sequence number inside the committing transaction of the one writer, so that no row
ever becomes visible behind a cursor that was already given out.
"""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select

from mountfs.server import schema
from mountfs.server.behaviour import Behaviour
from mountfs.server.clock import SECOND_US, now_us
from mountfs.server.database import Transaction

T = TypeVar("T")

USER_ENTITY = "user"  # the one user's own channel

_ROWS_A_POLL = 2000
_TOLD_AGAIN = 20

_newer = (
    select(schema.activity.c.seq, schema.activity.c.key)
    .where(schema.activity.c.entity == bindparam("entity"), schema.activity.c.seq > bindparam("after"))
    .order_by(schema.activity.c.seq)
    .limit(_ROWS_A_POLL)
)
# Each by itself: one query for both would go through all rows.
_bounds = select(
    select(func.min(schema.activity.c.seq)).scalar_subquery().label("oldest"),
    select(func.max(schema.activity.c.seq)).scalar_subquery().label("newest"),
)


_newer_than = (
    select(schema.activity.c.at_us, schema.activity.c.key)
    .where(schema.activity.c.entity == bindparam("entity"), schema.activity.c.at_us > bindparam("after"))
    .order_by(schema.activity.c.seq)
)
_last_time = select(func.max(schema.activity.c.at_us))
_last_before = select(func.max(schema.activity.c.seq)).where(schema.activity.c.at_us <= bindparam("at"))


@dataclass(frozen=True)
class News:
    """Activity keys without repetition, and the cursor behind them."""

    keys: list[str]
    cursor: str


class ActivityFeed:
    """Reads the feed of one database; `epoch` tells its cursors from those of any other database."""

    def __init__(self, epoch: str, behaviour: Behaviour) -> None:
        self._epoch = epoch
        self._behaviour = behaviour

    def cursor(self, seq: int) -> str:
        """The cursor after the row `seq`."""
        return f"{self._epoch}-{seq}"

    def parse(self, cursor: str) -> int | None:
        """The sequence number in a cursor of ours, None for anything else."""
        epoch, _, number = cursor.rpartition("-")
        is_number = number.isascii() and number.isdigit() and len(number) <= schema.MAX_DIGITS
        return int(number) if epoch == self._epoch and is_number else None

    def head(self, connection: Connection) -> str:
        """The cursor behind everything that is committed."""
        return self.cursor(_kept(connection)[1])

    def is_too_old(self, connection: Connection, after: int) -> bool:
        """Whether rows behind the sequence number are not kept any more."""
        return after < _kept(connection)[0] - 1

    def is_ahead(self, connection: Connection, after: int) -> bool:
        """Whether there is no such row yet: the cursor is of a database that had more than this copy."""
        return after > _kept(connection)[1]

    def present(self, connection: Connection) -> str:
        """The cursor that a poll begins with: nothing that was told before it is told again."""
        if self._behaviour.poll_cursor == "time":
            return _as_seconds(connection.execute(_last_time).scalar_one_or_none() or 0)
        return self.cursor(self._told_head(connection))

    def news(self, connection: Connection, entity: str, cursor: str) -> News:
        """Keys newer than the cursor; the bare key `storage` when the rows behind it are gone."""
        if self._behaviour.poll_cursor == "time":
            return self._news_by_time(connection, entity, cursor)
        oldest, head = _kept(connection)
        after = self.parse(cursor)
        if after is None or after > head or after < oldest - 1:
            return News(["storage"], self.cursor(head))
        rows = connection.execute(_newer, {"entity": entity, "after": after}).all()
        end = rows[-1].seq if len(rows) == _ROWS_A_POLL else head
        if self._behaviour.news_late_s:
            last = self._told_head(connection)
            rows, end = [row for row in rows if row.seq <= last], min(end, max(after, last))
        told = self._as_told([row for row in rows if not self._is_lost(row.seq)])
        if told and self._behaviour.news_twice:
            again = connection.execute(_newer, {"entity": entity, "after": after - _TOLD_AGAIN}).all()
            told += self._as_told([row for row in again if row.seq <= after])
        return News(told, self.cursor(end))

    def _news_by_time(self, connection: Connection, entity: str, cursor: str) -> News:
        try:
            after_us = round(float(cursor) * SECOND_US)
        except (ValueError, OverflowError):
            after_us = -1
        if not 0 <= after_us < 10**schema.MAX_DIGITS:
            return News(["storage"], self.present(connection))
        rows = connection.execute(_newer_than, {"entity": entity, "after": after_us}).all()
        last_us = max((row.at_us for row in rows), default=after_us)
        return News(self._as_told(rows), _as_seconds(last_us))

    def _told_head(self, connection: Connection) -> int:
        """The newest row that is told by now."""
        delay_us = int(self._behaviour.news_late_s * SECOND_US)
        if not delay_us:
            return _kept(connection)[1]
        seq: int = connection.execute(_last_before, {"at": now_us() - delay_us}).scalar_one() or 0
        return seq

    def _is_lost(self, seq: int) -> bool:
        every = self._behaviour.news_lost
        return every > 0 and seq % every == 0

    def _as_told(self, rows: Iterable[schema.AnyRow]) -> list[str]:
        keys = list(dict.fromkeys(row.key for row in rows))
        return keys[::-1] if self._behaviour.news_reversed else keys


def prune(tx: Transaction, keep_rows: int) -> None:
    """Forget the oldest rows; the newest one always stays, so that sequence numbers go on from it."""
    newest = _kept(tx.connection)[1]
    tx.execute(delete(schema.activity).where(schema.activity.c.seq <= newest - max(1, keep_rows)))


def _kept(connection: Connection) -> tuple[int, int]:
    """The oldest and the newest sequence number that are kept."""
    row = connection.execute(_bounds).one()
    return row.oldest or 1, row.newest or 0


def _as_seconds(moment_us: int) -> str:
    return f"{moment_us / SECOND_US:.6f}"


class WakeUps:
    """Lets requests wait for a topic. All methods but `wake_from_thread` belong to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._closed = False

    def wake_from_thread(self, topics: Iterable[str]) -> None:
        """Wake all who wait for one of the topics."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake, list(topics))

    def close(self) -> None:
        """Wake everybody; from now on nobody waits."""
        self._closed = True
        self._wake(list(self._waiting))

    @property
    def closed(self) -> bool:
        """True once the server is on its way out."""
        return self._closed

    @contextlib.contextmanager
    def listening(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set by each wake-up of the topic.

        Enter before looking: then no change falls between the look and the wait.
        """
        signal = asyncio.Event()
        self._waiting[topic].add(signal)
        try:
            yield signal
        finally:
            self._waiting[topic].discard(signal)
            if not self._waiting[topic]:
                del self._waiting[topic]

    async def look_until(
        self,
        topic: str,
        wait_s: float,
        look: Callable[[], Awaitable[T]],
        found: Callable[[T], bool],
        again_s: float = math.inf,
    ) -> T:
        """What `look` gives once `found` agrees with it, `wait_s` is over, or the server ends.

        It is asked after each wake-up of the topic, and where nothing tells, after `again_s`.
        """
        deadline = self._loop.time() + wait_s
        with self.listening(topic) as signal:
            while True:
                signal.clear()
                seen = await look()
                if found(seen) or self._closed or self._loop.time() >= deadline:
                    return seen
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(min(deadline, self._loop.time() + again_s)):
                        await signal.wait()

    def _wake(self, topics: Iterable[str]) -> None:
        for topic in topics:
            for signal in self._waiting.get(topic, ()):
                signal.set()
