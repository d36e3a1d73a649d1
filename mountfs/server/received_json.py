"""JSON that a client sent: whatever is wrong with it is a ValueError."""

import json
from typing import Any, NoReturn


def loads(text: str | bytes) -> Any:
    """The value. Raises ValueError for what is no JSON, is nested too deep, or has half a surrogate pair."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
