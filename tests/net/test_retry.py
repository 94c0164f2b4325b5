from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.net.retry import MAX_WAIT_SECONDS, backoff_seconds, read_retry_after, retry_idempotent

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("0", 0),
        ("7", 7),
        (" 30 ", 30),
        ("3600", 3600),
        ("999999", 3600),
        ("9" * 400, 3600),
        ("0" * 20 + "5", 3600),
        ("Sat, 21 Nov 2026 12:00:45 GMT", 45),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Sat, 21 Nov 2026 12:00:45 -0000", 45),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_within_bounds(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_bounded_or_nonsense(value: str) -> None:
    seconds = read_retry_after(value)

    assert seconds is None or 0 <= seconds <= MAX_WAIT_SECONDS


def test_dates_are_counted_from_now() -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=100)).strftime("%a, %d %b %Y %H:%M:%S GMT")

    assert 95 < (read_retry_after(soon) or 0) <= 100


@given(st.integers(1, 10_000))
def test_waits_double_with_jitter_up_to_an_hour(attempt: int) -> None:
    longest = min(0.5 * 2 ** min(attempt - 1, 20), MAX_WAIT_SECONDS)

    assert longest / 2 <= backoff_seconds(attempt) <= longest


def test_wait_that_was_asked_for_is_kept_and_capped() -> None:
    assert 7 <= backoff_seconds(1, 7.0) <= 8
    assert backoff_seconds(1, 3600.0) == 3600


class Flaky:
    """Fails this many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError(str(self.calls))
        return "done"


def test_call_is_repeated_until_it_succeeds() -> None:
    slept: list[float] = []
    flaky = Flaky(2)

    assert retry_idempotent(flaky, lambda error, attempt: float(attempt), slept.append, tries=3) == "done"
    assert slept == [1.0, 2.0]


def test_last_error_is_raised_when_the_tries_are_spent() -> None:
    flaky = Flaky(9)

    with pytest.raises(OSError, match="3"):
        retry_idempotent(flaky, lambda error, attempt: 0.0, lambda seconds: None, tries=3)
    assert flaky.calls == 3


def test_error_that_is_not_worth_a_wait_is_raised_at_once() -> None:
    flaky = Flaky(9)

    with pytest.raises(OSError, match="1"):
        retry_idempotent(flaky, lambda error, attempt: None, lambda seconds: None)
    assert flaky.calls == 1
