"""One request budget for each GitLab, shared by all processes.

A GitLab (scheme, host and port) gets as many requests a second and at the same time as were agreed with its
administrator (`portal.net.agreement`), otherwise `PER_SECOND` and `AT_ONCE`, and no request after a 429 until its
`Retry-After` has passed. In quiet hours background work gets fewer requests, or none. Each lease reads the agreement,
so a change reaches every process with its next lease.

Every request gets a moment; there are `PER_SECOND` of them per second (the virtual scheduling algorithm of ITU-T
I.371). In one short transaction a process leases the next few moments, and uses them by its own monotonic clock. A
moment that is not used within `LATE_SECONDS` lapses, so a killed process holds nothing that would have to be returned.
Moments of the last second that no one leased may be used now: a page that asks a few things does not wait. So no second
sees more requests than `PER_SECOND`, `BURST` and one lease. Nothing is written while there are no requests.

People go first: they may take moments up to a second ahead and the last free places, and background work of the same
process waits for them. Requests to the token endpoint are never held back, whatever the API said: a refresh that comes
too late loses a credential. They still count.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import JSON, Column, delete
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Field, Session, SQLModel, col, select

from portal.db import Database
from portal.net.agreement import PER_SECOND, allowance_of
from portal.net.usage import Purpose, Reason, Usage

# The moments of how many seconds may be used later, if no one leased them. GitLab counts by the minute, so a short
# burst does no harm.
BURST_SECONDS = 1.0
LATE_SECONDS = 0.25
LARGEST_LEASE = int(PER_SECOND * LATE_SECONDS)
SMALLEST_LEASE = 2
# How far ahead people may take moments.
AHEAD_SECONDS = 1.0
# How long a request waits for its turn before the sender is told to come back.
PATIENCE_OF_PEOPLE = 10.0
PATIENCE_OF_BACKGROUND = 60.0
# The wait after a 429 that does not say for how long, and the longest wait, whatever it says.
COOL_DOWN_SECONDS = 1.0
SHORT_SECONDS = 2.0
# While every place is taken: how often to ask again, and how long a waiting process is remembered.
PAUSE_SECONDS = 0.05
WAITING_SECONDS = 2.0
# A wait for the budget that people are told about.
LONG_WAIT_SECONDS = 1.0
# On SQLite, for another writer: the budget is not worth a longer wait.
DATABASE_PATIENCE = 2.0
FORGOTTEN_AFTER_SECONDS = 86_400.0
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class RequestBudget(SQLModel, table=True):
    """What has been taken from one GitLab's budget. Times are seconds since 1970, on the clock that all processes
    share.
    """

    __tablename__ = "request_budget"

    # Scheme, host and port: one GitLab has one budget, however many connections lead to it.
    origin: str = Field(primary_key=True, max_length=300)
    # The first free moment.
    next_at: float = 0.0
    # The first one for background work in quiet hours.
    quiet_next_at: float = 0.0
    # Until when GitLab asked for no requests.
    cooled_until: float = 0.0
    # How many running requests each process may have, and until when: its name to [number, time].
    holders: dict[str, list[float]] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # The clock at the last change: if it shows less now, someone set it back.
    written_at: float = 0.0


@dataclass(frozen=True)
class _Lease:
    """The result of one transaction; without moments or places, when to ask again."""

    moments: tuple[float, ...] | None = None
    at_once: int = 0
    pause: float = 0.0
    cooled_for: float = 0.0
    per_second: float = PER_SECOND
    is_quiet: bool = False


class RequestBudgets:
    """This process's part in every budget."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shares: dict[str, Share] = {}
        self._lock = threading.Lock()

    def share_of(self, origin: str) -> Share:
        """Return this process's part in the budget of one GitLab."""
        with self._lock:
            return self._shares.setdefault(origin, Share(self._database, origin))


class Share:
    """What this process has leased from one budget, and who is waiting for it. May be used from several threads."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database, self._origin = database, origin
        self.usage = Usage(database, origin)
        self._name = secrets.token_hex(8)
        self._changed = threading.Condition()
        # Of people, and of background work: quiet hours are for the latter only.
        self._moments: tuple[deque[float], deque[float]] = (deque(), deque())
        self._size = SMALLEST_LEASE
        self._per_second = PER_SECOND
        self._at_once = self._under_way = self._waiting = self._people_waiting = self._uncounted = 0
        self._is_asking = False
        self._cooled_until = 0.0

    def take(self, seconds: float, *, is_background: bool, purpose: str = Purpose.PEOPLE) -> float | None:
        """Wait until one request may be sent; `give_back` follows it.

        Args:
            seconds: how long the request may take.
            is_background: let people go first.
            purpose: what to count it for.

        Returns:
            None if it may be sent now, otherwise the seconds after which to try again.
        """
        begin = time.monotonic()
        end = begin + (PATIENCE_OF_BACKGROUND if is_background else PATIENCE_OF_PEOPLE)
        moments = self._moments[is_background]
        with self._changed:
            self._waiting += 1
            self._people_waiting += not is_background
            try:
                while True:
                    now = time.monotonic()
                    if (rest := self._cooled_until - now) > SHORT_SECONDS:
                        return rest
                    while moments and moments[0] + LATE_SECONDS < now:
                        moments.popleft()
                        self._size = max(self._size // 2, SMALLEST_LEASE)
                    pause, is_quiet = PAUSE_SECONDS, False
                    if rest > 0:
                        pause = rest
                    elif is_background and self._people_waiting:
                        pass
                    elif moments and self._under_way < self._at_once:
                        pause = moments[0] - now
                        if pause <= 0:
                            moments.popleft()
                            self._under_way += 1
                            self.usage.count(purpose, waited=now - begin)
                            if now - begin > LONG_WAIT_SECONDS and self._cooled_until < begin:
                                self.usage.record_slowdown(Reason.BUDGET, waited=now - begin)
                            return None
                    elif not self._is_asking:
                        pause, is_quiet = self._ask(seconds, is_background=is_background)
                    if time.monotonic() + pause > end:
                        if is_quiet:
                            self.usage.record_slowdown(Reason.QUIET)
                        else:
                            self.usage.record_slowdown(Reason.BUDGET, waited=time.monotonic() - begin)
                        return max(pause, COOL_DOWN_SECONDS)
                    if pause > 0:
                        self._changed.wait(pause)
            finally:
                self._waiting -= 1
                self._people_waiting -= not is_background
                self._changed.notify_all()

    def give_back(self) -> None:
        """Record that a request has ended."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def count(self) -> None:
        """Count a request that is not held back; the next lease pays for it."""
        self.usage.count(Purpose.TOKENS)
        with self._changed:
            self._uncounted += 1

    def cool_down(self, seconds: float | None) -> None:
        """Hold back every request of every process, because GitLab answered 429."""
        until = time.monotonic() + (COOL_DOWN_SECONDS if seconds is None else seconds)
        with self._changed:
            if until - self._cooled_until < COOL_DOWN_SECONDS / 2:
                return  # Another thread got the same answer.
            self._cooled_until = until
            for moments in self._moments:
                moments.clear()
            self._changed.notify_all()
        self.usage.record_slowdown(Reason.ASKED, until=until - time.monotonic())
        try:
            with self._database.transaction(DATABASE_PATIENCE) as session:
                row, now = self._locked(session)
                row.cooled_until = max(row.cooled_until, now + until - time.monotonic())
                row.written_at = now
        except SQLAlchemyError as error:
            log.warning("budget_not_kept", origin=self._origin, error=type(error).__name__)

    def is_held(self) -> bool:
        """Return whether background work has to wait: GitLab has asked for it, or it was agreed."""
        with self._database.reading() as session:
            row, now = session.get(RequestBudget, self._origin), self._database.clock(session)
            is_cooling = row is not None and row.cooled_until > now.timestamp()
            return is_cooling or allowance_of(session, self._origin, now).is_closed_to_background

    def release(self) -> None:
        """Give unused places back; a single one lapses soon enough by itself."""
        with self._changed:
            if self._at_once < 2 or self._under_way or self._waiting:
                return
            self._at_once = 0
            for moments in self._moments:
                moments.clear()
        with suppress(SQLAlchemyError), self._database.transaction(DATABASE_PATIENCE) as session:
            row, now = self._locked(session)
            row.holders = {name: held for name, held in row.holders.items() if name != self._holder}
            row.written_at = now

    @property
    def _holder(self) -> str:
        return f"{self._name}-{os.getpid()}"  # A web server forks after this object was created.

    def _ask(self, seconds: float, *, is_background: bool) -> tuple[float, bool]:
        """Lease more while the other threads wait; return the seconds after which to check again, and whether quiet
        hours are the reason.
        """
        moments = self._moments[is_background]
        under_way, uncounted = self._under_way, self._uncounted
        # Whoever is at it keeps its places: between two requests of a lane fewer are under way for a moment.
        wanted = max(under_way + self._waiting, self._at_once if under_way else 0)
        size = 0
        if not moments:  # Otherwise only a place is missing.
            size = self._size = min(self._size * 2, LARGEST_LEASE)
        self._is_asking = True
        self._changed.release()
        try:
            lease = self._lease(size, wanted, under_way, uncounted, seconds, is_background=is_background)
        except IntegrityError:
            # Another process created the row at the same moment: try again.
            lease = _Lease(per_second=self._per_second)
        except SQLAlchemyError as error:
            # GitLab can be asked without the database; this process keeps to the rate on its own.
            log.warning("budget_not_kept", origin=self._origin, error=type(error).__name__)
            now = time.monotonic()
            spread = tuple(now + number / self._per_second for number in range(size))
            lease = _Lease(spread, wanted, per_second=self._per_second)
        finally:
            self._changed.acquire()
            self._is_asking = False
            self._changed.notify_all()
        if lease.cooled_for:
            self._cooled_until = time.monotonic() + lease.cooled_for
        if lease.moments is not None:
            self._uncounted -= uncounted
            moments.extend(lease.moments)
        self._at_once = lease.at_once or self._at_once
        self._per_second = lease.per_second
        return lease.pause, lease.is_quiet

    def _lease(
        self, size: int, wanted: int, under_way: int, uncounted: int, seconds: float, *, is_background: bool
    ) -> _Lease:
        with self._database.transaction(DATABASE_PATIENCE) as session:
            row, now = self._locked(session)
            allowed = allowance_of(session, self._origin, datetime.fromtimestamp(now, UTC))
            rate = own_rate = allowed.per_second
            if row.cooled_until > now:
                return _Lease(cooled_for=row.cooled_until - now, per_second=rate)
            next_at = start = max(row.next_at, now - BURST_SECONDS) + uncounted / rate
            is_quiet = is_background and allowed.quiet_seconds > 0
            if is_quiet:
                if not allowed.quiet_per_second:
                    return _Lease(pause=allowed.quiet_seconds, per_second=rate, is_quiet=True)
                own_rate = min(allowed.quiet_per_second, rate)
                start = max(start, row.quiet_next_at)
            too_early = start - now - (0.0 if is_background else AHEAD_SECONDS)
            if too_early > 0:
                return _Lease(pause=too_early, per_second=rate, is_quiet=is_quiet)
            size = min(size, max(int(own_rate * LATE_SECONDS), 1))
            others = {name: held for name, held in row.holders.items() if name != self._holder and held[1] > now}
            limit = allowed.at_once_in_background if is_background else allowed.at_once
            fair = max(limit // (len(others) + 1), 1)
            at_once = min(wanted, fair if others else limit, limit - sum(int(held[0]) for held in others.values()))
            mine = row.holders.get(self._holder, [0, 0.0])
            if at_once <= under_way:
                if mine[1] <= now or mine[0] > under_way:
                    # A process that holds more than its share gives some up once it sees that there is another one.
                    until = max(mine[1] if under_way else 0.0, now + WAITING_SECONDS)
                    row.holders, row.written_at = {**others, self._holder: [under_way, until]}, now
                return _Lease(at_once=min(self._at_once, under_way), pause=PAUSE_SECONDS, per_second=rate)
            until = max(mine[1], now + AHEAD_SECONDS + 2 * LATE_SECONDS + seconds)
            row.holders = {**others, self._holder: [at_once, until]}
            row.next_at, row.written_at = next_at + size / rate, now
            if is_quiet:
                row.quiet_next_at = start + size / own_rate
            begin = time.monotonic() + start - now
        earliest = time.monotonic()
        moments = tuple(max(begin + number / own_rate, earliest) for number in range(size))
        return _Lease(moments, at_once, per_second=rate)

    def _locked(self, session: Session) -> tuple[RequestBudget, float]:
        """Return the row, locked, and the time; if the clock was set back, everything in the row moves along."""
        row = session.exec(select(RequestBudget).where(RequestBudget.origin == self._origin).with_for_update()).first()
        now = self._database.clock(session).timestamp()
        if row is None:
            old = col(RequestBudget.written_at) < now - FORGOTTEN_AFTER_SECONDS
            session.execute(delete(RequestBudget).where(old))
            row = RequestBudget(origin=self._origin, holders={}, written_at=now)
            session.add(row)
            session.flush()
        if (back := row.written_at - now) > 0:
            row.next_at, row.cooled_until = row.next_at - back, row.cooled_until - back
            row.quiet_next_at -= back
            row.holders = {name: [held[0], held[1] - back] for name, held in row.holders.items()}
            row.written_at = now
        return row, now
