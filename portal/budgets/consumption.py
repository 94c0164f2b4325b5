"""What the requests to one GitLab were used for, and when they were held back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func
from sqlmodel import col, select

from portal.actor import Principal
from portal.budgets.agreements import agreement_of
from portal.connections.models import Connection
from portal.db import utc_now
from portal.net import origin_of
from portal.net.agreement import Allowance, RequestAgreement, allowance_of
from portal.net.usage import Purpose, RateLimit, Reason, RequestCount, RequestSlowdown
from portal.runtime import Runtime

SHOWN_SLOWDOWNS = 10
# In the order in which they go first when it is tight.
PURPOSES = {
    Purpose.TOKENS: ("Tokens", "never held back"),
    Purpose.PEOPLE: ("A person waits", "pages, tests"),
    Purpose.CHECKS: ("Checks", "whether connections work"),
    Purpose.WEBHOOKS: ("Webhooks", "made, compared, repaired"),
    Purpose.CATALOGUE: ("Repositories", "the list of repositories"),
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


@dataclass(frozen=True)
class Consumption:
    """Everything the page shows; empty without an address."""

    origin: str
    agreement: RequestAgreement | None
    allowed: Allowance
    uses: list[Use]
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


def load_consumption(runtime: Runtime, principal: Principal, connection: Connection) -> Consumption:
    """Return what the requests to a connection's GitLab were used for."""
    if not connection.api_url:
        return Consumption("", None, Allowance(), [], [], None, [])
    origin = origin_of(connection.api_url)
    with runtime.database.reading() as session:
        now = runtime.database.clock(session)
        sums = [func.sum(column) for column in (RequestCount.requests, RequestCount.refused, RequestCount.waited_ms)]
        day = (col(RequestCount.origin) == origin, col(RequestCount.starts_at) > utc_now() - timedelta(days=1))
        statement = select(RequestCount.purpose, *sums).where(*day).group_by(col(RequestCount.purpose))
        by_purpose = {name: [int(number) for number in numbers] for name, *numbers in session.execute(statement)}
        newest = select(RequestSlowdown).where(RequestSlowdown.origin == origin)
        rows = session.exec(newest.order_by(col(RequestSlowdown.ended_at).desc()).limit(SHOWN_SLOWDOWNS)).all()
        named = select(Connection.display_name, Connection.api_url).where(
            Connection.organization_id == principal.organization_id
        )
        return Consumption(
            origin,
            agreement_of(session, connection.organization_id, origin),
            allowance_of(session, origin, now),
            [
                Use(*PURPOSES[purpose], requests, refused, waited // max(requests, 1))
                for purpose in PURPOSES
                for requests, refused, waited in [by_purpose.get(purpose, [0, 0, 0])]
                if requests
            ],
            [(row, REASONS[Reason(row.reason)]) for row in rows],
            session.get(RateLimit, origin),
            sorted(name for name, url in session.exec(named) if url and origin_of(url) == origin),
        )
