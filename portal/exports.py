"""Rows as files: CSV that a spreadsheet may open (S61), and JSON lines with everything there is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

# What makes a spreadsheet treat a cell as a formula, or drop characters until one begins.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")


class Format(StrEnum):
    """How a file is written."""

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

    def lines(self, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
        """Yield the file line by line, line ends included."""
        return csv_lines(columns, rows) if self == Format.CSV else json_lines(rows)


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield RFC 4180 lines, the first with the names of the columns; no cell is a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        yield _take(buffer)
        writer.writerow(_cell(row[name]) for name in columns)
    yield _take(buffer)


def json_lines(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield one JSON object a line."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


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
