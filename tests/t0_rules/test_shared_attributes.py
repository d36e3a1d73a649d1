"""What is told of a file in its free text leaves alone what others wrote there."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.rules.shared_attributes import (
    DRIFT_NS,
    TEXT_MOST,
    Attributes,
    Content,
    mtime_to_tell,
    retold,
    told,
    written_again_ns,
)

S = 1_000_000_000


def content(of: bytes) -> Content:
    return Content(len(of), hashlib.sha256(of).hexdigest())


HELLO = content(b"hello")
AB = content(b"a b")


@pytest.mark.parametrize(
    ("text", "attributes", "expected"),
    [
        ("", Attributes(True), "[mountfs x]"),
        ("a user's words", Attributes(True), "a user's words\n[mountfs x]"),
        ("a user's words\n[mountfs x]", Attributes(), "a user's words"),
        ("[mountfs x]", Attributes(), ""),
        ("[mountfs later=1 x]", Attributes(), "[mountfs later=1]"),
        ("[mountfs later=1]", Attributes(True), "[mountfs later=1 x]"),
        ("[mountfs x]\nbehind", Attributes(True), "[mountfs x]\nbehind\n[mountfs x]"),
        ("see [mountfs x]", Attributes(True), "see [mountfs x]\n[mountfs x]"),
        ("long" * 512, Attributes(True), "long" * 512),
        ("", Attributes(mtime_ns=12 * S), "[mountfs m=12:2cf24dba]"),
        ("", Attributes(True, mtime_ns=-S // 2), "[mountfs x m=-1.500000000:2cf24dba]"),
        ("[mountfs m=12:2cf24dba m=9:00000000]", Attributes(), ""),
        ("", Attributes(target=b"a b"), "[mountfs link=a%20b]"),
        ("[mountfs link=../old]", Attributes(target="ü]/%".encode()), "[mountfs link=%C3%BC%5D/%25]"),
        ("", Attributes(True, target=b"/" + b"far" * 700), "[mountfs x]"),
    ],
)
def test_texts(text: str, attributes: Attributes, expected: str) -> None:
    assert retold(text, attributes, HELLO.sha256) == expected


def test_time_and_target_are_of_one_content() -> None:
    text = retold("", Attributes(mtime_ns=5 * S + 7, target=b"hello"), HELLO.sha256)
    assert told(text, HELLO) == Attributes(mtime_ns=5 * S + 7, target=b"hello")
    assert told(text, content(b"other")) == Attributes()
    assert told(text, Content(5, None)) == Attributes(target=b"hello")


def test_a_link_that_is_to_lead_elsewhere_leads_to_one_or_the_other_at_all_times() -> None:
    both = retold("[mountfs link=hello]", Attributes(target=b"a b"), HELLO.sha256, until_then=b"hello")
    assert told(both, HELLO).target == b"hello"
    assert told(both, AB).target == b"a b"
    assert retold(both, Attributes(target=b"a b"), HELLO.sha256, until_then=b"hello") == both
    assert retold(both, Attributes(target=b"a b"), AB.sha256) == "[mountfs link=a%20b]"


def test_writing_again_is_told_of_one_content_and_kept_by_who_tells_something_else() -> None:
    text = retold("words\n[mountfs later=1 x]", Attributes(True), HELLO.sha256, written_again_ns=5 * S + 7)
    assert text == "words\n[mountfs later=1 x w=5.000000007:2cf24dba]"
    assert written_again_ns(text, HELLO) == 5 * S + 7
    assert written_again_ns(text, AB) is None
    assert retold(text, Attributes(True), HELLO.sha256) == text
    assert retold(text, Attributes(), HELLO.sha256, written_again_ns=6 * S).endswith(
        "[mountfs later=1 w=6:2cf24dba]"
    )
    assert retold(text, Attributes(True), AB.sha256) == "words\n[mountfs later=1 x]"
    full = "l" * (TEXT_MOST - len("\n[mountfs link=a]"))
    assert (
        retold(full, Attributes(target=b"a"), HELLO.sha256, written_again_ns=S) == f"{full}\n[mountfs link=a]"
    )


@pytest.mark.parametrize("word", ["link=", "link=%00ello", "m=1:2cf24db", "m=1.5:2cf24dba", "m=:2cf24dba"])
def test_what_is_no_word_of_ours_says_nothing(word: str) -> None:
    assert told(f"[mountfs {word}]", HELLO) == Attributes()


def test_time_is_told_where_it_differs_and_stays_told() -> None:
    modified = 1_000 * S
    assert mtime_to_tell("", HELLO, modified - DRIFT_NS + 1, modified) is None
    assert mtime_to_tell("", HELLO, modified - DRIFT_NS, modified) == modified - DRIFT_NS
    assert mtime_to_tell("", HELLO, 5 * S, 0) is None
    text = retold("", Attributes(mtime_ns=modified), HELLO.sha256)
    assert mtime_to_tell(text, HELLO, modified + 999_999, modified) == modified
    assert mtime_to_tell(text, HELLO, modified + S, modified) is None
    assert mtime_to_tell(text, content(b"other"), modified, modified) is None


@given(
    st.text(max_size=300),
    st.booleans(),
    st.none() | st.integers(-(2**62), 2**62),
    st.none() | st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target),
)
def test_what_is_told_is_read_and_can_be_taken_back(
    text: str, executable: bool, mtime_ns: int | None, target: bytes | None
) -> None:
    there = content(target or b"content")
    attributes = Attributes(executable, mtime_ns, target)
    told_text = retold(text, attributes, there.sha256)
    assert told(told_text, there) == attributes
    assert len(told_text) <= TEXT_MOST
    assert retold(told_text, attributes, there.sha256) == told_text
    if "[mountfs" not in text:
        assert retold(told_text, Attributes(), there.sha256) == text
