"""Times and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def clock_of(when: datetime) -> str:
    """Return a time with its day, in UTC."""
    return f"{when.astimezone(UTC):%d %b %Y, %H:%M} UTC"


def lasted(began: datetime, ended: datetime) -> str:
    """Return how long something took in its largest unit: `3 hours`, `less than a minute`."""
    seconds = int((ended - began).total_seconds())
    for size, unit in _UNITS:
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"
