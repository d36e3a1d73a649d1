"""When to repeat a request, and what it means to give up: decisions without I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mountfs.model.errors import OutcomeUnknown, RateLimited, RemoteUnavailable
from mountfs.remotes.fastio.error_map import LONGEST_WAIT_S, Refusal, retry_after_s
from mountfs.remotes.fastio.request import Ask, Repeat
from mountfs.remotes.fastio.settings import FastioSettings
from mountfs.remotes.fastio.wire import moment_ns

GATEWAY_STATUSES: Final = frozenset({502, 503, 504})

ATTEMPTS_BROKEN: Final = 3
"""What fails inside the service is often over at the next try; if not, it is no matter of patience."""


class FaultKind(Enum):
    UNSENT = "not sent"
    LOST = "answer lost"
    TOLD_LATER = "told to come later"
    BROKEN = "failed inside"


@dataclass(frozen=True, slots=True)
class Fault:
    """How an attempt ended without an answer. `hint_s`: when the service wants to be asked again."""

    kind: FaultKind
    cause: str
    hint_s: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the service said last about our share: requests left, of how many, and until when."""

    available: int
    maximum: int | None
    resets_in_s: float | None


def delay(attempt: int, base_s: float, cap_s: float, random: Callable[[], float]) -> float:
    """Return the pause after attempt `attempt` (from 1): full jitter below a doubling, capped bound."""
    return random() * min(cap_s, base_s * 2.0 ** (attempt - 1))


def may_repeat(fault: Fault, repeat: Repeat, attempt: int) -> bool:
    """Tell whether the request may be sent again behind attempt `attempt` (from 1)."""
    if repeat is Repeat.NEVER:
        return False
    if fault.kind in {FaultKind.UNSENT, FaultKind.TOLD_LATER}:
        return True
    if fault.kind is FaultKind.BROKEN and attempt >= ATTEMPTS_BROKEN:
        return False
    return repeat is Repeat.SAFE


def pause_before_repeat(
    fault: Fault,
    repeat: Repeat,
    attempt: int,
    left_s: float,
    settings: FastioSettings,
    random: Callable[[], float],
) -> float | None:
    """Return how long to wait before the next attempt, or None to give up.

    A hint of the service is a lower bound: coming earlier would be refused again.
    """
    if attempt >= settings.attempts or not may_repeat(fault, repeat, attempt):
        return None
    jitter_s = delay(attempt, settings.backoff_base_s, settings.backoff_cap_s, random)
    told_s = fault.hint_s
    pause_s = jitter_s if told_s is None else told_s + min(jitter_s, settings.backoff_base_s)
    return pause_s if pause_s < left_s else None


def given_up(fault: Fault, ask: Ask, attempts: int) -> RemoteUnavailable:
    """Return the error for a request whose last attempt ended in `fault`."""
    times = "" if attempts == 1 else f" after {attempts} attempts"
    message = f"{ask}: {fault.cause}{times}"
    if fault.kind is FaultKind.TOLD_LATER:
        return RateLimited(message, retry_after_s=fault.hint_s or 1.0)
    if fault.kind is not FaultKind.UNSENT and ask.repeat is Repeat.UNSENT:
        return OutcomeUnknown(f"{message}; the change may have happened")
    return RemoteUnavailable(message)


def later_s(refused: Refusal, headers: Mapping[str, str], now_s: float) -> float | None:
    """Return when to come again after a 429: by the error, by the standard's header, by the limit's."""
    told_s = retry_after_s(refused)
    if told_s is not None:
        return told_s
    after = headers.get("retry-after", "")
    if after.isdecimal() and float(after) <= LONGEST_WAIT_S:
        return float(after)
    limit = rate_limit(headers, now_s)
    return limit.resets_in_s if limit else None


def rate_limit(headers: Mapping[str, str], now_s: float) -> RateLimit | None:
    """Read the limit headers, of either name; None where the service sent none, or nonsense."""
    try:
        available = int(headers.get("x-ve-limit-avail") or headers["x-rate-limit-available"])
        maximum = headers.get("x-ve-limit-max") or headers.get("x-rate-limit-max")
        expires = headers.get("x-ve-limit-expires") or headers.get("x-rate-limit-expiry")
        return RateLimit(available, int(maximum) if maximum else None, _seconds_until(expires, now_s))
    except (KeyError, ValueError):
        return None


def _seconds_until(expires: str | None, now_s: float) -> float | None:
    if not expires:
        return None
    at_s = float(expires) if expires.replace(".", "", 1).isdigit() else moment_ns(expires) / 1e9
    return max(0.0, at_s - now_s) if at_s and at_s - now_s <= LONGEST_WAIT_S else None
