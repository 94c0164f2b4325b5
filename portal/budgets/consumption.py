"""What the requests to one GitLab were used for, and when they were held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlmodel import col, select

from portal.actor import Principal
from portal.budgets.agreements import agreement_of
from portal.connections.models import Connection
from portal.net import origin_of
from portal.net.agreement import Allowance, RequestAgreement, allowance_of
from portal.net.budget import RequestBudget
from portal.net.usage import BUCKET_SECONDS, Purpose, RateLimit, Reason, RequestCount, RequestSlowdown
from portal.runtime import Runtime
from portal.web.charts import Column

SHOWN_SLOWDOWNS = 5
COLUMN = timedelta(minutes=30)
COLUMNS = 48
# In the order in which they go first when it is tight.
PURPOSES = {
    Purpose.TOKENS: ("Tokens", "never held back"),
    Purpose.PEOPLE: ("A person waits", "pages, tests"),
    Purpose.CHECKS: ("Checks", "whether connections work"),
    Purpose.WEBHOOKS: ("Webhooks", "made, compared, repaired"),
    Purpose.SYNC: ("Sites", "files, by git"),
    Purpose.CATALOGUE: ("Repositories", "the list of repositories"),
    Purpose.REPORTS: ("Reports", "commits, merge requests, issues"),
}
# What the chart stacks, from the bottom up.
SERIES = {
    "people and tokens": (Purpose.PEOPLE, Purpose.TOKENS),
    "repositories, sites and reports": (Purpose.CATALOGUE, Purpose.SYNC, Purpose.REPORTS),
    "checks and webhooks": (Purpose.CHECKS, Purpose.WEBHOOKS),
}
REASONS = {
    Reason.ASKED: "GitLab answered 429 and asked for a wait.",
    Reason.QUIET: "Background work waited for the end of the quiet hours.",
    Reason.BUDGET: "There was more to ask than the budget allows.",
}


@dataclass(frozen=True)
class Use:
    """What one purpose used in the last 24 hours."""

    label: str
    note: str
    requests: int
    refused: int
    mean_wait_ms: int
    percent: int


@dataclass(frozen=True)
class Consumption:
    """Everything the page shows; empty without an address.

    Attributes:
        rate: requests a second, on average over the last five to ten minutes.
        reserved: how many requests at once the processes hold now.
        columns: requests a second of each half hour, one value for each of `SERIES`.
    """

    origin: str
    agreement: RequestAgreement | None
    allowed: Allowance
    rate: float
    reserved: int
    uses: list[Use]
    columns: list[Column]
    slowdowns: list[tuple[RequestSlowdown, str]]
    limit: RateLimit | None
    connections: list[str]

    @property
    def requests(self) -> int:
        """How many requests there were in the last 24 hours."""
        return sum(use.requests for use in self.uses)

    @property
    def refused(self) -> int:
        """How many of them GitLab refused."""
        return sum(use.refused for use in self.uses)

    @property
    def highest(self) -> float:
        """The highest column, in requests a second."""
        return max((sum(column.values) for column in self.columns), default=0.0)


def load_consumption(runtime: Runtime, principal: Principal, connection: Connection) -> Consumption:
    """Return what the requests to a connection's GitLab were used for."""
    if not connection.api_url:
        return Consumption("", None, Allowance(), 0.0, 0, [], [], [], None, [])
    origin = origin_of(connection.api_url)
    with runtime.database.reading() as session:
        now = runtime.database.clock(session)
        first = _begin_of(now) - (COLUMNS - 1) * COLUMN
        counted = (col(RequestCount.origin) == origin, col(RequestCount.starts_at) >= first)
        counts = session.exec(select(RequestCount).where(*counted)).all()
        newest = select(RequestSlowdown).where(RequestSlowdown.origin == origin)
        rows = session.exec(newest.order_by(col(RequestSlowdown.ended_at).desc()).limit(SHOWN_SLOWDOWNS)).all()
        named = select(Connection.display_name, Connection.api_url).where(
            Connection.organization_id == principal.organization_id
        )
        agreement = agreement_of(session, connection.organization_id, origin)
        budget = session.get(RequestBudget, origin)
        held = budget.holders.values() if budget else []
        recent = [count for count in counts if (now - count.starts_at).total_seconds() < 2 * BUCKET_SECONDS]
        seconds = BUCKET_SECONDS + now.timestamp() % BUCKET_SECONDS
        return Consumption(
            origin,
            agreement,
            allowance_of(session, origin, now),
            sum(count.requests for count in recent) / seconds,
            sum(int(number) for number, until in held if until > now.timestamp()),
            _uses_of(counts),
            _columns_of(counts, first, now, agreement),
            [(row, REASONS[Reason(row.reason)]) for row in rows],
            session.get(RateLimit, origin),
            sorted(name for name, url in session.exec(named) if url and origin_of(url) == origin),
        )


def _uses_of(counts: Sequence[RequestCount]) -> list[Use]:
    total = max(sum(count.requests for count in counts), 1)
    uses = []
    for purpose, (label, note) in PURPOSES.items():
        mine = [count for count in counts if count.purpose == purpose]
        requests = sum(count.requests for count in mine)
        if requests:
            waited = sum(count.waited_ms for count in mine) // requests
            refused = sum(count.refused for count in mine)
            uses.append(Use(label, note, requests, refused, waited, round(100 * requests / total)))
    return uses


def _columns_of(
    counts: Sequence[RequestCount], first: datetime, now: datetime, agreement: RequestAgreement | None
) -> list[Column]:
    sums: dict[tuple[datetime, str], int] = {}
    for count in counts:
        key = (_begin_of(count.starts_at), count.purpose)
        sums[key] = sums.get(key, 0) + count.requests
    columns = []
    for begin in (first + number * COLUMN for number in range(COLUMNS)):
        is_open = begin + COLUMN > now
        seconds = max((now - begin).total_seconds(), BUCKET_SECONDS) if is_open else COLUMN.total_seconds()
        columns.append(
            Column(
                f"{begin:%H:%M}",
                tuple(sum(sums.get((begin, one), 0) for one in purposes) / seconds for purposes in SERIES.values()),
                has_tick=begin.hour % 2 == 0 and not begin.minute,
                is_open=is_open,
                is_gap=agreement is not None and agreement.quiet_seconds(begin) > 0,
            )
        )
    return columns


def _begin_of(at: datetime) -> datetime:
    at = at.astimezone(UTC)
    return at.replace(minute=at.minute // 30 * 30, second=0, microsecond=0)
