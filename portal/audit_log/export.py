"""Events as files, with every field that they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portal.audit.chain import FIELDS
from portal.audit.models import AuditEvent

COLUMNS = (*FIELDS, "hash")


def rows_of(events: Iterable[AuditEvent]) -> Iterator[dict[str, object]]:
    """Yield each event as a row of a file."""
    for event in events:
        yield {**{name: getattr(event, name) for name in COLUMNS}, "at": event.at.isoformat()}
