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
    """Give templates `when()`, `when_within()` and the filters `moment`, `day`, `day_heading` and `span`."""
    app.add_template_global(when, "when")
    app.add_template_filter(moment)
    app.add_template_filter(day)
    app.add_template_filter(day_heading)
    app.add_template_filter(span)
    app.add_template_global(when_within, "when_within")


def moment(at: datetime) -> str:
    """Return the exact time, in UTC: `27 Nov 2026, 12:38 UTC`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def day(at: datetime) -> str:
    """Return the date, in UTC: `27 Nov 2026`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y}"


def span(length: timedelta) -> str:
    """Return how long something took, in one unit: `40 seconds`, `1 minute`, `3 hours`."""
    seconds = max(int(length.total_seconds()), 1)
    size, unit = next((size, unit) for size, unit in reversed(((1, "second"), *_STEPS)) if seconds >= size)
    return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"


def when(at: datetime, now: datetime | None = None) -> Markup:
    """Return a `<time>` element that says how long ago, or in how long, with the exact time as its title."""
    exact = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = in_words(at, now or utc_now())
    # Nothing here has to be escaped, and a list has fifty of these: Markup.format takes ten times as long.
    return Markup(f'<time datetime="{exact}" title="{moment(at)}" data-when>{text}</time>')  # noqa: S704


def day_heading(at: datetime, now: datetime | None = None) -> str:
    """Return what a day in UTC is called above its events: `Today`, `Yesterday`, `Wednesday, 25 November`."""
    at, now = at.astimezone(UTC), (now or utc_now()).astimezone(UTC)
    if (distance := (now.date() - at.date()).days) in {0, 1}:
        return ("Today", "Yesterday")[distance]
    return f"{at:%A}, {at.day} {at:%B}" + ("" if at.year == now.year else f" {at.year}")


def when_within(at: datetime, now: datetime | None = None) -> Markup:
    """Return `when()` of a time today, and the time of day in UTC for entries below another day's heading."""
    now = now or utc_now()
    if at.astimezone(UTC).date() == now.astimezone(UTC).date():
        return when(at, now)
    clock = f"{at.astimezone(UTC):%H:%M}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), moment(at), clock)


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
