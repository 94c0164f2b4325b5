"""What people search for in the log, as it appears in an address or a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from portal.audit.models import RESULTS
from portal.audit.text import encode_controls
from portal.audit_log.search import Search
from portal.db import read_id
from portal.errors import BadRequest
from portal.foreign import clean

MAX_TEXT = 300
# A hidden character in a text is written out with eight characters.
MAX_CLEANED = MAX_TEXT * 8


@dataclass(frozen=True)
class Filters:
    """The fields of the filter form; empty means all. Dates are days in UTC, both of them included."""

    action: str = ""
    person: str = ""
    object: str = ""
    result: str = ""
    from_: date | None = None
    to: date | None = None

    FIELDS = ("action", "person", "object", "result", "from", "to")

    @classmethod
    def read(cls, arguments: Mapping[str, str]) -> Filters:
        """Read them from an address or a form.

        Raises:
            BadRequest: a result or a date that does not exist.
        """
        result = arguments.get("result", "")
        if result and result not in RESULTS:
            raise BadRequest("There is no such result.")
        # As the events are written: GitLab's names are cleaned first, and every text is one line.
        action, person, about = (
            encode_controls(clean(arguments.get(name, "").strip()[:MAX_TEXT], MAX_CLEANED), MAX_CLEANED)
            for name in cls.FIELDS[:3]
        )
        return cls(action, person, about, result, _read_day(arguments, "from"), _read_day(arguments, "to"))

    def for_organization(self, organization_id: int | None) -> Search:
        """Return the search of one organization's events; of all events for None."""
        return Search(
            organization_id,
            self.action,
            self.person,
            self.object,
            self.result,
            since=_midnight(self.from_) if self.from_ else None,
            until=_midnight(self.to + timedelta(days=1)) if self.to and self.to < date.max else None,
        )

    def fields(self) -> dict[str, str]:
        """Return what is set, by the names of the form's fields."""
        values = (self.action, self.person, self.object, self.result, self.from_ or "", self.to or "")
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
