"""Retry an idempotent request: bounded, with jitter, and as the server asks (S62)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

MAX_WAIT_SECONDS = 3600.0
FIRST_WAIT_SECONDS = 0.5
T = TypeVar("T")


def read_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds a `Retry-After` header asks to wait, 0 to one hour; None for nonsense (RFC 9110 §10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return MAX_WAIT_SECONDS if len(text) > 9 else min(float(text), MAX_WAIT_SECONDS)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max((when - (now or datetime.now(UTC))).total_seconds(), 0.0), MAX_WAIT_SECONDS)


def backoff_seconds(attempt: int, asked: float | None = None) -> float:
    """Return how long to wait before retry `attempt` (from 1): what the server asked, or doubling with jitter."""
    if asked is not None:
        return min(asked + random.uniform(0, 1), MAX_WAIT_SECONDS)  # noqa: S311 - spreads load, protects nothing
    longest = min(FIRST_WAIT_SECONDS * 2 ** min(attempt - 1, 20), MAX_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)  # noqa: S311


def retry_idempotent(
    call: Callable[[], T],
    wait_for: Callable[[Exception, int], float | None],
    sleep: Callable[[float], object],
    tries: int = 3,
) -> T:
    """Call until it succeeds; `wait_for(error, attempt)` says how long to wait, or None to give up with the error.

    Only for calls that may be repeated: never a POST, which may have been processed the first time.
    """
    for attempt in range(1, tries + 1):
        try:
            return call()
        except Exception as error:
            seconds = wait_for(error, attempt) if attempt < tries else None
            if seconds is None:
                raise
            sleep(seconds)
    raise AssertionError("unreachable")
