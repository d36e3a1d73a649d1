"""Each key of a TOML text is found on the line where it is defined, whatever way it is written."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mountfs.rules.toml_lines import key_lines

TEXT = '''# url = "not this"
url = "x"
a.b = 3

list = [
  "x", # y
  """of
url = 3
"""
]
[mounts.one]
url = "y"
"q.r" = 1
[ mounts . "two" ]

# why
inline = { x = 1 }
'''


def test_keys_of_every_form_are_found() -> None:
    assert key_lines(TEXT) == {
        ("url",): 2,
        ("a",): 3,
        ("a", "b"): 3,
        ("list",): 5,
        ("mounts",): 11,
        ("mounts", "one"): 11,
        ("mounts", "one", "url"): 12,
        ("mounts", "one", "q.r"): 13,
        ("mounts", "two"): 14,
        ("mounts", "two", "inline"): 17,
        ("mounts", "two", "inline", "x"): 17,
    }


KEYS = st.sampled_from(["a", "b", '"c.d"', "e"])
VALUES = st.sampled_from(["1", '"x"', "[\n 1,\n]", "'''\nb = 1\n'''", "{ z = 1 }", "[[1], [2]]"])
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.sampled_from(["", "# a = 1", "[t]", "[u.v]", '[ "w.x" . y ]']),
)


@given(st.lists(LINES, max_size=12))
def test_every_key_that_the_parser_knows_has_a_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        known = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = key_lines(text)
    assert found.keys() == set(_paths(known, ()))
    for path, line in found.items():
        assert path[-1] in text.split("\n")[line - 1]


def _paths(known: dict[str, Any], above: tuple[str, ...]) -> list[tuple[str, ...]]:
    paths = []
    for key, value in known.items():
        paths.append((*above, key))
        if isinstance(value, dict):
            paths += _paths(value, (*above, key))
    return paths
