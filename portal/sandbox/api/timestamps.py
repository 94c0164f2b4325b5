"""How GitLab writes times: ISO 8601 with milliseconds and `Z`."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """Return an aware time in GitLab's format."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def stamp_of(seconds: int) -> str:
    """Return seconds since 1970 in GitLab's format."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19] + ".000Z"
