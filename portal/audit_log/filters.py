"""What people search for in the log, as it appears in an address or a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from portal.audit.models import RESULTS
from portal.audit.text import encode_controls
from portal.audit_log.search import Search
from portal.db import read_id, utc_now
from portal.errors import BadRequest
from portal.foreign import clean

MAX_TEXT = 300
# A hidden character in a text is written out with eight characters.
MAX_CLEANED = MAX_TEXT * 8


# What the page offers, and how the names of the matching actions begin. Addresses may also name one action.
KINDS: Mapping[str, tuple[str, ...]] = {
    "repositories": ("repository.", "catalogue.", "rules.", "hook.", "hooks.", "report.", "environment.", "site."),
    "connections": (
        "connection.",
        "application.",
        "authorization.",
        "handover.",
        "health.",
        "incident.",
        "support_bundle.",
        "gitlab_server.",
        "request_budget.",
        "provisioning.",
    ),
    "credentials": ("credential.", "token.", "access_token.", "key."),
    "members": ("member.", "person.", "password.", "organization."),
    "sign-ins": ("session.", "access."),
    "portal": ("audit.", "access_log.", "job.", "portal."),
}
TIMES = {"7": "Last 7 days", "30": "Last 30 days", "90": "Last 90 days", "all": "Any time"}


@dataclass(frozen=True)
class Filters:
    """What the page and its addresses can ask for; empty means all. Dates are days in UTC, both of them included."""

    q: str = ""
    action: str = ""
    person: str = ""
    object: str = ""
    kind: str = ""
    result: str = ""
    days: str = ""
    from_: date | None = None
    to: date | None = None

    FIELDS = ("q", "action", "person", "object", "kind", "result", "days", "from", "to")

    @classmethod
    def read(cls, arguments: Mapping[str, str]) -> Filters:
        """Read them from an address or a form.

        Raises:
            BadRequest: a kind, a result, a time or a date that does not exist.
        """
        kind, result, days = (arguments.get(name, "") for name in ("kind", "result", "days"))
        for value, known in ((kind, KINDS), (result, RESULTS), (days, TIMES)):
            if value and value not in known:
                raise BadRequest(f"There is no filter “{clean(value, MAX_TEXT)}”.")
        # As the events are written: GitLab's names are cleaned first, and every text is one line.
        q, action, person, about = (
            encode_controls(clean(arguments.get(name, "").strip()[:MAX_TEXT], MAX_CLEANED), MAX_CLEANED)
            for name in cls.FIELDS[:4]
        )
        first, last = _read_day(arguments, "from"), _read_day(arguments, "to")
        return cls(q, action, person, about, kind, result, days, first, last)

    def for_organization(self, organization_id: int | None) -> Search:
        """Return the search of one organization's events; of all events for None."""
        since = _midnight(self.from_) if self.from_ else None
        if self.days not in {"", "all"}:
            since = max(filter(None, (since, utc_now() - timedelta(days=int(self.days)))))
        return Search(
            organization_id,
            text=self.q,
            actions=(self.action,) if self.action else KINDS.get(self.kind, ()),
            person=self.person,
            object=self.object,
            result=self.result,
            since=since,
            until=_midnight(self.to + timedelta(days=1)) if self.to and self.to < date.max else None,
        )

    def fields(self) -> dict[str, str]:
        """Return what is set, by the names of the form's fields."""
        values = (*(getattr(self, name) for name in self.FIELDS[:7]), self.from_ or "", self.to or "")
        return {name: str(value) for name, value in zip(self.FIELDS, values, strict=True) if value}


def read_number(arguments: Mapping[str, str], name: str) -> int | None:
    """Return the number in a field; None if it is empty.

    Raises:
        BadRequest: it is not a number.
    """
    text = arguments.get(name, "")
    number = read_id(text)
    if text and number is None:
        raise BadRequest
    return number


def read_date(text: str) -> date:
    """Return a day written as 2026-01-31.

    Raises:
        ValueError: it is not a date.
    """
    return datetime.strptime(text, "%Y-%m-%d").date()


def _read_day(arguments: Mapping[str, str], name: str) -> date | None:
    text = arguments.get(name, "")
    try:
        return read_date(text) if text else None
    except ValueError:
        raise BadRequest("Dates are written as 2026-01-31.") from None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
