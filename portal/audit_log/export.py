"""Events as files: CSV that a spreadsheet may open (S61), and JSON lines with everything there is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from enum import StrEnum

from portal.audit.chain import FIELDS
from portal.audit.models import AuditEvent

COLUMNS = (*FIELDS, "hash")
# What makes a spreadsheet treat a cell as a formula, or drop characters until one begins.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")


class Format(StrEnum):
    """How a file of events is written."""

    CSV = "csv"
    JSON = "json"

    @property
    def extension(self) -> str:
        """The end of the file's name."""
        return "csv" if self == Format.CSV else "jsonl"

    @property
    def media_type(self) -> str:
        """The content type."""
        return "text/csv; charset=utf-8" if self == Format.CSV else "application/jsonl"

    def lines(self, events: Iterable[AuditEvent]) -> Iterator[str]:
        """Yield the file line by line, line ends included."""
        return csv_lines(events) if self == Format.CSV else json_lines(events)


def csv_lines(events: Iterable[AuditEvent]) -> Iterator[str]:
    """Yield RFC 4180 lines, the first with the names of the columns; no cell is a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for event in events:
        yield _take(buffer)
        writer.writerow(_cell(value) for value in _values(event).values())
    yield _take(buffer)


def json_lines(events: Iterable[AuditEvent]) -> Iterator[str]:
    """Yield one JSON object a line, with every field of the event."""
    for event in events:
        yield json.dumps(_values(event), ensure_ascii=False) + "\n"


def _values(event: AuditEvent) -> dict[str, object]:
    values = {name: getattr(event, name) for name in COLUMNS}
    return {**values, "at": event.at.isoformat()}


def _cell(value: object) -> str:
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _take(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
