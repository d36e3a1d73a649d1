"""What h11 receives into: a body that is not copied, and everything else as it was."""

import h11
import pytest

from mountfs.remotes.fastio import connections as _installs_it  # noqa: F401 - its import is the installation

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
PIECES = [bytes([number]) * 1000 for number in range(1, 5)]
BODY = b"".join(PIECES)


@pytest.fixture
def connection() -> h11.Connection:
    made = h11.Connection(h11.CLIENT)
    made.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    made.send(h11.EndOfMessage())
    return made


def events(connection: h11.Connection) -> list[object]:
    """Return what can be told by now."""
    told: list[object] = []
    while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        told.append(event)
    return told


def test_pieces_of_a_body_are_handed_on_as_they_came(connection: h11.Connection) -> None:
    connection.receive_data(HEAD % len(BODY))
    events(connection)
    for piece in PIECES:
        connection.receive_data(piece)
        data = connection.next_event()
        assert isinstance(data, h11.Data)
        assert data.data is piece


@pytest.mark.parametrize("step", [1, 7, 1000, 10_000])
def test_answers_are_the_same_however_they_arrive(connection: h11.Connection, step: int) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in PIECES)
    wire = HEAD % len(BODY) + BODY, chunked + chunks + b"0\r\n\r\n"
    for answer in wire:
        told = []
        for start in range(0, len(answer), step):
            connection.receive_data(answer[start : start + step])
            told += events(connection)
        assert b"".join(bytes(event.data) for event in told if isinstance(event, h11.Data)) == BODY
        assert isinstance(told[-1], h11.EndOfMessage)
        connection.start_next_cycle()
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())


def test_what_follows_an_answer_stays_in_the_buffer(connection: h11.Connection) -> None:
    connection.receive_data(HEAD % len(BODY))
    events(connection)
    connection.receive_data(BODY + b"and more")
    assert [bytes(event.data) for event in events(connection) if isinstance(event, h11.Data)] == [BODY]
    assert connection.trailing_data == (b"and more", False)
