"""Times as people say them, "4 minutes ago", with the exact one on demand; `times.js` shows it in the reader's time
zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask
from markupsafe import Markup

from portal.db import utc_now

_STEPS = ((60, "minute"), (3600, "hour"), (86400, "day"))
_DAYS_IN_WORDS = 7


def register(app: Flask) -> None:
    """Give templates `when()` and the filters `moment` and `day`."""
    app.add_template_global(when, "when")
    app.add_template_filter(moment)
    app.add_template_filter(day)


def moment(at: datetime) -> str:
    """Return the exact time, in UTC: `27 Nov 2026, 12:38 UTC`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def day(at: datetime) -> str:
    """Return the date, in UTC: `27 Nov 2026`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y}"


def when(at: datetime, now: datetime | None = None) -> Markup:
    """Return a `<time>` element that says how long ago, or in how long, with the exact time as its title."""
    exact = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = in_words(at, now or utc_now())
    return Markup('<time datetime="{}" title="{}" data-when>{}</time>').format(exact, moment(at), text)


def in_words(at: datetime, now: datetime) -> str:
    """Return a time as people say it: `just now`, `4 minutes ago`, `yesterday`, `in 2 hours`, `3 Sep`, `3 Sep 2025`."""
    distance = now - at
    is_past = distance >= timedelta(0)
    seconds = int(abs(distance).total_seconds())
    if seconds < _STEPS[0][0]:
        return "just now" if is_past else "in a moment"
    if seconds >= _DAYS_IN_WORDS * _STEPS[2][0]:
        at = at.astimezone(UTC)
        return f"{at.day} {at:%b}" if at.year == now.year else day(at)
    size, unit = next((size, unit) for size, unit in reversed(_STEPS) if seconds >= size)
    count = seconds // size
    if unit == "day" and count == 1:
        return "yesterday" if is_past else "tomorrow"
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{words} ago" if is_past else f"in {words}"
