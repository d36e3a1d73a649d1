"""Every switch of the embedded server is played by a variant of the service, or there is a reason."""

from pathlib import Path
from typing import Literal, get_args, get_origin

from mountfs.server import read_behaviour
from mountfs.server.behaviour import Behaviour
from tests.server_variants import NOT_PLAYED, VARIANTS

TESTS = Path(__file__).parent.parent


def spelled(key: str, value: object) -> str:
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def choices(key: str) -> list[str]:
    """Return each choice of a switch; just its name where any number or pattern may be given."""
    kind = Behaviour.model_fields[key].annotation
    if get_origin(kind) is Literal:
        return [spelled(key, value) for value in get_args(kind)]
    return [spelled(key, value) for value in (True, False)] if kind is bool else [key]


def test_each_choice_is_played_or_there_is_a_reason() -> None:
    played = set()
    for switches in VARIANTS.values():
        behaviour = read_behaviour(switches)
        for key, field in Behaviour.model_fields.items():
            value = getattr(behaviour, key)
            played |= {spelled(key, value), *([key] if value != field.default else [])}
    every = {choice for key in Behaviour.model_fields for choice in choices(key)}
    assert every - played == set(NOT_PLAYED)


def test_what_no_variant_plays_is_played_by_the_test_that_is_named() -> None:
    for choice, reason in NOT_PLAYED.items():
        key = choice.partition("=")[0]
        path = reason.rpartition("; ")[2]
        assert f"{key}=" in (TESTS / path).read_text(), choice
