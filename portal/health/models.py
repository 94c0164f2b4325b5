"""Tables of health: what each check found and since when, and the incidents people are told about."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now

CURRENT = text("is_current")
UNFINISHED = text("phase <> 'closed'")
# Every check, in the order of the page.
TITLES = {
    "name": "The name resolves",
    "port": "The port is open",
    "certificate": "The certificate is trusted",
    "gitlab": "GitLab's API answers",
    "clock": "The clocks agree",
    "version": "The version is new enough",
    "credential": "The credential is alive",
    "token": "GitLab accepts the token",
    "user": "It belongs to the service user",
    "scopes": "It has the scopes that are needed",
    "work": "Background work succeeds",
    "external_url": "GitLab knows itself by the browser's address",
    "git": "Repositories are at this GitLab's address",
    "hooks": "GitLab reaches Gatehouse",
}
# GitLab is down, busy or unreachable: one cause, and one check that shows it, whatever form the outage takes.
UNREACHABLE = "unreachable"
REACH = "reach"
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


class IncidentPhase(StrEnum):
    """The phase of an incident; the value is what is stored."""

    # Seen failing, but not long enough to tell anyone. Dropped if the next check passes.
    SUSPECTED = "suspected"
    OPEN = "open"
    CLOSED = "closed"


class Level(StrEnum):
    """How bad it is; the value is the word people read."""

    FAILURE = "Failure"
    # It works, but will not for long.
    WARNING = "Warning"


class HealthWatch(SQLModel, table=True):
    """One watched connection: its state, since when, and when to check again."""

    __tablename__ = "health_watch"

    connection_id: int = Field(primary_key=True, foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    # The worst of its checks: `pass`, `warn` or `fail`.
    state: str = Field(max_length=10)
    since: datetime = Field(sa_type=UTCDateTime)
    checked_at: datetime = Field(sa_type=UTCDateTime)
    # When GitLab's API last answered as it should; null if it never did.
    answered_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    due_at: datetime = Field(index=True, sa_type=UTCDateTime)
    # What GitLab reported about its own addresses: `issuer`, `git`.
    addresses: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class HealthCheck(SQLModel, table=True):
    """One check that found the same from `at` to `seen_at`; only a change begins another row."""

    __tablename__ = "health_check"
    __table_args__ = (
        Index("ix_health_check_history", "connection_id", "key", "id"),
        Index(
            "uq_health_check_current",
            "connection_id",
            "key",
            unique=True,
            sqlite_where=CURRENT,
            postgresql_where=CURRENT,
        ),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    key: str = Field(max_length=30)
    at: datetime = Field(sa_type=UTCDateTime)
    seen_at: datetime = Field(index=True, sa_type=UTCDateTime)
    state: str = Field(max_length=10)
    # What it says in addition to its state: a code of `connections.checks.NOTES`, and what its sentence names.
    note: str = Field(default="", max_length=30)
    params: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # A Card as JSON: what is wrong.
    card: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    is_current: bool = True


class Incident(SQLModel, table=True):
    """One cause for which a connection does not work, from the first failed check to the last.

    A closed one is reopened if the same cause comes back soon; then no one is told a second time.
    """

    __tablename__ = "incident"
    __table_args__ = (
        Index(
            "uq_incident_unfinished",
            "connection_id",
            "cause",
            unique=True,
            sqlite_where=UNFINISHED,
            postgresql_where=UNFINISHED,
        ),
        Index("ix_incident_listing", "connection_id", "id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    connection_id: int = Field(foreign_key="connection.id", ondelete="CASCADE", sa_type=BigId)
    cause: str = Field(max_length=60)
    # The check that tells whether it is over.
    check_key: str = Field(max_length=30)
    # Whether it may pass by itself; otherwise it is believed at once.
    is_passing: bool
    level: str = Field(default=Level.FAILURE, max_length=10)
    layer: str = Field(max_length=30)
    # A Card as JSON: the newest failure.
    card: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    phase: str = Field(max_length=10)
    # Failed checks in total, and in the current run of passed or failed ones.
    count: int = 0
    row_count: int = 0
    row_began_at: datetime = Field(sa_type=UTCDateTime)
    last_failed_at: datetime = Field(sa_type=UTCDateTime)
    opened_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # When it was decided to tell people; the mails follow, and may be late.
    alarmed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    alarm_mailed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    end_mailed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Of an access token that ends: the smallest of `alarms.WARNING_DAYS` that people have been mailed about.
    warned_days: int | None = Field(default=None)

    @property
    def lasted(self) -> str:
        """How long it took, in its largest unit: `3 hours`, `less than a minute`; empty until it is over."""
        if self.opened_at is None or self.closed_at is None:
            return ""
        seconds = int((self.closed_at - self.opened_at).total_seconds())
        for size, unit in _UNITS:
            if seconds >= size:
                number = seconds // size
                return f"{number} {unit}{'s' if number > 1 else ''}"
        return "less than a minute"


class AlarmMail(SQLModel, table=True):
    """One message to one person that the mail server accepted, so that it is not sent again."""

    __tablename__ = "alarm_mail"
    __table_args__ = (UniqueConstraint("incident_id", "kind", "user_id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    incident_id: int = Field(foreign_key="incident.id", ondelete="CASCADE", sa_type=BigId)
    # `opened` or `over`.
    kind: str = Field(max_length=10)
    user_id: int = Field(foreign_key="user.id", ondelete="CASCADE", sa_type=BigId)
    sent_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
