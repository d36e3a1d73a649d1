"""Who hears of what happens, and what a slow listener loses."""

from mountfs.rules.happenings import Happenings, Kind, Listener


def _paths(listener: Listener) -> list[bytes]:
    found = []
    while (happening := listener.take()) is not None:
        found.append(happening.path)
    return found


def test_listener_hears_what_comes_after_it_and_nothing_after_it_left() -> None:
    happenings = Happenings(now=lambda: 7.5)
    happenings.tell(Kind.CHANGED, b"before")
    listener, other = happenings.listen(), happenings.listen()
    happenings.tell(Kind.FAILED, b"a", reason="too big")
    heard = listener.take()
    assert heard is not None
    assert (heard.kind, heard.path, heard.at, heard.details) == (
        Kind.FAILED,
        b"a",
        7.5,
        {"reason": "too big"},
    )
    listener.leave()
    listener.leave()
    happenings.tell(Kind.CHANGED, b"b")
    assert _paths(listener) == []
    assert _paths(other) == [b"a", b"b"]
    assert happenings.counts[Kind.CHANGED] == 2


def test_slow_listener_loses_the_oldest_and_is_told_how_many() -> None:
    happenings = Happenings()
    slow, quick = happenings.listen(most_waiting=2), happenings.listen()
    for name in (b"a", b"b", b"c", b"d"):
        happenings.tell(Kind.CREATED, name)
    assert slow.take_dropped() == 2
    assert slow.take_dropped() == 0
    assert _paths(slow) == [b"c", b"d"]
    assert quick.take_dropped() == 0
    assert _paths(quick) == [b"a", b"b", b"c", b"d"]


def test_listener_hears_and_wakes_for_its_kinds_only() -> None:
    happenings, woken = Happenings(), []
    listener = happenings.listen(kinds=(Kind.CREATED, Kind.MOVED))
    listener.wake = lambda: woken.append(True)
    for kind in Kind:
        happenings.tell(kind, kind.value.encode())
    assert woken == [True, True]
    assert _paths(listener) == [b"created", b"moved"]


def test_the_end_wakes_who_waits_and_leaves_what_was_told() -> None:
    happenings, woken = Happenings(), []
    listener = happenings.listen()
    listener.wake = lambda: woken.append(listener.ended)
    happenings.tell(Kind.REMOVED, b"a")
    happenings.end()
    happenings.tell(Kind.REMOVED, b"b")
    assert woken == [False, True]
    assert _paths(listener) == [b"a"]
