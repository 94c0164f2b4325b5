"""How many requests each GitLab got, for what, and when Gatehouse slowed down by itself.

Each process counts in memory and adds its counts to rows of five minutes, at most every few seconds and when a session
with a GitLab ends. A process that is killed loses the counts since then, and nothing else.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, Session, SQLModel, col, select

from portal.db import BigId, Database, UTCDateTime, insert_into

BUCKET_SECONDS = 300
FLUSH_SECONDS = 5.0
# On SQLite, for another writer: counts can wait.
DATABASE_PATIENCE = 0.5
# If the database does not take them for hours: so many rows are kept in memory.
LARGEST_BACKLOG = 1000
# Slowdowns for the same reason that are closer to each other are one.
TOGETHER_SECONDS = 60.0
KEPT_DAYS = 30
LARGEST_LIMIT = 10**9
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class Purpose(StrEnum):
    """What a request is for."""

    PEOPLE = "people"
    TOKENS = "tokens"
    CHECKS = "checks"
    WEBHOOKS = "webhooks"
    CATALOGUE = "catalogue"
    REPORTS = "reports"
    SYNC = "sync"


class Reason(StrEnum):
    """Why Gatehouse slowed down."""

    # GitLab answered 429.
    ASKED = "asked"
    QUIET = "quiet"
    BUDGET = "budget"


class RequestCount(SQLModel, table=True):
    """The requests of five minutes to one GitLab for one purpose."""

    __tablename__ = "request_count"
    __table_args__ = (UniqueConstraint("origin", "starts_at", "purpose"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    origin: str = Field(max_length=300)
    starts_at: datetime = Field(sa_type=UTCDateTime, index=True)
    purpose: str = Field(max_length=20)
    requests: int = 0
    # How many GitLab answered with 429.
    refused: int = 0
    # How long they waited for their turn, all together.
    waited_ms: int = 0


class RequestSlowdown(SQLModel, table=True):
    """A time in which requests to one GitLab were held back."""

    __tablename__ = "request_slowdown"
    __table_args__ = (Index("ix_request_slowdown_origin_ended_at", "origin", "ended_at"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    origin: str = Field(max_length=300)
    reason: str = Field(max_length=20)
    began_at: datetime = Field(sa_type=UTCDateTime)
    ended_at: datetime = Field(sa_type=UTCDateTime, index=True)
    # How many requests were held back.
    requests: int = 0


class RateLimit(SQLModel, table=True):
    """What one GitLab last said about its own limit.

    https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers
    """

    __tablename__ = "rate_limit"

    origin: str = Field(primary_key=True, max_length=300)
    # Requests a minute, and how many of them were left.
    per_minute: int
    remaining: int
    seen_at: datetime = Field(sa_type=UTCDateTime)


@dataclass
class _Counts:
    """What was counted and is not stored yet."""

    requests: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    # By reason: when it began, when it ends, how many requests.
    slowdowns: dict[str, list[float]] = field(default_factory=dict)
    limit: tuple[int, int, float] | None = None

    def add(self, other: _Counts) -> None:
        for key, counts in other.requests.items():
            if key in self.requests or len(self.requests) < LARGEST_BACKLOG:
                mine = self.requests.setdefault(key, [0, 0, 0])
                mine[:] = [here + more for here, more in zip(mine, counts, strict=True)]
        for reason, (began, ends, number) in other.slowdowns.items():
            known = self.slowdowns.get(reason, [began, ends, 0.0])
            self.slowdowns[reason] = [min(known[0], began), max(known[1], ends), known[2] + number]
        self.limit = self.limit or other.limit


class Usage:
    """What this process sent to one GitLab. May be used from several threads."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database, self._origin = database, origin
        self._lock = threading.Lock()
        self._counts = _Counts()
        self._flushed_at = time.monotonic()

    def count(self, purpose: str, *, waited: float = 0.0) -> None:
        """Count one request that is sent."""
        self._add(purpose, 1, 0, round(waited * 1000))

    def count_refusal(self, purpose: str) -> None:
        """Count one request that GitLab answered with 429; `count` knows it already."""
        self._add(purpose, 0, 1, 0)

    def _add(self, purpose: str, *more: int) -> None:
        key = (int(time.time()) // BUCKET_SECONDS * BUCKET_SECONDS, purpose)
        with self._lock:
            counts = self._counts.requests.setdefault(key, [0, 0, 0])
            counts[:] = [here + added for here, added in zip(counts, more, strict=True)]

    def record_slowdown(self, reason: Reason, *, waited: float = 0.0, until: float = 0.0) -> None:
        """Record that a request was held back.

        Args:
            reason: why.
            waited: for how many seconds by now.
            until: for how many seconds from now on.
        """
        now = time.time()
        with self._lock:
            self._counts.add(_Counts(slowdowns={reason: [now - waited, now + until, 1.0]}))

    def note_limit(self, limit: str | None, remaining: str | None) -> None:
        """Remember GitLab's `RateLimit-Limit` and `RateLimit-Remaining`."""
        numbers = [int(text) for text in (limit, remaining) if text and text.isascii() and text.isdigit()]
        if len(numbers) == 2 and 0 < numbers[0] < LARGEST_LIMIT and numbers[1] < LARGEST_LIMIT:
            with self._lock:
                self._counts.limit = (numbers[0], numbers[1], time.time())

    def flush(self, *, if_older_than: float = 0.0) -> None:
        """Store what was counted, unless that was done less than this many seconds ago."""
        with self._lock:
            if time.monotonic() - self._flushed_at < if_older_than:
                return
            counts, self._counts = self._counts, _Counts()
            self._flushed_at = time.monotonic()
        if not (counts.requests or counts.slowdowns or counts.limit):
            return
        try:
            with self._database.transaction(DATABASE_PATIENCE) as session:
                _store(session, self._origin, counts)
        except SQLAlchemyError as error:
            log.warning("requests_not_counted", origin=self._origin, error=type(error).__name__)
            with self._lock:
                self._counts.add(counts)


def _store(session: Session, origin: str, counts: _Counts) -> None:
    # In one order: two processes that add to the same rows do not wait for each other in a circle.
    for (second, purpose), (requests, refused, waited) in sorted(counts.requests.items()):
        added = {"requests": requests, "refused": refused, "waited_ms": waited}
        values = {"origin": origin, "starts_at": datetime.fromtimestamp(second, UTC), "purpose": purpose, **added}
        table = RequestCount.__table__.c  # type: ignore[attr-defined]
        statement = insert_into(session, RequestCount).values(values)
        sums = {name: table[name] + number for name, number in added.items()}
        session.execute(statement.on_conflict_do_update(index_elements=["origin", "starts_at", "purpose"], set_=sums))
    for reason, (began, ends, number) in sorted(counts.slowdowns.items()):
        began_at, ended_at = (datetime.fromtimestamp(moment, UTC) for moment in (began, ends))
        mine = (col(RequestSlowdown.origin) == origin, col(RequestSlowdown.reason) == reason)
        near = col(RequestSlowdown.ended_at) >= began_at - timedelta(seconds=TOGETHER_SECONDS)
        newest = select(RequestSlowdown).where(*mine, near).order_by(col(RequestSlowdown.ended_at).desc())
        row = session.exec(newest.limit(1).with_for_update()).first()
        if row is None:
            row = RequestSlowdown(origin=origin, reason=reason, began_at=began_at, ended_at=ended_at)
        row.ended_at, row.requests = max(row.ended_at, ended_at), row.requests + int(number)
        session.add(row)
    if counts.limit:
        values = {"per_minute": counts.limit[0], "remaining": counts.limit[1]}
        values["seen_at"] = datetime.fromtimestamp(counts.limit[2], UTC)
        statement = insert_into(session, RateLimit).values(origin=origin, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["origin"], set_=values))
