"""What was agreed with the administrator of a GitLab: how many requests, how many at once, and when to keep quiet.

One GitLab has one budget. If several organizations agreed on something for it, the strictest of everything counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, select

from portal.db import BigId, UTCDateTime, utc_now

# Unless something else was agreed.
PER_SECOND = 100.0
AT_ONCE = 24
DAY_MINUTES = 24 * 60


class RequestAgreement(SQLModel, table=True):
    """What one organization agreed on for one GitLab."""

    __tablename__ = "request_agreement"
    __table_args__ = (UniqueConstraint("origin", "organization_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    organization_id: int = Field(index=True, sa_type=BigId)
    # Scheme, host and port, as in `RequestBudget`.
    origin: str = Field(max_length=300)
    per_second: int
    at_once: int
    # Minutes after midnight in `time_zone`. If both are equal, there are no quiet hours.
    quiet_from: int = 0
    quiet_until: int = 0
    time_zone: str = Field(default="UTC", max_length=64)
    # For background work in quiet hours; 0 holds it back until they end.
    quiet_per_second: int = 0
    agreed_with: str = Field(default="", max_length=200)
    note: str = Field(default="", max_length=1000)
    # The day, as midnight in UTC.
    agreed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    row_version: int = 1
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)

    def quiet_seconds(self, now: datetime) -> float:
        """Return in how many seconds the quiet hours end; 0 outside of them."""
        local = now.astimezone(zone_of(self.time_zone) or UTC)
        minute = local.hour * 60 + local.minute
        length = (self.quiet_until - self.quiet_from) % DAY_MINUTES
        since = (minute - self.quiet_from) % DAY_MINUTES
        return (length - since) * 60.0 - local.second if since < length else 0.0


@dataclass(frozen=True)
class Allowance:
    """What may be sent to one GitLab now.

    Attributes:
        quiet_seconds: until the quiet hours end; 0 outside of them.
        quiet_per_second: for background work during them.
    """

    per_second: float = PER_SECOND
    at_once: int = AT_ONCE
    quiet_seconds: float = 0.0
    quiet_per_second: float = 0.0

    @property
    def at_once_in_background(self) -> int:
        """How many may be under way for background work; the other places are for people."""
        return max(self.at_once - self.at_once // 3, 1)

    @property
    def is_closed_to_background(self) -> bool:
        """Whether background work waits for the end of the quiet hours."""
        return self.quiet_seconds > 0 and not self.quiet_per_second


def allowance_of(session: Session, origin: str, now: datetime) -> Allowance:
    """Return what may be sent to one GitLab now."""
    rows = session.exec(select(RequestAgreement).where(RequestAgreement.origin == origin)).all()
    if not rows:
        return Allowance()
    quiet = [(row, seconds) for row in rows if (seconds := row.quiet_seconds(now)) > 0]
    return Allowance(
        float(min(row.per_second for row in rows)),
        min(row.at_once for row in rows),
        max((seconds for _, seconds in quiet), default=0.0),
        float(min((row.quiet_per_second for row, _ in quiet), default=0)),
    )


def zone_of(name: str) -> tzinfo | None:
    """Return a time zone by its name in the tz database; None if this machine does not know it."""
    if name == "UTC":
        return UTC  # Also on a machine without the tz database.
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
